"""The pipelined loop samples what the plain loop samples; only what happens at the same time differs."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline import make_vec
from paceline.measure.ledger import ENV_STEP, INFERENCE, OTHER, RUNNER_WAIT, TRANSFER, Ledger
from paceline.measure.trace import WAITING, Tracer
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.collector import Collector
from paceline.rollout.pipelined import PipelinedCollector, halves_of
from paceline.vector.base import VecEnv

T, N = 9, 6
ENV = "synthetic:known-return?action=box&ending=truncate&episode_length=4"


@given(num_envs=st.integers(2, 200), num_env_runners=st.integers(1, 64))
def test_halves_hold_every_environment_once_and_are_even(num_envs: int, num_env_runners: int) -> None:
    num_env_runners = min(num_env_runners, num_envs)
    first, second = halves_of(num_envs, num_env_runners)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(num_envs))
    assert len(first) and len(second)
    assert abs(len(first) - len(second)) <= num_env_runners


def test_every_runner_has_a_part_in_both_halves() -> None:
    first, second = halves_of(8, 2)
    assert (first.tolist(), second.tolist()) == ([0, 1, 4, 5], [2, 3, 6, 7])
    first, second = halves_of(4, 4)
    assert (first.tolist(), second.tolist()) == ([0, 2], [1, 3])


def sums(steps: NDArray[np.int32], observations: NDArray[np.float32]) -> NDArray[Any]:
    """Act on what is seen and on how many steps were taken."""
    return (np.sin(observations.sum(-1, keepdims=True) + steps[:, None])).astype(np.float32)


def made(backend: str) -> tuple[VecEnv, RolloutBuffer]:
    venv = make_vec(
        ENV, N, backend=backend, num_env_runners=2 if backend != "serial" else None,  # type: ignore[arg-type]
        autoreset_mode=AutoresetMode.SAME_STEP, infos="none", copy=False,
    )  # fmt: skip
    buffer = RolloutBuffer(venv.single_observation_space, venv.single_action_space.shape, np.float32, T, N)
    return venv, buffer


def snapshot(buffer: RolloutBuffer) -> dict[str, NDArray[Any]]:
    observations, rows = buffer.finals()
    order = np.argsort(rows, kind="stable")
    used = rows[order] < T * N
    named = ("actions", "rewards", "terminated", "truncated", "valid", "observations")
    copies = {name: np.array(getattr(buffer, name)) for name in named}
    return {**copies, "finals": observations[order][used], "final_rows": rows[order][used]}


@pytest.mark.parametrize("backend", ["serial", "shm", "thread"])
def test_the_data_are_those_of_the_plain_loop(backend: str) -> None:
    venv, buffer = made("serial")
    with contextlib.closing(venv):
        plain = Collector(venv, buffer, lambda actions: actions, Ledger())
        plain.reset(5)
        expected = []
        for _ in range(3):
            episodes = plain.collect(sums)
            expected.append((snapshot(buffer), episodes))
        steps = plain.total_steps
    venv, buffer = made(backend)
    with contextlib.closing(venv):
        ledger = Ledger()
        halves = PipelinedCollector(venv, buffer, lambda actions: actions, ledger)
        halves.reset(5)
        ledger.start()
        for wanted, wanted_episodes in expected:
            episodes = halves.collect([sums, sums])
            for name, array in snapshot(buffer).items():
                np.testing.assert_array_equal(array, wanted[name], err_msg=name)
            np.testing.assert_array_equal(episodes.returns, wanted_episodes.returns)
            np.testing.assert_array_equal(episodes.lengths, wanted_episodes.lengths)
        np.testing.assert_array_equal(halves.total_steps, steps)
        entry = ledger.snapshot()
        assert sum(entry.phases.values()) == pytest.approx(entry.wall_s)


@pytest.mark.parametrize(("kind", "backend"), [
    (Collector, "serial"), (Collector, "thread"), (PipelinedCollector, "serial"), (PipelinedCollector, "thread"),
])  # fmt: skip
def test_a_trace_of_the_loop_adds_up_to_its_ledger(kind: Any, backend: str) -> None:
    venv, buffer = made(backend)
    ledger, tracer = Ledger(), Tracer()
    with contextlib.closing(venv):
        collector = kind(venv, buffer, lambda actions: actions, ledger)
        collector.reset(5)
        with ledger.traced(tracer):
            for _ in range(2):
                ledger.start()
                tracer.begin_iteration(ledger.start_ns)
                collector.collect([sums, sums] if kind is PipelinedCollector else sums)
                entry = ledger.cut()
                tracer.end_iteration(ledger.start_ns, T * N, entry, None)
    events = [one for one in tracer.document("")["traceEvents"] if one["ph"] == "X"]
    for name in ("iteration 0", "iteration 1"):
        (whole,) = [one for one in events if one["name"] == name]
        took: dict[str, float] = {}
        for one in events:
            if one is not whole and whole["ts"] <= one["ts"] < whole["ts"] + whole["dur"]:
                took[one["name"]] = took.get(one["name"], 0.0) + one["dur"]
        waited = whole["args"]["waiting_s"]
        assert took.get(WAITING, 0.0) == pytest.approx(1e6 * sum(waited.values()), abs=0.01)
        for phase in (ENV_STEP, RUNNER_WAIT, INFERENCE, TRANSFER, OTHER):
            told = took.get(phase, 0.0) + 1e6 * waited.get(phase, 0.0)
            assert told == pytest.approx(1e6 * whole["args"]["ledger_s"][phase], abs=0.01), phase
        assert took[INFERENCE] > 0.0
