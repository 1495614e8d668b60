"""The synchronous driver: the plan changes the speed and never the data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from fake_envs import small_spec
from gymnasium.vector import AutoresetMode

from paceline.errors import NonFiniteLossError, PlanError
from paceline.measure.ledger import Ledger
from paceline.spec import Plan, RunSpec
from paceline.training.checkpoint import CheckpointStore
from paceline.training.resolve import resolve_for_spaces
from paceline.training.sync import SyncDriver, make_training_vec

BOX = "synthetic:known-return?action=box&ending=truncate&episode_length=7"
SPACES = "synthetic:spaces?obs=nested&action=multidiscrete&episode_length=6"


@contextlib.contextmanager
def driving(spec: RunSpec, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> Iterator[SyncDriver]:
    with contextlib.closing(make_training_vec(spec, mode)) as venv:
        resolved = resolve_for_spaces(spec, venv.single_observation_space, venv.single_action_space)
        driver = SyncDriver(resolved, venv, Ledger())
        driver.reset()
        yield driver


def leaves(driver: SyncDriver) -> list[np.ndarray[Any, Any]]:
    return [np.array(leaf) for leaf in jax.tree.leaves(driver.checkpoint_state())]


def trained(spec: RunSpec, iterations: int = 3) -> list[np.ndarray[Any, Any]]:
    with driving(spec) as driver:
        for index in range(iterations):
            driver.iterate(index / iterations)
        return leaves(driver)


def equal(first: list[np.ndarray[Any, Any]], second: list[np.ndarray[Any, Any]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def in_runners(spec: RunSpec) -> RunSpec:
    plan = Plan(num_env_runners=2, num_envs_per_env_runner=2, learner_threads=1, device="cpu")
    return spec.model_copy(update={"plan": plan})


@pytest.mark.slow
@pytest.mark.parametrize("env", [BOX, SPACES])
def test_what_executes_the_environments_changes_no_parameter(env: str) -> None:
    spec = small_spec(env)
    assert equal(trained(spec), trained(in_runners(spec)))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("env", ["CartPole-v1?max_episode_steps=19", "Pendulum-v1?max_episode_steps=7"])
def test_batches_of_classic_control_change_no_parameter(env: str, mode: AutoresetMode) -> None:
    spec = small_spec(env)
    batched = Plan(backend="native", num_env_runners=1, num_envs_per_env_runner=4, learner_threads=1, device="cpu")
    found = []
    for one in (spec, spec.model_copy(update={"plan": batched})):
        with driving(one, mode) as driver:
            for index in range(4):
                driver.iterate(index / 4)
            found.append(leaves(driver))
    assert equal(*found)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_parameters_and_another_does_not() -> None:
    spec = small_spec(BOX)
    first = trained(spec)
    assert equal(first, trained(spec))
    assert not equal(first, trained(spec.model_copy(update={"seed": 1})))


def rows_of_each_env(driver: SyncDriver) -> list[list[tuple[bytes, ...]]]:
    """Return what every environment's valid rows hold, in order."""
    buffer = driver.buffer
    leaves_of = jax.tree.leaves(buffer.observations)
    return [
        [
            (
                *(leaf[t, n].tobytes() for leaf in leaves_of),
                buffer.actions[t, n].tobytes(),
                buffer.rewards[t, n].tobytes(),
                buffer.terminated[t, n].tobytes(),
                buffer.truncated[t, n].tobytes(),
            )
            for t in range(buffer.rollout_length)
            if buffer.valid[t, n]
        ]
        for n in range(buffer.num_envs)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("env", [BOX, SPACES])
def test_every_autoreset_mode_gives_the_same_learning_rows(env: str) -> None:
    sampled, steps = {}, {}
    for mode in AutoresetMode:
        with driving(small_spec(env), mode) as driver:
            iteration = driver.iterate(0.0)
            sampled[mode] = rows_of_each_env(driver)
            steps[mode] = (iteration.num_env_steps, driver.total_env_steps)
            final_rows = driver.buffer.finals()[1]
            real = final_rows < driver.buffer.rollout_length * driver.buffer.num_envs
            if mode is AutoresetMode.NEXT_STEP:
                assert not real.any()  # the next row is the final observation
            elif env == BOX:
                assert real.sum() == driver.buffer.truncated.sum() > 0
    same = sampled[AutoresetMode.SAME_STEP]
    assert sampled[AutoresetMode.DISABLED] == same
    assert steps[AutoresetMode.DISABLED] == steps[AutoresetMode.SAME_STEP] == (64, 64)
    # Rows that reset are no steps: NEXT_STEP gets less far in as many rows, over the very same way.
    fewer = sampled[AutoresetMode.NEXT_STEP]
    assert all(0 < len(rows) < 16 for rows in fewer)
    assert [rows[: len(part)] for rows, part in zip(same, fewer, strict=True)] == fewer
    assert steps[AutoresetMode.NEXT_STEP] == (sum(map(len, fewer)),) * 2


@pytest.mark.slow
def test_after_an_infinite_reward_the_last_good_state_is_still_there() -> None:
    with driving(small_spec("synthetic:faulty?fault=inf-reward&at=40&episode_length=10")) as driver:
        with pytest.raises(
            NonFiniteLossError, match=r"update 3 produced NaN or infinity .*; lower algo\.learning_rate"
        ):
            for _ in range(5):
                good = [np.array(leaf) for leaf in jax.tree.leaves(driver.learner.state)]
                driver.iterate(0.0)
        assert driver.num_updates == 2
        assert equal(good, [np.array(leaf) for leaf in jax.tree.leaves(driver.learner.state)])
        assert all(np.isfinite(leaf).all() for leaf in good)


def test_an_interrupted_sampling_leaves_counters_and_state() -> None:
    def interrupted() -> contextlib.AbstractContextManager[None]:
        raise KeyboardInterrupt

    with driving(small_spec(BOX)) as driver:
        driver.iterate(0.0)
        before = leaves(driver)
        with pytest.raises(KeyboardInterrupt):
            driver.iterate(0.5, interruptible=interrupted)
        assert equal(before, leaves(driver))
        assert (driver.num_updates, driver.total_env_steps) == (1, 64)


@pytest.mark.slow
@pytest.mark.parametrize("num_envs", [4, 8])
def test_a_restored_driver_goes_on_with_any_number_of_environments(num_envs: int, tmp_path: Path) -> None:
    spec = small_spec(BOX)
    store = CheckpointStore(tmp_path)
    with driving(spec) as driver:
        driver.iterate(0.0)
        driver.iterate(0.5)
        store.save(driver.checkpoint_state(), {"total_env_steps": 128, "num_updates": 2, "score": None})
        before = driver.checkpoint_state()
    plan = spec.plan.model_copy(update={"num_envs_per_env_runner": num_envs})
    with driving(spec.model_copy(update={"plan": plan})) as driver:
        driver.restore(store.last())
        assert (driver.num_updates, driver.total_env_steps) == (2, 128)
        after = driver.checkpoint_state()
        assert after.pop("env_steps").sum() == before.pop("env_steps").sum()
        assert equal(*([np.array(leaf) for leaf in jax.tree.leaves(state)] for state in (before, after)))
        driver.reset()
        assert driver.iterate(0.9).num_env_steps == 64
        assert (driver.num_updates, driver.total_env_steps) == (3, 192)


def test_the_learning_rate_follows_the_budget() -> None:
    with driving(small_spec(BOX)) as driver:
        full = driver.iterate(0.0).metrics["learning_rate"]
        assert driver.iterate(0.75).metrics["learning_rate"] == pytest.approx(full / 4)


def test_the_time_of_a_step_is_limited_in_runners_only() -> None:
    with pytest.raises(PlanError, match="use backend shm"):
        make_training_vec(small_spec(BOX, step_timeout_s=5.0))
