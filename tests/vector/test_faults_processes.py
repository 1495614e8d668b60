"""Runners that die, hang or leak under ``on_fault="restart"``: whatever their environments were at, nothing is lost.

An environment of ``synthetic:faulty`` observes how many steps it took, how many in this episode, and its seed.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline import make_vec
from paceline.errors import EnvTimeoutError, RunnerDiedError, RunnerMemoryError
from paceline.vector import StepBatch, VecEnv
from paceline.vector.base import EnvIds

pytestmark = pytest.mark.slow

Ended = Callable[[int], bool]
SEEDS = [10, 11, 12, 13]
NOOP = np.zeros(4, np.int64)
BY_PROCESS = pytest.mark.parametrize("backend", ["shm", "pipe"])


@contextmanager
def healthy(backend: Any, env: str = "synthetic:faulty?fault=nan&at=100000", **kwargs: Any) -> Iterator[VecEnv]:
    """Four environments in two runners, reset."""
    venv: VecEnv = make_vec(
        env, 4, backend=backend, num_env_runners=2, on_fault="restart", start_method="forkserver", **kwargs
    )
    with closing(venv):
        venv.reset(seed=SEEDS)
        yield venv


def kill(venv: VecEnv, slot: int, ended: Ended) -> None:
    pid = venv.runner_pids()[slot]
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)


def counts(batch: StepBatch) -> list[list[float]]:
    return batch.observations[:, :2].tolist()  # type: ignore[no-any-return]


@BY_PROCESS
def test_a_runner_killed_between_steps_is_replaced(backend: Any, ended: Ended) -> None:
    with healthy(backend) as venv:
        for _ in range(2):
            venv.step(NOOP)
        kill(venv, 0, ended)
        observations, rewards, terminated, truncated, infos = venv.step(NOOP)
        assert observations[:, 0].tolist() == [2, 2, 3, 3] and rewards.tolist() == [0, 0, 1, 1]
        assert truncated.tolist() == infos["restarted"].tolist() == [True, True, False, False]
        assert not terminated.any()
        observations, rewards, _, truncated, infos = venv.step(NOOP)  # the first episode of the new ones begins
        seeds = [(seed or 0) % 1000 for seed in venv.env_seeds]
        assert observations.tolist() == [[0, 0, seeds[0]], [0, 0, seeds[1]], [4, 4, 12], [4, 4, 13]]
        assert rewards.tolist() == [0, 0, 1, 1] and not truncated.any() and "restarted" not in infos
        (told,) = venv.faults
        assert told.kind == "RunnerDiedError" and "envs 0 to 1" in told.message and told.new_seed == venv.env_seeds[0]
        assert len({*SEEDS, *venv.env_seeds}) == 6


@BY_PROCESS
def test_deaths_at_every_turn_are_mended(backend: Any, ended: Ended) -> None:
    """Both runners at once, a replacement before its first step, in between resets, and again."""
    with healthy(backend) as venv:
        kill(venv, 0, ended)
        kill(venv, 1, ended)
        assert venv.step(NOOP)[4]["restarted"].all() and len(venv.faults) == 2
        kill(venv, 1, ended)
        assert venv.step(NOOP)[4]["restarted"].tolist() == [False, False, True, True]
        kill(venv, 0, ended)
        observations, _ = venv.reset(seed=SEEDS)
        assert observations[:, 2].tolist()[2:] == [12, 13] and len(venv.faults) == 4
        observations, rewards, *_ = venv.step(NOOP)
        assert observations[:, 0].tolist() == [1, 1, 1, 1] and rewards.tolist() == [1, 1, 1, 1]
        assert venv.call("get_wrapper_attr", "_steps") == (1, 1, 1, 1)


@BY_PROCESS
def test_a_fork_server_that_dies_is_one_fault_and_replaced_with_its_runners(backend: Any, ended: Ended) -> None:
    def kill_server() -> None:
        pids = (venv._launcher.pid, *venv.runner_pids())
        os.kill(pids[0], signal.SIGKILL)
        assert all(ended(pid) for pid in pids[1:])

    with healthy(backend, max_restarts=2) as venv:
        kill_server()
        assert venv.step(NOOP)[4]["restarted"].all()
        (told,) = venv.faults
        assert (told.kind, "fork server" in told.message) == ("RunnerDiedError", True)
        kill_server()
        observations, _ = venv.reset(seed=SEEDS)
        assert observations[:, 2].tolist() == SEEDS, "none of the environments is to blame"
        assert venv.step(NOOP)[1].tolist() == [1, 1, 1, 1] and len(venv.faults) == 2
        kill_server()
        with pytest.raises(RunnerDiedError, match=r"fork server .* ended by SIGKILL .* after 2 restarts"):
            venv.step(NOOP)


@BY_PROCESS
def test_a_runner_found_dead_by_a_call_is_replaced_and_asked_again(backend: Any, ended: Ended) -> None:
    """What follows is as after any death between steps: a restarted row, then the first of a new episode."""
    with healthy(backend) as venv:
        venv.step(NOOP)
        kill(venv, 0, ended)
        assert venv.call("get_wrapper_attr", "_steps") == (0, 0, 1, 1)
        kill(venv, 1, ended)
        venv.set_attr("colour", ["a", "b", "c", "d"])
        assert venv.get_attr("colour") == ("a", "b", "c", "d")
        assert [fault.kind for fault in venv.faults] == ["RunnerDiedError"] * 2
        observations, rewards, _, truncated, infos = venv.step(NOOP)
        assert observations[:, 0].tolist() == [1, 1, 1, 1] and rewards.tolist() == [0, 0, 0, 0]
        assert truncated.all() and infos["restarted"].all()
        observations, rewards, *_ = venv.step(NOOP)
        assert observations[:, 0].tolist() == [0, 0, 0, 0]
        assert venv.step(NOOP)[1].tolist() == [1, 1, 1, 1]


@BY_PROCESS
@pytest.mark.usefixtures("by_value")
def test_a_call_that_kills_or_hangs_is_told(backend: Any) -> None:
    """Asked again once at most, so that a call does not use up all restarts."""

    def build() -> Any:
        from paceline.envs.synthetic import FaultyEnv

        class Calling(FaultyEnv):
            def die(self) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            def hang(self) -> None:
                threading.Event().wait()

        return Calling("nan", at=10_000)

    for name, kind, restarts in (("die", RunnerDiedError, 1), ("hang", EnvTimeoutError, 0)):
        venv = make_vec(
            build, 2, backend=backend, num_env_runners=1, on_fault="restart",
            step_timeout_s=0.5 if name == "hang" else None,
        )  # fmt: skip
        with closing(venv):
            venv.reset(seed=SEEDS[:2])
            with pytest.raises(kind):
                venv.call(name)
            assert len(venv.faults) == restarts


@BY_PROCESS
def test_what_was_ready_is_delivered_what_was_under_way_is_restarted_what_rests_learns_later(
    backend: Any, ended: Ended
) -> None:
    """First ready: of runner 0, which dies, one environment is complete; of runner 1 one is under way."""
    with healthy(backend, batch_size=1) as venv:
        venv.send(NOOP)
        batch, ids = venv.recv([0, 1, 2, 3])
        assert batch.rewards.tolist() == [1, 1, 1, 1]
        venv.send(NOOP[:1], [0])
        venv.recv([0])
        venv.send(NOOP[:2], [0, 2])
        venv.recv([2])  # waits until runner 0 may have answered, too
        kill(venv, 0, ended)
        venv.send(NOOP[:2], [1, 3])
        rows: dict[int, tuple[list[float], float, bool]] = {}
        for _ in range(3):
            batch, ids = venv.recv()
            rows[int(ids[0])] = (counts(batch)[0], float(batch.rewards[0]), bool(batch.restarted[0]))
        assert rows[3] == ([2, 2], 1.0, False)
        assert rows[1] == ([1, 1], 0.0, True)
        assert rows[0] in [([3, 3], 1.0, False), ([2, 2], 0.0, True)], "delivered as it was, or begun again"
        venv.send(NOOP[:1], [0])
        batch, _ = venv.recv([0])
        if rows[0][2]:
            assert batch.reset_rows.tolist() == [True] and counts(batch) == [[0, 0]]
        else:
            assert batch.restarted.tolist() == [True] and counts(batch) == [[3, 3]]
        assert len(venv.faults) == 1


@BY_PROCESS
@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.usefixtures("by_value")
def test_what_a_runner_finished_before_it_died_counts(backend: Any, dead: int, tmp_path: Path, ended: Ended) -> None:
    """It dies while the caller waits for the other, which stands before a gate: a FIFO that is opened afterwards."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    seed_at_gate = SEEDS[2 if dead == 0 else 0]

    def build() -> Any:
        from paceline.envs.synthetic import FaultyEnv

        class Gated(FaultyEnv):
            def step(self, action: Any) -> Any:
                if self._seed == seed_at_gate and self._steps == 1:
                    gate.read_bytes()
                return super().step(action)

        return Gated("nan", at=10_000)

    venv: Any = make_vec(build, 4, backend=backend, num_env_runners=2, on_fault="restart")
    with closing(venv):
        venv.reset(seed=SEEDS)
        venv.step(NOOP)
        pid = venv.runner_pids()[dead]

        def kill_then_open() -> None:
            runner = venv._runners[dead]
            waited_for_first = 1 if backend == "shm" else 0
            if dead != waited_for_first:  # it has finished, and nobody has looked yet
                select.select([runner.done_fd if backend == "shm" else runner.channel], [], [])
            else:  # it has finished, and the caller has taken note
                while dead in (venv._awaited if backend == "shm" else venv._under_way):
                    os.sched_yield()
            os.kill(pid, signal.SIGKILL)
            if ended(pid):
                gate.write_bytes(b"go on")

        venv.send(NOOP)
        if backend == "shm":
            venv._awaited = [0, 1]
        helper = threading.Thread(target=kill_then_open)
        helper.start()
        batch, _ = venv.recv()
        helper.join()
        assert batch.observations[:, 0].tolist() == [2, 2, 2, 2] and batch.rewards.tolist() == [1, 1, 1, 1]
        assert not batch.restarted.any()
        lost = np.arange(4) // 2 == dead
        for restarted, resets in ((lost, ~lost & lost), (~lost & lost, lost), (~lost & lost, ~lost & lost)):
            venv.send(NOOP)
            batch, _ = venv.recv()
            assert (batch.restarted == restarted).all() and (batch.reset_rows == resets).all()
        assert batch.observations[:, 0].tolist() == np.where(lost, 1, 5).tolist()


