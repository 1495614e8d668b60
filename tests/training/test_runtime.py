"""JAX, set up in fresh processes: threads are really limited, and a home that cannot be written costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import PlanError
from paceline.spec import Plan
from paceline.training.runtime import cache_dir, choose_learner_threads, set_up_jax

_CODE = """
import json, sys
from paceline.spec import Plan
from paceline.training.runtime import set_up_jax
chosen = set_up_jax(Plan(learner_threads=int(sys.argv[1]), device="cpu"))
import jax, jax.numpy as jnp
x = jnp.ones((600, 600))
jax.jit(lambda a: (a @ a).sum())(x).block_until_ready()
from paceline.machine import record_threads
names = record_threads()["names"] or {}
pools = {name: count for name, count in names.items() if "Eigen" in name or "eigen" in name}
print(json.dumps({**chosen, "pools": pools, "cache": jax.config.jax_compilation_cache_dir}))
"""


def in_fresh_process(threads: int, **variables: str) -> dict[str, Any]:
    home = str(Path(__file__).parents[2] / "src")
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(threads)],
        env={**kept, "PYTHONPATH": home, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_threads_are_limited(tmp_path: Path) -> None:
    one, three = (in_fresh_process(threads, HOME=str(tmp_path)) for threads in (1, 3))
    assert one["platform"] == "cpu"
    assert max(one["pools"].values(), default=0) <= 1
    assert max(three["pools"].values(), default=0) == 3


def test_compiled_programs_are_kept_below_the_cache_folder(tmp_path: Path) -> None:
    found = in_fresh_process(1, HOME="/nowhere", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert found["cache"] == str(tmp_path / "cache" / "paceline" / "xla")
    assert Path(found["cache"]).is_dir()


def test_a_home_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = in_fresh_process(1, HOME=str(tmp_path / "file"))
    assert found["platform"] == "cpu"
    assert found["cache"] is None


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/paceline/xla")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == Path.home() / ".cache/paceline/xla"


@pytest.mark.parametrize(("given", "images", "threads"), [(None, False, 1), (None, True, 6), (2, True, 2)])
def test_learner_threads_follow_the_network(given: int | None, images: bool, threads: int) -> None:
    plan = choose_learner_threads(Plan(learner_threads=given), has_images=images, usable_cores=6)
    assert plan.learner_threads == threads


def test_a_gpu_that_is_not_there_is_said_plainly() -> None:
    import jax

    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("this machine has one")
    with pytest.raises(PlanError, match=r"device gpu was asked for, but JAX sees none; .* or use device cpu"):
        set_up_jax(Plan(device="gpu"))
