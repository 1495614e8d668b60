"""Policies in the runners: the same experience as in the learner's process, whatever happens to a runner."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from fake_envs import small_spec

from paceline.errors import EnvError, EnvTimeoutError, PlanError, RunnerDiedError
from paceline.measure.ledger import Ledger
from paceline.spec import ImpalaSpec, Plan, RunSpec, build_spec
from paceline.training.actor_driver import ActorDriver
from paceline.training.checkpoint import CheckpointStore
from paceline.training.drivers import open_driver

SPACES = "synthetic:spaces?obs=nested&action=multidiscrete&episode_length=6"
pytestmark = pytest.mark.slow  # each starts processes that load JAX
ALGOS = {
    "ppo": {"name": "ppo", "batch_size": 64, "minibatch_size": 32, "num_epochs": 2},
    "a2c": {"name": "a2c", "batch_size": 32, "updates_per_iteration": 2},
}


def spec_of(env: str, algo: dict[str, Any], *, in_runners: bool, **fields: Any) -> RunSpec:
    plan: dict[str, Any] = {"learner_threads": 1, "device": "cpu", "num_envs_per_env_runner": 4}
    if in_runners:
        plan |= {"num_env_runners": 2, "num_envs_per_env_runner": 2, "inference": "runner", "schedule": "sync"}
    return build_spec(RunSpec, {"env": {"id": env}, "algo": algo, "plan": plan, **fields})


@contextlib.contextmanager
def driving(spec: RunSpec, ledger: Ledger | None = None) -> Iterator[Any]:
    with open_driver(spec, ledger or Ledger()) as driver:
        driver.reset()
        driver.compile()
        yield driver


def trained(spec: RunSpec, iterations: int = 3) -> tuple[list[np.ndarray[Any, Any]], list[float]]:
    with driving(spec) as driver:
        returns = []
        for index in range(iterations):
            returns += driver.iterate(index / iterations).episodes.returns.tolist()
        return [np.array(leaf) for leaf in jax.tree.leaves(driver.checkpoint_state())], returns


@pytest.mark.parametrize("algo", ALGOS)
def test_where_the_policy_sits_changes_no_data(algo: str) -> None:
    arrays, returns = trained(spec_of(SPACES, ALGOS[algo], in_runners=False))
    others, others_returns = trained(spec_of(SPACES, ALGOS[algo], in_runners=True))
    assert sorted(returns) == sorted(others_returns) and returns
    for a, b in zip(arrays, others, strict=True):
        # A policy acts for 2 environments here and for 4 there: sums of floats may come in another order.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_parameters_bit_for_bit() -> None:
    spec = spec_of(SPACES, ALGOS["ppo"], in_runners=True)
    first, _ = trained(spec)
    again, _ = trained(spec)
    other, _ = trained(spec.model_copy(update={"seed": 1}))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_ledger_adds_up_and_tells_what_the_runners_did() -> None:
    ledger = Ledger()
    spec = spec_of("synthetic:sleep?ms=2", ALGOS["ppo"], in_runners=True)
    with driving(spec, ledger) as driver:
        ledger.start()
        for _ in range(2):
            driver.iterate(0.0)
        entry = ledger.snapshot()
    assert sum(entry.phases.values()) == pytest.approx(entry.wall_s, rel=1e-6)
    slept_s = 2 * 64 / 2 * 0.002  # two iterations of 64 steps in two runners at once
    assert 0.9 * slept_s < entry.phases["env_step"] < entry.wall_s
    assert entry.phases["inference"] > 0 and entry.phases["learner_update"] > 0


def kill(driver: ActorDriver, slot: int) -> None:
    os.kill(driver._pool.runner_pids()[slot], signal.SIGKILL)


def test_a_runner_that_is_killed_is_replaced_and_told() -> None:
    with driving(spec_of(SPACES, ALGOS["ppo"], in_runners=True)) as driver:
        assert driver.iterate(0.0).events == ()
        pids = driver._pool.runner_pids()
        kill(driver, 1)
        iteration = driver.iterate(0.0)
        assert iteration.num_env_steps == 64, "what was lost was sampled again"
        (event,) = iteration.events
        assert event.startswith("runner 1 was replaced because it died (replacement 1 of at most 3): ")
        assert "SIGKILL" in event
        assert [told["environment"]["OMP_NUM_THREADS"] for told in driver.runner_threads] == ["1", "1"]
        assert driver._pool.runner_pids()[0] == pids[0] and driver._pool.runner_pids()[1] != pids[1]
        assert driver.iterate(0.0).events == ()
        assert driver.total_env_steps == 3 * 64


def test_a_death_is_seen_though_a_child_of_the_environment_lives_on() -> None:
    spec = spec_of("fake_envs:LeavesAChild", ALGOS["ppo"], in_runners=True, step_timeout_s=30)
    with driving(spec) as driver:
        driver.iterate(0.0)
        kill(driver, 1)
        (event,) = driver.iterate(0.0).events
        assert event.startswith("runner 1 was replaced because it died ")


@pytest.mark.parametrize(
    ("now", "how", "why"),
    [
        ("build", "die", "it died"),
        ("reset", "die", "it died"),
        ("reset", "hang", "it did not reset its environments"),
    ],
)
def test_a_runner_that_fails_before_its_first_fragment_is_replaced(
    now: str, how: str, why: str, tmp_path: Path
) -> None:
    kwargs = {"marker": str(tmp_path / "marker"), "now": now, "how": how}
    # Compiling takes longer than this limit on a step or reset.
    spec = spec_of("fake_envs:FailsOnce", ALGOS["ppo"], in_runners=True, step_timeout_s=0.5, max_restarts=1)
    spec = spec.model_copy(update={"env": spec.env.model_copy(update={"kwargs": kwargs})})
    with driving(spec) as driver:
        assert [told["environment"]["OMP_NUM_THREADS"] for told in driver.runner_threads] == ["1", "1"]
        iteration = driver.iterate(0.0)
        assert iteration.num_env_steps == 64
        (event,) = iteration.events
        assert re.match(rf"runner [01] was replaced because {why} \(replacement 1 of at most 1\): ", event)


def test_one_that_fails_before_its_first_fragment_and_is_replaced_too_often_ends_the_run() -> None:
    env = "synthetic:faulty?fault=exit-in-reset&at=1"
    with (
        pytest.raises(RunnerDiedError, match="exited with status 7"),
        driving(spec_of(env, ALGOS["ppo"], in_runners=True, max_restarts=1)),
    ):
        pass


def test_one_replacement_too_many_ends_the_run() -> None:
    with driving(spec_of(SPACES, ALGOS["ppo"], in_runners=True, max_restarts=1)) as driver:
        kill(driver, 0)
        driver.iterate(0.0)
        kill(driver, 0)
        with pytest.raises(RunnerDiedError, match="SIGKILL"):
            driver.iterate(0.0)


def test_a_runner_that_hangs_is_replaced_until_that_is_too_much() -> None:
    env = "synthetic:faulty?fault=hang&at=5&episode_length=10"
    spec = spec_of(env, ALGOS["ppo"], in_runners=True, max_restarts=1, step_timeout_s=0.5)
    with driving(spec) as driver, pytest.raises(EnvTimeoutError, match=r"runner \d within step_timeout_s 0\.5"):
        driver.iterate(0.0)


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_an_environment_that_always_breaks_ends_the_run_with_its_own_error(max_restarts: int) -> None:
    env = "synthetic:faulty?fault=raise&at=5&episode_length=10"
    spec = spec_of(env, ALGOS["ppo"], in_runners=True, max_restarts=max_restarts)
    with driving(spec) as driver, pytest.raises(EnvError, match="this environment fails at step 5"):
        driver.iterate(0.0)


def test_an_environment_that_breaks_once_is_replaced_and_its_row_never_trains() -> None:
    env = "synthetic:faulty?fault=raise&at=40&episode_length=10"
    with driving(spec_of(env, ALGOS["ppo"], in_runners=True, max_restarts=30)) as driver:
        done = [driver.iterate(0.0) for _ in range(3)]
    assert sum(iteration.num_env_steps for iteration in done) < 3 * 64
    assert any("that broke (replacement" in event for iteration in done for event in iteration.events)
    assert all(np.isfinite(value) for iteration in done for value in iteration.metrics.values())


def test_a_batch_that_environments_do_not_divide_is_refused() -> None:
    spec = spec_of(SPACES, {**ALGOS["ppo"], "batch_size": 62, "minibatch_size": 31}, in_runners=True)
    with pytest.raises(PlanError, match="multiple of the number of environments"), driving(spec):
        pass


def test_a_run_goes_on_where_another_kind_of_driver_stopped(tmp_path: Any) -> None:
    store = CheckpointStore(tmp_path)
    with driving(small_spec(SPACES)) as driver:
        driver.iterate(0.0)
        meta = {"total_env_steps": driver.total_env_steps, "num_updates": driver.num_updates, "score": None}
        store.save(driver.checkpoint_state(), meta)
        before = [np.array(leaf) for leaf in jax.tree.leaves(driver.learner.state.policy)]
    with open_driver(spec_of(SPACES, ALGOS["ppo"], in_runners=True), Ledger()) as driver:
        driver.restore(store.last())
        driver.reset()
        driver.compile()
        after = [np.array(leaf) for leaf in jax.tree.leaves(driver.learner.state.policy)]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        driver.iterate(0.0)
        assert (driver.total_env_steps, driver.num_updates) == (128, 2)


def test_processes_end_with_the_driver() -> None:
    plan = Plan(num_env_runners=2, num_envs_per_env_runner=2, learner_threads=1, device="cpu")
    spec = small_spec(SPACES).model_copy(update={"plan": plan, "algo": ImpalaSpec(batch_size=80)})
    with driving(spec) as driver:
        pids = driver._pool.runner_pids()
        driver.iterate(0.0)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
