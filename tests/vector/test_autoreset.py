"""Autoreset modes: which row is a step, which is a reset, and where the true last observation is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from paceline import make_vec
from paceline.errors import RequestError
from paceline.vector import VecEnv

COUNTER = "synthetic:faulty?fault=nan&at=1000000&episode_length=3"  # observes (steps, steps of the episode, seed)
ANY_BACKEND = pytest.mark.parametrize("runners", [0, 2])


def step(env: VecEnv) -> list[tuple[float, float, bool, bool]]:
    """Step once; per row: steps of the episode, reward, truncated, whether it was a reset."""
    env.send(np.zeros(env.num_envs, dtype=np.int64))
    batch, _ = env.recv()
    return list(
        zip(
            batch.observations[:, 1].tolist(),
            batch.rewards.tolist(),
            batch.truncated.tolist(),
            batch.reset_rows.tolist(),
            strict=True,
        )
    )


@ANY_BACKEND
def test_next_step_resets_in_a_row_of_its_own(runners: int) -> None:
    env = make_vec(COUNTER, 2, num_env_runners=runners, autoreset_mode="next_step")
    env.reset(seed=0)
    rows = [step(env) for _ in range(5)]
    env.close()
    assert [row[0] for row in rows] == [
        (1, 1, False, False), (2, 1, False, False), (3, 1, True, False), (0, 0, False, True), (1, 1, False, False),
    ]  # fmt: skip
    assert all(left == right for left, right in rows)


@ANY_BACKEND
def test_same_step_keeps_the_true_last_observation(runners: int) -> None:
    env = make_vec(COUNTER, 2, num_env_runners=runners, autoreset_mode="same_step", infos="none")
    env.reset(seed=0)
    rows = [step(env)[0] for _ in range(3)]
    assert rows == [(1, 1, False, False), (2, 1, False, False), (0, 1, True, False)]
    env.send(np.zeros(2, dtype=np.int64))
    batch, _ = env.recv()
    assert batch.final_observations[0].tolist() == [3, 3, env.env_seeds[0] % 1000]  # type: ignore[operator]
    assert batch.observations[0].tolist() == [4, 1, env.env_seeds[0] % 1000]  # type: ignore[operator]
    env.close()


@ANY_BACKEND
def test_next_step_holds_the_last_observation_in_the_observations(runners: int) -> None:
    env = make_vec(COUNTER, 2, num_env_runners=runners)
    env.reset(seed=0)
    for _ in range(3):
        env.send(np.zeros(2, dtype=np.int64))
        batch, _ = env.recv()
    assert batch.truncated.all()
    assert batch.final_observations[:, 1].tolist() == [3, 3]
    env.close()


@ANY_BACKEND
def test_disabled_resets_only_what_the_mask_chooses(runners: int) -> None:
    env = make_vec(COUNTER, 3, num_env_runners=runners, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    step(env)
    mask = np.array([True, False, False])
    options = {"reset_mask": mask}
    observations, _ = env.reset(seed=[100, 200, 300], options=options)
    assert options["reset_mask"] is mask, "the caller's options are the caller's"
    assert observations[:, 1].tolist() == [0, 1, 1]
    assert env.env_seeds[0] == 100 and env.env_seeds[1] != 200
    step(env)
    assert [row[2] for row in step(env)] == [False, True, True]
    with pytest.raises(RequestError, match=r"expected env 1 to be reset .*, got a step; call reset\(mask="):
        step(env)
    env.close()


@pytest.mark.parametrize("backend", ["serial", "thread", "shm", "pipe"])
def test_a_step_too_many_starts_nothing_and_a_reset_mends_it(backend: Any) -> None:
    """The environments observe their steps: one that was stepped before the refusal would have taken one more."""
    runners = None if backend == "serial" else 2
    env = make_vec(COUNTER, 3, backend=backend, num_env_runners=runners, autoreset_mode="disabled")
    pids = env.runner_pids()
    env.reset(seed=0)
    step(env)
    env.reset(mask=np.array([True, True, False]))
    step(env)
    assert [row[2] for row in step(env)] == [False, False, True]
    for _ in range(2):
        with pytest.raises(RequestError, match="expected env 2 to be reset"):
            step(env)
    env.send(np.zeros(2, np.int64), [0, 1])
    batch, _ = env.recv([0, 1])
    assert batch.observations[:, :2].tolist() == [[4, 3], [4, 3]] and batch.truncated.all()
    env.reset(mask=np.array([False, False, True]))
    with pytest.raises(RequestError, match="expected env 0 to be reset"):
        step(env)
    env.send(np.zeros(1, np.int64), [2])
    assert env.recv()[0].observations[0, :2].tolist() == [4, 1]
    env.reset(seed=0)
    assert [row[0] for row in step(env)] == [1, 1, 1] and env.runner_pids() == pids
    env.close()


@pytest.mark.parametrize(
    ("level", "in_step", "at_end"),
    [("all", {"step"}, {"final_info", "final_obs", "episode_number"}), ("final", set(), {"final_info", "final_obs"}),
     ("none", set(), set())],
)  # fmt: skip
@ANY_BACKEND
def test_infos_come_as_asked(runners: int, level: str, in_step: set[str], at_end: set[str]) -> None:
    env = make_vec(
        "synthetic:spaces?info=all&episode_length=4", 2, num_env_runners=runners, autoreset_mode="same_step",
        infos=level,  # type: ignore[arg-type]
    )  # fmt: skip
    env.reset(seed=[0, 0])  # both episodes last 2 steps
    for expected in (in_step, at_end):
        *_, infos = env.step(np.ones(2, dtype=np.int64))
        names = {name for name in infos if not name.startswith("_")}
        assert expected <= names and (level == "all" or names == expected)
    env.close()
