"""First ready: nobody waits for the slow, who are not forgotten; no interleaving of calls mixes up the data."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline import make_vec
from paceline.envs import env_factory
from paceline.errors import RequestError
from paceline.vector import VecEnv
from paceline.vector.conformance.twin import Twin

sys.path.append(str(Path(__file__).parent / "fakes"))
from gate_env import GateEnv

WITH_RUNNERS = ["thread", "pipe", "shm"]
SAME, NEXT, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED
NUM_ENVS = 5
ENV = "synthetic:spaces?obs=dict&action=multidiscrete&episode_length=4&info=all"


class Gated:
    """A vector environment some of whose environments wait at gates."""

    def __init__(self, backend: Any, folder: Path, gated: tuple[int, ...], num_envs: int, **options: Any) -> None:
        self.gates = {index: folder / f"gate-{index}" for index in gated}
        for gate in self.gates.values():
            os.mkfifo(gate)
        envs = [partial(GateEnv, self.gates.get(index)) for index in range(num_envs)]
        self.venv = make_vec(envs, backend=backend, **options)
        self.venv.reset(seed=0)
        self.waiting: set[int] = set()

    def send(self, ids: Any) -> None:
        self.venv.send(np.zeros(len(ids), np.int64), ids)
        self.waiting.update(set(ids) & set(self.gates))

    def let_through(self, index: int) -> None:
        """Let one step of an environment through; returns when it has begun to go."""
        self.gates[index].write_bytes(b"")
        self.waiting.discard(index)

    def recv(self, env_ids: Any = None) -> list[int]:
        return self.venv.recv(env_ids)[1].tolist()

    def close(self) -> None:
        for index in sorted(self.waiting):
            self.let_through(index)
        self.venv.close()


@pytest.mark.parametrize("backend", WITH_RUNNERS)
def test_the_ready_do_not_wait_for_the_slow(backend: str, tmp_path: Path) -> None:
    gated = Gated(backend, tmp_path, (1, 4), 6, num_env_runners=6, batch_size=2)
    try:
        gated.send(range(6))
        first, second = gated.recv(), gated.recv()
        assert sorted(first + second) == [0, 2, 3, 5]
        for _ in range(4):  # and so it stays, for as long as there are two others
            gated.send(first)
            first = gated.recv()
            assert not set(first) & {1, 4}
        gated.let_through(4)
        assert gated.recv([4]) == [4]
        gated.let_through(1)
        assert gated.recv() == [1], "the only one under way is not waited for in company"
    finally:
        gated.close()


@pytest.mark.parametrize("backend", WITH_RUNNERS)
def test_the_slow_come_as_soon_as_they_are_ready(backend: str, tmp_path: Path) -> None:
    gated = Gated(backend, tmp_path, (0,), 4, num_env_runners=4, batch_size=1)
    try:
        gated.send(range(4))
        for _ in range(40):
            ids = gated.recv()
            assert ids != [0]
            gated.send(ids)
        gated.let_through(0)
        for _ in range(1000):
            ids = gated.recv()
            if ids == [0]:
                break
            gated.send(ids)
        assert ids == [0], "an environment that is ready is returned, however quick the others are"
    finally:
        gated.close()


@pytest.mark.parametrize("backend", WITH_RUNNERS)
def test_a_half_does_not_wait_for_the_other(backend: str, tmp_path: Path) -> None:
    gated = Gated(backend, tmp_path, (3,), 4, num_env_runners=2)
    try:
        gated.send([0, 1])
        gated.send([2, 3])
        for _ in range(3):
            assert gated.recv([0, 1]) == [0, 1]
            gated.send([0, 1])
        gated.let_through(3)
        assert gated.recv([2, 3]) == [2, 3]
        assert gated.recv() == [0, 1]
        assert gated.venv.statistics().steps_of_env.tolist() == [4, 4, 1, 1]
    finally:
        gated.close()


@pytest.mark.parametrize("backend", ["serial", *WITH_RUNNERS])
def test_those_who_wait_are_served_in_order(backend: Any) -> None:
    venv = make_vec(GateEnv, 5, backend=backend, num_env_runners=None if backend == "serial" else 1, batch_size=1)
    try:
        venv.reset(seed=0)
        for index in (3, 0, 4, 1):  # one runner, or none, steps them one after the other
            venv.send(np.zeros(1, np.int64), [index])
        assert venv.recv([1])[1].tolist() == [1], "the last; so all are ready by now"
        order = [venv.recv()[1].tolist()]
        venv.send(np.zeros(1, np.int64), [3])  # comes to the end of the queue
        order += [venv.recv()[1].tolist() for _ in range(3)]
        assert order == [[3], [0], [4], [3]]
        with pytest.raises(RequestError, match="expected send before recv"):
            venv.recv()
    finally:
        venv.close()


@pytest.mark.parametrize("backend", WITH_RUNNERS)
def test_costs_of_a_heavy_tail_change_the_order_and_never_the_data(backend: Any) -> None:
    env = "synthetic:sleep?us=300&sigma=1&episode_length=9"
    venv = make_vec(env, 8, backend=backend, num_env_runners=6, batch_size=3, autoreset_mode="same_step")
    try:
        twin = Twin(venv, [env_factory("synthetic:sleep?us=0&episode_length=9")() for _ in range(8)])
        twin.reset(seed=3)
        twin.send()
        while twin.steps.min() < 20:
            twin.send(twin.receive())
        while len(twin.under_way):
            twin.receive()
        assert twin.num_truncated >= 16
    finally:
        venv.close()


class Held:
    """A vector environment for many examples: starting processes takes longer than an example."""

    def __init__(self, backend: Any, mode: AutoresetMode) -> None:
        self.make = partial(
            make_vec, ENV, NUM_ENVS, backend=backend, num_env_runners=None if backend == "serial" else 3, batch_size=2,
            autoreset_mode=mode,
        )  # fmt: skip
        self.venv: VecEnv = self.make()

    def renew(self) -> None:
        self.venv.close()
        self.venv = self.make()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((backend, mode), id=f"{backend}-{mode.name.lower()}")
        for backend, mode in (
            ("serial", SAME), ("serial", DISABLED), ("thread", NEXT), ("pipe", SAME), ("shm", SAME), ("shm", NEXT),
            ("shm", DISABLED),
        )
    ],
)  # fmt: skip
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    held = Held(*request.param)
    yield held
    held.venv.close()


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send all", "recv", "recv", "recv these", "step", "reset", "reset all"]),
        st.permutations(range(NUM_ENVS)),
        st.integers(1, NUM_ENVS),
    ),
    min_size=5,
    max_size=40,
)
"""Calls, with environments in some order of which the first few that may be named are named."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=CALLS, seed=st.integers(0, 1000))
def test_no_interleaving_of_calls_mixes_up_the_data(
    held: Held, calls: list[tuple[str, list[int], int]], seed: int
) -> None:
    try:
        twin = Twin(held.venv, [env_factory(ENV)() for _ in range(NUM_ENVS)])
        twin.reset(seed=seed)
        for call, order, count in calls:
            make_call(twin, call, order, count)
        while len(twin.under_way):
            twin.receive()
        held.venv.reset(seed=0)
    except BaseException:
        held.renew()
        raise


def make_call(twin: Twin, call: str, order: list[int], count: int) -> None:
    """Make a call if it is allowed now; the twin compares what it returns."""
    under_way = set(twin.under_way.tolist())
    stuck = set(twin.all_ids[twin.over].tolist()) if twin.venv.autoreset_mode is DISABLED else set()
    at_rest = [index for index in order if index not in under_way]
    ready_to_go = [index for index in at_rest if index not in stuck][:count]
    if call == "send" and ready_to_go:
        twin.send(ready_to_go)
    elif call == "send all" and not under_way and not stuck:
        twin.send()
    elif call == "recv" and under_way:
        assert len(twin.receive()) == min(2, len(under_way))
    elif call == "recv these" and under_way:
        named = [index for index in order if index in under_way][:count]
        assert twin.receive(named).tolist() == sorted(named)
    elif call == "step" and not under_way and not stuck:
        twin.step()
    elif call == "reset" and at_rest:
        twin.reset(seed=order, mask=np.isin(twin.all_ids, at_rest[:count]))
    elif call == "reset all" and not under_way:
        twin.reset(seed=count)
