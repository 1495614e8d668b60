"""Gymnasium's own vector tests, run against our backends.

They come with Gymnasium's repository, not with its packages. ``GYMNASIUM_CHECKOUT`` names a checkout of the installed
version, or is ``fetch``: then git fetches one into the user's cache (``make test-gymnasium``). Without it, what is in
the cache is used, for the backends without processes (the others take minutes). If there is nothing, the tests are
skipped and say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import gymnasium
import pytest

_REPOSITORY = "https://github.com/Farama-Foundation/Gymnasium"
_FOLDERS = ("tests/vector", "tests/wrappers/vector")
_NOT_OURS = {
    "tests/vector/utils": "functions of Gymnasium's that ours only call",
    "tests/wrappers/vector/test_human_rendering.py": "opens a window",
    "tests/wrappers/vector/test_record_video.py": "encodes videos",
}
"""Files that are not run, and why."""

SERIAL, THREAD, PIPE, SHM = "serial", "thread", "pipe", "shm"
PROCESSES = (PIPE, SHM)
EVERYWHERE = (SERIAL, THREAD, PIPE, SHM)


class Exemption(NamedTuple):
    """A test of Gymnasium's that does not apply.

    Attributes:
        test: regular expression of its name, without the file.
        raised: class of what is raised in it.
        reason: why it does not apply.
        backends: where.
        must_be_met: whether there is such a test in every version of Gymnasium that we run.
    """

    test: str
    raised: str
    reason: str
    backends: tuple[str, ...] = EVERYWHERE
    must_be_met: bool = True


_OWN_ERRORS = "refused, with RequestError, whose sentence is ours"
_OWN_SPLIT = "our halves of step are send and recv"
_FIXED_SIZE = "only spaces of a fixed size have arrays; refused with a sentence"
EXEMPTIONS = (
    Exemption(r"test_(reset|step)_timeout_async_vector_env.*", "AttributeError", _OWN_SPLIT),
    Exemption(r"test_(reset|step)_out_of_order_async_vector_env.*", "AttributeError", _OWN_SPLIT),
    Exemption(r"test_already_closed_async_vector_env.*", "RequestError", _OWN_ERRORS),
    Exemption(r"test_partial_reset_failure.*", "RequestError", _OWN_ERRORS),
    Exemption(r"test_action_count_compatibility.*", "RequestError", _OWN_ERRORS),
    Exemption(r"test_check_spaces_a?sync_vector_env.*", "EnvContractError", "refused, with EnvContractError"),
    Exemption(r"test_obs_mode_same_different_spaces.*", "EnvContractError", "refused, with EnvContractError"),
    Exemption(r"test_mixed_observation_spaces\[same-.*", "EnvContractError", "refused, with EnvContractError"),
    Exemption(r"test_(invalid_observation_mode|obs_mode_different_different_spaces|mixed_observation_spaces\[d|mixed_observation_spaces\[o).*", "ForeignArgument", "no observation_mode: all environments have equal spaces"),  # noqa: E501
    Exemption(r"test_custom_space_a?sync_vector_env.*", "UnsupportedSpaceError", _FIXED_SIZE),
    Exemption(r"test_(vector_obs_action_spaces|same_step_final_obs)\[.*(Text|Graph|Sequence|OneOf)\(.*", "UnsupportedSpaceError", _FIXED_SIZE),  # noqa: E501
    Exemption(r"test_async_vector_subenv_error", "EnvRaisedError", "one error that names the environment, no warnings"),
    Exemption(r"test_metadata_sync_vector_env", "AttributeError", "environments are in runner processes", PROCESSES),
    Exemption(r"test_equivalence_with_wrapper", "AttributeError", "environments are in runner processes", PROCESSES),
    Exemption(r"test_autoreset_within_step.*", "AssertionError", "final_obs is NumPy's integer, not Python's"),
    Exemption(r".*", "ForeignArgument", "tells Gymnasium's processes how to work", must_be_met=False),
)  # fmt: skip


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds Gymnasium's tests and nothing else: the package that they import is the installed."""
    found = _checkout()
    if isinstance(found, str):
        pytest.skip(found)
    folder = tmp_path_factory.mktemp("gymnasium")
    shutil.copytree(found / "tests", folder / "tests")
    return folder


