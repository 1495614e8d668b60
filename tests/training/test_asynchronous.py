"""Asynchronous drivers: nobody waits for the slowest, lag is bounded and told, and what they learn from is theirs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from paceline.errors import PlanError, RunnerDiedError
from paceline.measure.ledger import Ledger
from paceline.rollout.fragments import Fragment
from paceline.spec import RunSpec, build_spec
from paceline.training.drivers import open_driver

BOX = "synthetic:known-return?action=box&ending=truncate&episode_length=7"
pytestmark = pytest.mark.slow  # each starts processes that load JAX
ALGOS: dict[str, dict[str, Any]] = {
    "impala": {"name": "impala", "batch_size": 40, "rollout_length": 10, "updates_per_iteration": 4},
    "a3c": {"name": "a3c", "batch_size": 20, "updates_per_iteration": 8},
}


def spec_of(
    algo: str, env: str = BOX, *, runners: int = 2, fields: dict[str, Any] | None = None, **more: Any
) -> RunSpec:
    plan = {"num_env_runners": runners, "num_envs_per_env_runner": 2, "learner_threads": 1, "device": "cpu"}
    return build_spec(RunSpec, {"env": {"id": env}, "algo": {**ALGOS[algo], **(fields or {})}, "plan": plan, **more})


def arrays_of(fragment: Fragment) -> list[np.ndarray[Any, Any]]:
    buffer = fragment.buffer
    fields = (buffer.observations, buffer.actions, buffer.rewards, buffer.valid, fragment.log_probs, fragment.facts)
    return [np.array(leaf) for leaf in jax.tree.leaves(fields)]


@contextlib.contextmanager
def driving(spec: RunSpec, ledger: Ledger | None = None) -> Iterator[Any]:
    with open_driver(spec, ledger or Ledger()) as driver:
        driver.reset()
        driver.compile()
        yield driver


@pytest.mark.parametrize("algo", ALGOS)
def test_an_iteration_learns_from_whole_fragments_and_tells_of_their_lag(algo: str) -> None:
    ledger = Ledger()
    with driving(spec_of(algo), ledger) as driver:
        before = [np.array(leaf) for leaf in jax.tree.leaves(driver.learner.state.policy.params)]
        ledger.start()
        done = [driver.iterate(0.0) for _ in range(4)]
        entry = ledger.snapshot()
        after = [np.array(leaf) for leaf in jax.tree.leaves(driver.learner.state.policy.params)]
        assert [iteration.num_env_steps for iteration in done] == [160] * 4
        assert driver.total_env_steps == 640, "what was sampled, but not learnt from yet, does not count"
        assert driver.num_updates == 4 * driver.spec.algo.updates_per_iteration
    assert sum(len(iteration.episodes.returns) for iteration in done) > 50
    assert not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert sum(entry.phases.values()) == pytest.approx(entry.wall_s, rel=1e-6)
    assert (entry.phases["runner_gradient"] > 0) == (algo == "a3c")
    # At most what lies in the slots of all runners: the fragments of two runners with two slots each.
    for iteration in done:
        lag = [iteration.metrics[f"lag_{name}"] for name in ("min", "mean", "max")]
        assert 0 <= lag[0] <= lag[1] <= lag[2] <= 6


def test_a_batch_of_many_fragments_of_one_runner_finds_room() -> None:
    with driving(spec_of("impala", runners=1, fields={"batch_size": 100})) as driver:
        for _ in range(2):
            assert driver.iterate(0.0).num_env_steps == 400


def interrupted_if(is_due: Callable[[], bool]) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return what wraps the sampling, and presses Ctrl-C when a wait for fragments begins and ``is_due``."""

    @contextlib.contextmanager
    def interruptible() -> Iterator[None]:
        if is_due():
            raise KeyboardInterrupt
        yield

    return interruptible


def test_a_batch_that_is_interrupted_counts_no_steps() -> None:
    fields = {"batch_size": 100, "updates_per_iteration": 1}  # five fragments, of which two at most are ready
    with driving(spec_of("impala", runners=1, fields=fields)) as driver:
        driver.iterate(0.0)
        waits = iter([False, False, True])  # two to four fragments are taken
        with pytest.raises(KeyboardInterrupt):
            driver.iterate(0.0, interruptible=interrupted_if(lambda: next(waits)))
        assert (driver.num_updates, driver.total_env_steps) == (1, 100)
        assert driver.checkpoint_state()["env_steps"].tolist() == [50, 50]
        assert driver.take_finished_part() is None
        assert driver.iterate(0.0).num_env_steps == 100
        assert driver.total_env_steps > 200, "what was dropped counts with what is learnt after it"


@pytest.mark.parametrize("algo", ALGOS)
def test_an_iteration_that_is_interrupted_hands_over_the_updates_that_it_finished(algo: str) -> None:
    ledger = Ledger()
    fields = {"batch_size": 100} if algo == "impala" else {}
    with driving(spec_of(algo, runners=1, fields=fields), ledger) as driver:
        driver.iterate(0.0)
        steps, updates = driver.total_env_steps, driver.num_updates
        ledger.start()
        with pytest.raises(KeyboardInterrupt):
            driver.iterate(0.0, interruptible=interrupted_if(lambda: driver.num_updates > updates))
        iteration, entry = driver.take_finished_part()
        finished = driver.num_updates - updates
        assert iteration.num_env_steps == finished * driver.spec.algo.batch_size == driver.total_env_steps - steps > 0
        assert len(iteration.episodes.returns) > 0 and "loss" in iteration.metrics
        assert sum(entry.phases.values()) == pytest.approx(entry.wall_s, rel=1e-6)
        assert driver.num_iterations == 2
        assert driver.take_finished_part() is None