@BY_PROCESS
def test_rows_that_wait_to_be_returned_survive_a_reset_of_their_neighbour(backend: Any, ended: Ended) -> None:
    with healthy(backend, batch_size=2) as venv:
        venv.send(NOOP)
        _, first = venv.recv([2, 3])
        venv.send(NOOP[:2], first)
        venv.recv([2, 3])  # in the meantime 0 and 1 are complete, or will be
        venv.recv([1])
        kill(venv, 0, ended)
        venv.reset(seed=[None, 77, None, None], mask=np.array([False, True, False, False]))
        batch, ids = venv.recv([0])
        assert ids.tolist() == [0]
        assert (batch.rewards[0], batch.restarted[0]) in [(1.0, False), (0.0, True)]
        venv.send(NOOP[:1], [1])
        batch, _ = venv.recv([1])
        assert counts(batch) == [[1, 1]] and not batch.restarted.any(), "it was reset, so it just goes on"


@BY_PROCESS
@pytest.mark.parametrize("batch_size", [4, 1])
def test_one_that_hangs_is_replaced(backend: Any, batch_size: int) -> None:
    env = "synthetic:faulty?fault=hang&at=3&only_seed=12"
    with healthy(backend, env, step_timeout_s=0.4, batch_size=batch_size) as venv:
        restarted = np.zeros(4, np.int64)
        for _ in range(5):
            venv.send(NOOP)
            batch, _ = venv.recv(np.arange(4))
            restarted += batch.restarted
        assert restarted.tolist() == [0, 0, 1, 1] and batch.observations[:2, 0].tolist() == [5, 5]
        (told,) = venv.faults
        assert (told.kind, told.env_index, told.seed, told.step, told.action) == ("EnvTimeoutError", 2, 12, 3, 0)
        assert venv.env_seeds[:2] == (10, 11) and venv.env_seeds[2] == told.new_seed


