"""A pytest plugin that runs Gymnasium's own vector tests with one of our backends in the place of Gymnasium's.

``SyncVectorEnv`` and ``AsyncVectorEnv`` become :func:`_stand_in`, which has their arguments. What Gymnasium's tests
parametrise over its two classes, and over pipes or shared memory between them, is run once.

Two things differ on purpose and are translated here, so that all the rest can be compared: one seed becomes
``seed + i`` in Gymnasium and goes through ``SeedSequence`` in ours, and a first reset without a seed draws none there.

Read from the environment: ``STAND_IN_BACKEND``, and ``STAND_IN_OUTCOMES``, the file that is written at the end,
``{test: [outcome, class of what was raised, first line of its message]}``.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import AutoresetMode

import paceline
from paceline.vector import VecEnv

_BACKEND: Any = os.environ["STAND_IN_BACKEND"]
_ORACLES = {"test_vector_env_equal": ("SyncVectorEnv", gymnasium.vector.SyncVectorEnv)}
"""Tests that hold one class against the other: there, this one stays Gymnasium's."""
_outcomes: dict[str, list[str]] = {}


class ForeignArgument(Exception):
    """A test asks for what only Gymnasium's executions can be told."""


def _stand_in(
    env_fns: Sequence[Callable[[], gymnasium.Env[Any, Any]]],
    *,
    shared_memory: bool = True,
    copy: bool = True,
    observation_mode: Any = "same",
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **foreign: Any,
) -> VecEnv:
    if foreign or not (isinstance(observation_mode, str) and observation_mode == "same"):
        raise ForeignArgument(*(foreign or ("observation_mode",)))
    venv = paceline.make_vec(
        list(env_fns), backend=_BACKEND, num_env_runners=None if _BACKEND == "serial" else min(2, len(env_fns)),
        copy=copy, autoreset_mode=autoreset_mode,
    )  # fmt: skip
    reset = venv.reset

    @functools.wraps(reset)
    def seed_as_gymnasium_does(*, seed: Any = None, **kwargs: Any) -> Any:
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + i for i in range(venv.num_envs)]
        return reset(seed=seed, **kwargs)

    setattr(venv, "reset", seed_as_gymnasium_does)  # noqa: B010  # mypy refuses to assign to a method
    return venv


for _name in ("SyncVectorEnv", "AsyncVectorEnv"):
    setattr(gymnasium.vector, _name, _stand_in)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one of the tests that would differ only in which of Gymnasium's classes they use."""
    seen = set()
    kept, left_out = [], []
    for item in items:
        params = getattr(item, "callspec", None)
        rest = [] if params is None else [(k, repr(v)) for k, v in params.params.items() if not _chooses(k, v)]
        key = (item.nodeid.partition("[")[0], *rest)
        (left_out if key in seen else kept).append(item)
        seen.add(key)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def _chooses(name: str, value: Any) -> bool:
    return name == "shared_memory" or value is _stand_in or getattr(value, "func", None) is _stand_in


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give a test that compares the two classes one of Gymnasium's."""
    name, oracle = _ORACLES.get(getattr(item, "originalname", ""), ("", None))
    if oracle is not None:
        setattr(getattr(item, "module"), name, oracle)  # noqa: B009  # only functions have a module


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how a test ended."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        error = call.excinfo
        told = ["", ""] if error is None else [error.typename, str(error.value).strip().partition("\n")[0]]
        _outcomes[item.nodeid.removeprefix("tests/")] = [report.outcome, *told]
    return report


def pytest_sessionfinish() -> None:
    """Write down how all tests ended."""
    Path(os.environ["STAND_IN_OUTCOMES"]).write_text(json.dumps(_outcomes, indent=1))