@contextlib.contextmanager
def stopped(driver: Any, slot: int) -> Iterator[None]:
    pid = driver._pool.runner_pids()[slot]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(("algo", "batch_size"), [("impala", 80), ("a3c", 20)])
def test_the_learner_does_not_wait_for_the_slowest(algo: str, batch_size: int) -> None:
    with driving(spec_of(algo, "synthetic:sleep?ms=1", fields={"batch_size": batch_size})) as driver:
        driver.iterate(0.0)
        with stopped(driver, 0):
            stopped_at = int(driver._pool.memory.steps[0])
            for _ in range(2):
                assert driver.iterate(0.0).num_env_steps == driver.steps_per_iteration
            assert int(driver._pool.memory.steps[0]) == stopped_at, "all of it came from the other one"


def test_a_runner_that_hangs_is_replaced_though_another_keeps_the_learner_busy() -> None:
    with driving(spec_of("a3c", step_timeout_s=1.0)) as driver, stopped(driver, 0):
        events: list[str] = []
        while not events:  # the test's time limit ends it if nobody notices
            events += driver.iterate(0.0).events
        assert events[0].startswith("runner 0 was replaced because it did not return from a step")
        beginner = int(driver._pool.memory.steps[0])
        while int(driver._pool.memory.steps[0]) <= beginner + 20:
            driver.iterate(0.0)


def test_what_is_too_old_is_dropped_and_counted() -> None:
    with driving(spec_of("impala", fields={"max_lag": 5})) as driver:
        driver.iterate(0.0)
        num_stale = 0.0
        while not num_stale:  # it may have been stopped between two fragments, none of which is old then
            with stopped(driver, 0):
                done = [driver.iterate(0.0) for _ in range(4)]
            done += [driver.iterate(0.0) for _ in range(2)]
            assert all(iteration.metrics["lag_max"] <= 5 for iteration in done)
            num_stale += sum(iteration.metrics["num_stale_fragments"] for iteration in done)


def test_what_a_dead_runner_had_finished_stays_as_it_was() -> None:
    with driving(spec_of("impala", runners=1)) as driver:
        driver.iterate(0.0)
        pool = driver._pool
        while sum(pool._asked):
            driver._ready.extend(pool.wait())
        fragments = [fragment for _, fragment in driver._ready]
        assert len(fragments) == driver.layout.num_slots, "no slot is free"
        before = [arrays_of(fragment) for fragment in fragments]
        os.kill(pool.runner_pids()[0], signal.SIGKILL)
        while not pool._events:
            pool._look()
        while pool._starting:
            pool._look()
        for earlier, fragment in zip(before, fragments, strict=True):
            for a, b in zip(earlier, arrays_of(fragment), strict=True):
                np.testing.assert_array_equal(a, b)
        assert driver.iterate(0.0).num_env_steps == 160


@pytest.mark.parametrize("algo", ALGOS)
def test_actors_stop_when_their_slots_are_full(algo: str) -> None:
    with driving(spec_of(algo, runners=1)) as driver:
        driver.iterate(0.0)
        pool, taken = driver._pool, 0
        left = sum(pool._asked)
        assert left <= driver.layout.num_slots
        while sum(pool._asked):
            taken += len(pool.wait())
        assert taken == left
        consumed = driver.num_updates * (2 if algo == "impala" else 1)  # an update of IMPALA takes two fragments
        length = driver.layout.rollout_length
        assert int(pool.memory.steps[0]) == (consumed + len(driver._ready) + taken) * length


@pytest.mark.parametrize("algo", ALGOS)
def test_a_killed_runner_is_replaced_and_what_it_had_finished_still_counts(algo: str) -> None:
    with driving(spec_of(algo)) as driver:
        driver.iterate(0.0)
        events: list[str] = []
        for slot in (0, 1):
            os.kill(driver._pool.runner_pids()[slot], signal.SIGKILL)
            driver._pool._runners[slot].process.wait()  # which takes long on a busy machine
            for _ in range(3):
                iteration = driver.iterate(0.0)
                events += iteration.events
                assert all(np.isfinite(value) for value in iteration.metrics.values())
        assert [event.split(" was replaced")[0] for event in events] == ["runner 0", "runner 1"]


def test_a_fork_server_that_is_killed_is_one_fault_however_many_runners_die_with_it() -> None:
    with driving(spec_of("impala", runners=4, max_restarts=1)) as driver:
        driver.iterate(0.0)
        pool = driver._pool
        pids = pool.runner_pids()
        server = pool._launcher._server.pid
        os.kill(server, signal.SIGKILL)
        events: list[str] = []
        while not events or pool._starting:  # the test's time limit ends it if one is not replaced
            events += driver.iterate(0.0).events
        (event,) = events
        assert event.startswith(
            "runners 0, 1, 2, 3 were replaced because the fork server died (replacement 1 of at most 1): expected the "
            f"fork server (pid {server}) "
        )
        assert not {*pids} & {*pool.runner_pids()}
        os.kill(pool._launcher._server.pid, signal.SIGKILL)
        with pytest.raises(RunnerDiedError, match=r"fork server \(pid \d+\) .* was ended by SIGKILL"):
            while True:
                driver.iterate(0.0)


@pytest.mark.parametrize(
    ("algo", "fields", "message"),
    [
        ("impala", {"batch_size": 50}, r"sends at once \(10 steps x 2 envs\), got 50; use batch_size 40"),
        ("impala", {"batch_size": 10}, "use batch_size 20"),
        ("a3c", {"batch_size": 21}, r"\(1 steps x 2 envs\), got 21; use batch_size 20"),
    ],
)  # fmt: skip
def test_a_batch_that_no_fragments_make_is_refused(algo: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message), driving(spec_of(algo, fields=fields)):
        pass