@BY_PROCESS
def test_one_that_hangs_in_the_callers_reset_is_replaced(backend: Any) -> None:
    env = "synthetic:faulty?fault=hang-in-reset&at=1&only_seed=12"
    with healthy(backend, env, step_timeout_s=0.4) as venv:
        (told,) = venv.faults
        assert (told.kind, told.env_index) == ("EnvTimeoutError", 2) and venv.env_seeds == (10, 11, told.new_seed, 13)
        assert venv.step(NOOP)[1].tolist() == [1, 1, 1, 1]


@BY_PROCESS
def test_both_runners_may_hang_at_once(backend: Any) -> None:
    with healthy(backend, "synthetic:faulty?fault=hang&at=2", step_timeout_s=0.3) as venv:
        venv.step(NOOP)
        assert venv.step(NOOP)[4]["restarted"].all()
        assert sorted(fault.env_index for fault in venv.faults) == [0, 2]
        assert venv.step(NOOP)[0][:, 0].tolist() == [0, 0, 0, 0]


@BY_PROCESS
@pytest.mark.parametrize(("batch_size", "leaky"), [(4, 12), (2, 12), (4, 13)])
def test_a_leak_is_mended_between_steps(backend: Any, batch_size: int, leaky: int) -> None:
    """The step is complete when the runner is replaced; its environments are restarted in the next, and only there."""
    env = f"synthetic:faulty?fault=leak&at=3&only_seed={leaky}&mib=150"
    with healthy(backend, env, memory_limit_bytes=220 * 2**20, batch_size=batch_size) as venv:
        for count in range(1, 7):
            venv._next_watch_s = 0.0  # a look at the memory comes once a second; now it is due
            venv.send(NOOP)
            batch, _ = venv.recv() if batch_size == 4 else venv.recv(np.arange(4))
            assert batch.observations[:2, 0].tolist() == [count, count]
            if venv.faults:
                break
        (told,) = venv.faults
        assert told.kind == "RunnerMemoryError" and "runner 1 (envs 2 to 3) has grown most" in told.message
        assert batch.rewards.tolist() == [1, 1, 1, 1] and not batch.restarted.any(), "that step did happen"
        seen = []
        for _ in range(3):
            venv.send(NOOP)
            batch, _ = venv.recv(np.arange(4))
            seen.append((batch.restarted.tolist()[1:3], batch.reset_rows.tolist()[1:3], batch.rewards.tolist()[1:3]))
        assert seen == [
            ([False, True], [False, False], [1, 0]),
            ([False, False], [False, True], [1, 0]),
            ([False, False], [False, False], [1, 1]),
        ]