def _checkout() -> Path | str:
    """Return a checkout of Gymnasium, or why there is none."""
    version = gymnasium.__version__
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "paceline" / f"gymnasium-{version}"
    named = os.environ.get("GYMNASIUM_CHECKOUT", "")
    if named and named != "fetch":
        found = Path(named)
        if not (found / "tests" / "vector").is_dir():
            pytest.fail(f"expected a checkout of Gymnasium in GYMNASIUM_CHECKOUT, got {named}, without tests/vector")
        return found
    if cache.is_dir():
        return cache
    if named != "fetch":
        return "Gymnasium's tests are not here: make test-gymnasium fetches them, GYMNASIUM_CHECKOUT names a checkout"
    arriving = cache.with_name(f"{cache.name}.{os.getpid()}")
    command = ["git", "clone", "--quiet", "--depth", "1", "--branch", f"v{version}", _REPOSITORY, str(arriving)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=150)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(arriving, ignore_errors=True)
        told = str(getattr(error, "stderr", None) or error).strip()
        return f"Gymnasium's tests of version {version} cannot be fetched: {told}"
    arriving.rename(cache)
    return cache


def _run(backend: str, suite: Path, outcomes: Path) -> dict[str, list[str]]:
    """Run Gymnasium's tests in a process of their own and return how each ended."""
    package = Path(__file__).parents[3] / "src"
    places = [str(Path(__file__).parent), str(package), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "STAND_IN_BACKEND": backend,
        "STAND_IN_OUTCOMES": str(outcomes),
        "SDL_VIDEODRIVER": "dummy",
    }
    folders = [folder for folder in _FOLDERS if (suite / folder).is_dir()]
    ignored = [f"--ignore={name}" for name in _NOT_OURS]
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "-p", "stand_in", "-p", "no:cacheprovider"]
    command += ["-p", "no:warnings", "--tb=short", *ignored, *folders]
    ended = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, check=False)
    assert outcomes.exists(), f"Gymnasium's tests were not run to their end:\n{ended.stdout[-3000:]}{ended.stderr}"
    return dict(json.loads(outcomes.read_text()))


def _lacks_a_package(raised: str, message: str) -> bool:
    told = raised if raised != "EnvRaisedError" else message  # which names what the environment raised
    return "not installed" in message and any(name in told for name in ("DependencyNotInstalled", "EnvNotFoundError"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_gymnasiums_own_tests_pass_or_are_exempt(backend: str, suite: Path, tmp_path: Path) -> None:
    if backend in PROCESSES and not os.environ.get("GYMNASIUM_CHECKOUT"):
        pytest.skip("takes minutes, for each of Gymnasium's tests starts processes anew: make test-gymnasium runs it")
    outcomes = _run(backend, suite, tmp_path / "outcomes.json")
    exemptions = [exemption for exemption in EXEMPTIONS if backend in exemption.backends]
    met = set()
    problems = []
    num_passed = 0
    for name, (outcome, raised, message) in outcomes.items():
        matching = [e for e in exemptions if re.fullmatch(e.test, name.rpartition("::")[2])]
        exempting = [e for e in matching if e.raised == raised]
        met.update(exempting)
        if outcome == "passed":
            num_passed += 1
            problems += [f"{name}: passes, but is exempt ({e.reason})" for e in matching if e.must_be_met]
        elif outcome == "failed" and not exempting and not _lacks_a_package(raised, message):
            problems.append(f"{name}: {raised}: {message}")
    problems += [f"no test meets {e.test} ({e.reason})" for e in exemptions if e.must_be_met and e not in met]
    assert not problems, "\n".join(problems)
    assert num_passed > 100
