"""Native MuJoCo tasks against Gymnasium's own environments: same seeds, same actions, same everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from paceline.envs import env_factory
from paceline.errors import PlanError
from paceline.vector.arrays import Layout, VecArrays
from paceline.vector.native import engine as engines
from paceline.vector.native import support
from paceline.vector.native.mujoco_simulation import MujocoSimulation
from paceline.vector.native.support import Choice, choose, load_task

TASKS = (
    "HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Swimmer-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5",
    "Reacher-v5", "Pusher-v5", "Ant-v5", "Humanoid-v5", "HumanoidStandup-v5",
)  # fmt: skip
NEARLY = {"InvertedDoublePendulum-v5": ("reward", "distance_penalty", "velocity_penalty")}
"""What Gymnasium squares with ``pow``: equal to within 1e-14, absolute or relative."""


def _arrays(simulation: MujocoSimulation, num_envs: int) -> VecArrays:
    spaces = simulation.observation_space, simulation.action_space
    layout = Layout(*spaces, num_envs, 1, AutoresetMode.NEXT_STEP)
    return layout.arrays_over(np.zeros(layout.nbytes, np.uint8))


@contextmanager
def _simulated(
    name: str, num_envs: int, num_threads: int = 2, **kwargs: Any
) -> Iterator[tuple[MujocoSimulation, VecArrays]]:
    factory = env_factory(name, **kwargs)
    choice = choose(factory)
    assert isinstance(choice, Choice)
    simulation = MujocoSimulation(factory(), load_task(choice), num_envs, num_threads)
    try:
        yield simulation, _arrays(simulation, num_envs)
    finally:
        simulation.close()


def _check(name: str, key: str, ours: Any, theirs: Any) -> None:
    if key in NEARLY.get(name, ()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-14, err_msg=key)
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=key)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype, key


def _follow(name: str, *, num_envs: int, num_steps: int, strength: float = 1.0, **kwargs: Any) -> int:
    """Step ours and Gymnasium's side by side, subsets now and then; return how many episodes ended."""
    ended = 0
    envs = [gymnasium.make(name, **kwargs) for _ in range(num_envs)]
    with _simulated(name, num_envs, **kwargs) as (simulation, arrays):
        everyone = np.arange(num_envs)
        seeds: list[int | None] = [100 + i for i in range(num_envs)]
        simulation.begin(everyone, seeds, arrays)
        reset_infos = simulation.reset_infos(everyone)
        for i, env in enumerate(envs):
            observation, info = env.reset(seed=seeds[i])
            _check(name, "first observation", arrays.observations[i], observation)
            assert list(reset_infos) == list(info)
            for key, value in info.items():
                _check(name, key, reset_infos[key][i], value)
        rng = np.random.default_rng(0)
        for step in range(num_steps):
            actions = rng.uniform(-strength, strength, arrays.actions.shape).astype(np.float32)
            arrays.actions[:] = actions * simulation.action_space.high  # type: ignore[attr-defined]
            ids = None if step % 3 else everyone[step % 2 :]
            simulation.advance(ids, arrays)
            infos = simulation.step_infos(ids)
            over = []
            for k, i in enumerate((everyone if ids is None else ids).tolist()):
                observation, reward, terminated, truncated, info = envs[i].step(arrays.actions[i].copy())
                _check(name, "observation", arrays.observations[i], observation)
                _check(name, "reward", arrays.rewards[i], float(reward))
                assert (arrays.terminated[i], arrays.truncated[i]) == (terminated, truncated)
                assert list(infos) == list(info)
                for key, value in info.items():
                    _check(name, key, infos[key][k], value)
                if terminated or truncated:
                    over.append(i)
            if over:
                ended += len(over)
                simulation.begin(np.array(over), None, arrays)
                for i in over:
                    observation, _ = envs[i].reset()
                    _check(name, "next episode's observation", arrays.observations[i], observation)
    for env in envs:
        env.close()
    return ended


@pytest.mark.parametrize("name", TASKS)
def test_equal_gymnasium_bit_for_bit(name: str) -> None:
    _follow(name, num_envs=4, num_steps=120)


