"""Gymnasium's MuJoCo tasks as one simulation: an engine for the physics, a task for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils.seeding import np_random

from paceline.vector.arrays import VecArrays
from paceline.vector.native.engine import Engine, make_engine, only
from paceline.vector.native.simulation import EnvIds, Failure, Simulation
from paceline.vector.native.task import Columns, Model, Task, Verdict
from paceline.vector.native.template import Env, options_of, refuse_wrappers, step_limit


class MujocoSimulation(Simulation):
    """Gymnasium's MuJoCo tasks: physics in C threads, everything else in batched NumPy, the data Gymnasium's own.

    Same seeds and actions give the same states, observations, rewards, ends and infos bit for bit, whole episodes
    long, but for one thing: InvertedDoublePendulum's penalties, and with them its reward, are Gymnasium's to within
    1e-14, absolute or relative, because Gymnasium squares with ``pow``.

    Args:
        template: one environment of the task, fresh from ``gymnasium.make``.
        task: the task's class.
        num_envs: N.
        num_threads: threads that step, the caller's included.

    Raises:
        PlanError: the environment is wrapped in more than Gymnasium's own order check and time limit.
    """

    def __init__(self, template: Env, task: type[Task], num_envs: int, num_threads: int) -> None:
        refuse_wrappers(template)
        self.observation_space = template.observation_space
        self.action_space = template.action_space
        self.metadata = dict(template.metadata)
        self.spec = template.spec
        env: Any = template.unwrapped
        self._model = describe_model(env)
        self._task = task(self._model, options_of(env, template.spec))
        self._engine: Engine = make_engine(
            env.model, num_envs, num_threads, task.fields, contact_forces=task.contact_forces
        )
        self._max_steps = step_limit(template.spec)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._verdict: Verdict | None = None
        self.reason = (
            f"native: {type(env).__name__.removesuffix('Env')} steps in {num_threads} threads of the mujoco package, "
            f"with Gymnasium's data"
        )

    def begin(
        self,
        env_ids: EnvIds,
        seeds: list[int | None] | None,
        arrays: VecArrays,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Begin episodes; Gymnasium's tasks know no options."""
        states = []
        for k, index in enumerate(env_ids.tolist()):
            seed = None if seeds is None else seeds[k]
            if seed is not None:
                self.reseed(index, seed)
            states.append(self._task.draw_state(self._rng(index)))
        self._engine.reset(env_ids, np.stack([qpos for qpos, _ in states]), np.stack([qvel for _, qvel in states]))
        self._elapsed[env_ids] = 0
        rows = np.empty((len(env_ids), *self.observation_space.shape))  # type: ignore[misc]
        self._task.observe(only(self._engine.fields, env_ids), rows)
        arrays.observations[env_ids] = rows

    def advance(self, env_ids: EnvIds | None, arrays: VecArrays) -> Sequence[Failure]:
        """Step environments."""
        task, engine = self._task, self._engine
        before = task.mark(only(engine.fields, env_ids))
        actions = arrays.actions if env_ids is None else arrays.actions[env_ids]
        failures = engine.step(env_ids, actions, self._model.frame_skip)
        data = only(engine.fields, env_ids)
        verdict = self._verdict = task.judge(data, before, actions)
        rows: Any = slice(None)
        if env_ids is None:
            task.observe(data, arrays.observations)
        else:
            rows = env_ids
            observations = np.empty((len(env_ids), *arrays.observations.shape[1:]))
            task.observe(data, observations)
            arrays.observations[rows] = observations
        self._elapsed[rows] += 1
        arrays.rewards[rows] = verdict.rewards
        arrays.terminated[rows] = False if verdict.terminated is None else verdict.terminated
        arrays.truncated[rows] = self._elapsed[rows] >= self._max_steps
        return failures

    def step_infos(self, env_ids: EnvIds | None) -> Columns:
        """Return the infos of a step."""
        assert self._verdict is not None
        return self._task.step_infos(only(self._engine.fields, env_ids), self._verdict)

    def reset_infos(self, env_ids: EnvIds) -> Columns:
        """Return the infos of a reset."""
        return self._task.reset_infos(only(self._engine.fields, env_ids))

    def reseed(self, env_index: int, seed: int) -> None:
        """Give one environment a new generator."""
        self._rngs[env_index] = np_random(seed)[0]

    def close(self) -> None:
        """Give the threads back."""
        self._engine.close()

    def _rng(self, index: int) -> np.random.Generator:
        rng = self._rngs[index]
        if rng is None:
            rng = self._rngs[index] = np_random(None)[0]
        return rng


def describe_model(env: Any) -> Model:
    """Return what tasks need to know of an environment's model.

    Args:
        env: one of Gymnasium's ``MujocoEnv``, fresh: Pusher moves its start position in place.
    """
    model = env.model
    return Model(
        nq=model.nq,
        nv=model.nv,
        timestep=model.opt.timestep,
        frame_skip=env.frame_skip,
        init_qpos=env.init_qpos.copy(),
        init_qvel=env.init_qvel.copy(),
        body_mass=model.body_mass.copy(),
        body_ids={model.body(index).name: index for index in range(model.nbody)},
    )
