from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from paceline.bench.child import held_bytes, make_case, profile_env, run_case, spread_of
from paceline.envs import env_factory
from paceline.errors import PlanError, RequestError
from paceline.measure.bench_result import BENCH_PHASES, EnvProfile

REQUEST: dict[str, Any] = {
    "env": {"id": "synthetic:busy?us=20"}, "num_envs": 4, "num_env_runners": 2, "actions": "random", "path": "send",
    "batch_size": None, "infos": "none", "seed": 0,
}  # fmt: skip


def run(windows: int, **changed: Any) -> list[Mapping[str, Any]]:
    events: list[Mapping[str, Any]] = []
    run_case({**REQUEST, **changed}, events.append, [{"seconds": 0.02}] * windows)
    return events


@pytest.mark.parametrize(
    ("backend", "changed"),
    [
        ("serial", {"num_env_runners": 0}),
        ("shm", {}),
        ("shm", {"batch_size": 2}),
        ("shm", {"path": "step", "infos": "all"}),
        ("pipe", {}),
        ("thread", {}),
        ("auto", {"env": {"id": "CartPole-v1"}, "num_envs": 1}),
        ("free-running", {}),
        ("loop", {"num_env_runners": 0}),
    ],
)
def test_a_case_is_built_measured_and_told(backend: str, changed: dict[str, Any]) -> None:
    ready, *windows = run(2, backend=backend, **changed)
    assert ready["event"] == "ready"
    assert ready["num_env_runners"] == (0 if backend in ("serial", "loop", "auto") else 2)
    assert ready.get("backend", backend) == ("serial" if backend == "auto" else backend)
    memory = ready["memory"]
    held = max(0, memory["tree_bytes"] - memory["empty_bytes"])
    assert memory["bytes_per_env"] == pytest.approx(held / changed.get("num_envs", 4))
    assert (memory["bytes_per_runner"] is not None) == (backend in ("shm", "pipe", "free-running"))
    assert len(windows) == 2
    for window in windows:
        assert window["event"] == "window"
        assert window["num_env_steps"] > 0
        assert sum(window["phases"].values()) == pytest.approx(window["wall_s"])
        assert set(window["phases"]) <= set(BENCH_PHASES)
        assert window["cpu_s"] > 0


def test_a_backend_that_cannot_run_an_environment_says_so() -> None:
    with pytest.raises(RequestError) as error:
        make_case({**REQUEST, "backend": "native"}, env_factory("synthetic:busy?us=20"))
    assert "native" in str(error.value)
    with pytest.raises(PlanError, match="expected a backend of this version"):
        make_case({**REQUEST, "backend": "quantum"}, env_factory("synthetic:busy?us=20"))


def profile_of(env_id: str) -> EnvProfile:
    events: list[Mapping[str, Any]] = []
    profile_env({"env": {"id": env_id}, "actions": "zero", "seconds": 0.1, "seed": 0}, events.append, [])
    return EnvProfile.model_validate(events[0]["profile"])


def test_one_environment_by_itself() -> None:
    profile = profile_of("synthetic:sleep?ms=2&episode_length=20&reset_us=3000")
    assert profile.step.median_s >= 0.002
    assert profile.step.p99_s >= profile.step.p95_s >= profile.step.median_s
    assert profile.reset.median_s >= 0.003
    assert profile.reset.count >= 2
    assert profile.action_space == "Discrete(2)"
    assert profile.cpu_share < profile_of("synthetic:busy?us=500").cpu_share  # it sleeps


def test_a_spread_is_that_of_numpy() -> None:
    values = np.random.default_rng(0).exponential(1.0, 500)
    spread = spread_of(values)
    assert (spread.count, spread.mean_s, spread.median_s) == pytest.approx((500, values.mean(), np.median(values)))
    assert (spread.p95_s, spread.p99_s) == pytest.approx(tuple(np.percentile(values, [95, 99])))
    assert spread.cv == pytest.approx(values.std(ddof=1) / values.mean())
    assert spread_of(np.array([2.0])).cv is None


def test_memory_that_is_taken_is_seen() -> None:
    before, method = held_bytes([os.getpid()])
    block = np.ones(50 * 2**20, np.uint8)
    after, _ = held_bytes([os.getpid()])
    assert after - before == pytest.approx(block.nbytes, rel=0.2)
    assert method