@BY_PROCESS
@pytest.mark.parametrize("leaky", [1, 2])
@pytest.mark.parametrize("batch_size", [3, 1])
def test_a_leak_of_one_environment_alone_is_told_as_any_fault(backend: Any, leaky: int, batch_size: int) -> None:
    env = f"synthetic:faulty?fault=leak&at=3&only_seed={SEEDS[leaky]}&mib=200"
    venv: Any = make_vec(
        env, 3, backend=backend, num_env_runners=3, memory_limit_bytes=260 * 2**20, batch_size=batch_size,
        start_method="forkserver",
    )  # fmt: skip
    with closing(venv), pytest.raises(RunnerMemoryError, match=f"has grown most.*env {leaky}, seed") as caught:
        venv.reset(seed=SEEDS[:3])
        for count in range(1, 7):
            venv._next_watch_s = 0.0  # a look at the memory is due
            venv.send(np.full(3, count % 2))
            venv.recv([0, 1, 2])
    told = caught.value
    assert (told.env_index, told.seed, told.step, told.action) == (leaky, SEEDS[leaky], count, count % 2)


@BY_PROCESS
def test_steps_are_counted_over_lives_of_a_runner(backend: Any, ended: Ended) -> None:
    """The step that did not happen counts as one, the reset that follows does not; each life breaks at its fourth."""
    venv = make_vec("synthetic:faulty?fault=raise&at=4", 2, backend=backend, num_env_runners=2, on_fault="restart")
    with closing(venv):
        venv.reset(seed=[10, 11])
        for count in range(8):
            if count == 2:
                kill(venv, 1, ended)
            venv.step(NOOP[:2])
        assert [(fault.env_index, fault.step) for fault in venv.faults] == [(1, 3), (0, 4), (1, 7)]


@BY_PROCESS
def test_time_in_environments_never_runs_backwards(backend: Any, ended: Ended) -> None:
    with healthy(backend, "synthetic:sleep?ms=1") as venv:
        before = venv.busy_ns()
        for count in range(6):
            if count in (2, 4):
                kill(venv, 1, ended)
            venv.step(NOOP)
            after = venv.busy_ns()
            assert (after >= before).all()
            before = after
        told = venv.statistics()
        assert told.restarts == 4 and all(runner.busy_s > 0 for runner in told.runners)  # two runners of two each
        assert told.runners[1].env_steps == 12


def test_a_thread_that_hangs_is_an_error_under_every_policy() -> None:
    venv = make_vec(
        "synthetic:faulty?fault=hang&at=1&only_seed=12", 4, backend="thread", num_env_runners=2, on_fault="restart",
        step_timeout_s=0.1,
    )  # fmt: skip
    venv.reset(seed=SEEDS)
    with pytest.raises(EnvTimeoutError, match=r"env 2, seed 12, step 1, last action 0"):
        venv.step(NOOP)
    venv.close()


def test_batches_of_the_dead_keep_their_order() -> None:
    """A batch names its environments in ascending order, mended or not."""
    env = "synthetic:faulty?fault=kill&at=2&only_seed=11"
    with healthy("shm", env, batch_size=3) as venv:
        total = np.zeros(4, np.int64)
        venv.send(NOOP)
        for _ in range(40):
            _, ids = venv.recv()
            assert_ascending(ids)
            total[ids] += 1
            venv.send(np.zeros(len(ids), np.int64), ids)
        assert len(venv.faults) == 1 and total.sum() == 120 and total.max() - total.min() <= 40


def assert_ascending(ids: EnvIds) -> None:
    assert len(ids) == 3 and (np.diff(ids) > 0).all()