def test_equal_over_episodes_that_terminate_and_that_are_truncated() -> None:
    assert _follow("Hopper-v5", num_envs=6, num_steps=150, max_episode_steps=40) > 20
    assert _follow("Reacher-v5", num_envs=3, num_steps=120) == 6


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("HalfCheetah-v5", {"forward_reward_weight": 2, "ctrl_cost_weight": 0.3, "frame_skip": 3}),
        ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False, "reset_noise_scale": 0.2}),
        ("Hopper-v5", {"healthy_state_range": (-3.0, 3.0), "healthy_z_range": (0.9, 2.0), "healthy_reward": 3}),
        ("Hopper-v5", {"terminate_when_unhealthy": False, "healthy_angle_range": (-0.05, 0.05)}),
        ("Walker2d-v5", {"xml_file": "walker2d.xml", "healthy_z_range": (1.0, 1.5), "reset_noise_scale": 0.01}),
        ("Swimmer-v5", {"exclude_current_positions_from_observation": False, "ctrl_cost_weight": 0.1}),
        ("InvertedPendulum-v5", {"reset_noise_scale": 0.1}),
        ("InvertedDoublePendulum-v5", {"healthy_reward": 3.0}),
        ("Reacher-v5", {"reward_dist_weight": 2.0, "reward_control_weight": 0.5}),
        ("Pusher-v5", {"reward_near_weight": 1.5, "reward_dist_weight": 2.0, "reward_control_weight": 0.5}),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_force_range": (-0.5, 0.5), "main_body": 1}),
        ("Ant-v5", {"exclude_current_positions_from_observation": False, "main_body": "torso"}),
        ("Humanoid-v5", {"include_cinert_in_observation": False, "include_cfrc_ext_in_observation": False}),
        ("Humanoid-v5", {"contact_cost_weight": 1e-3, "contact_cost_range": (0.0, 5.0), "healthy_z_range": (1.2, 2.0)}),
        ("HumanoidStandup-v5", {"include_cvel_in_observation": False, "include_qfrc_actuator_in_observation": False}),
        ("HumanoidStandup-v5", {"uph_cost_weight": 1, "impact_cost_range": (0.0, 1.0), "impact_cost_weight": 1e-3}),
    ],
)  # fmt: skip
def test_arguments_of_the_tasks_are_honoured(name: str, kwargs: dict[str, Any]) -> None:
    _follow(name, num_envs=2, num_steps=40, **kwargs)


def test_whole_episodes_of_halfcheetah_never_leave_gymnasiums_trajectory() -> None:
    """A thousand steps of a chaotic body: a difference in the last bit would be metres by the end."""
    assert _follow("HalfCheetah-v5", num_envs=2, num_steps=1000) == 1


def test_controls_beyond_the_range_count_as_gymnasium_counts_them() -> None:
    _follow("HalfCheetah-v5", num_envs=2, num_steps=30, strength=3.0)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Pusher-v5"])
def test_engines_agree_bit_for_bit(name: str, num_threads: int) -> None:
    """The one with a ``MjData`` per environment serves where MuJoCo has no ``batch``."""
    model = gymnasium.make(name).unwrapped.model  # type: ignore[attr-defined]
    num_envs = 5
    rng = np.random.default_rng(3)
    ours = [
        engines.BatchEngine(model, num_envs, num_threads, ("xpos",)),
        engines.DataEngine(model, num_envs, num_threads, ("xpos",), contact_forces=False),
    ]
    everyone = np.arange(num_envs)
    qpos = model.qpos0 + rng.uniform(-0.1, 0.1, (num_envs, model.nq))
    qvel = rng.uniform(-0.1, 0.1, (num_envs, model.nv))
    for engine in ours:
        engine.reset(everyone, qpos, qvel)
    for step in range(60):
        ids = None if step % 4 else everyone[1::2]
        controls = rng.uniform(-1, 1, (num_envs if ids is None else len(ids), model.nu)).astype(np.float32)
        for engine in ours:
            engine.step(ids, controls, 5)
            if step == 30:
                engine.reset(everyone[:2], qpos[:2], qvel[:2])
        for field in ("qpos", "qvel", "xpos", "ctrl"):
            np.testing.assert_array_equal(ours[0].fields[field], ours[1].fields[field], err_msg=field)
    for engine in ours:
        engine.close()


def test_tasks_that_need_contact_forces_have_an_mjdata_each() -> None:
    expected = {"Ant-v5", "Humanoid-v5", "HumanoidStandup-v5"}
    for name in ("HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "HumanoidStandup-v5", "Pusher-v5"):
        with _simulated(name, 2) as (simulation, _):
            assert isinstance(simulation._engine, engines.DataEngine) == (name in expected), name


def test_without_mujocos_batch_every_task_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "mujoco_batch", None)
    _follow("HalfCheetah-v5", num_envs=3, num_steps=30)
    _follow("Reacher-v5", num_envs=3, num_steps=30)


def test_the_wrong_order_of_sums_would_be_seen() -> None:
    """The tests above compare for equality, not closeness: one ulp must fail them."""
    with pytest.raises(AssertionError):
        _check("HalfCheetah-v5", "reward", np.nextafter(1.0, 2.0), 1.0)


def test_wrapped_environments_are_refused() -> None:
    env = gymnasium.wrappers.ClipAction(gymnasium.make("HalfCheetah-v5"))
    task = load_task(Choice("mujoco", support.TASKS["gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv"]))
    with pytest.raises(PlanError, match="without wrappers for backend native, got ClipAction"):
        MujocoSimulation(env, task, 1, 1)
    env.close()
