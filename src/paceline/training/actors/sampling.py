"""What an actor does all day: acts in its environments with the newest parameters, one fragment after the other."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.agents.agent import Agent
from paceline.envs import env_factory
from paceline.measure.ledger import INFERENCE, RUNNER_GRADIENT, Ledger
from paceline.rollout.collector import Collector
from paceline.rollout.fragments import TIMES, Fragment, FragmentLayout, FragmentMemory
from paceline.spec import NStepSpec, Plan, RunSpec
from paceline.training.actors.gradients import GradientCodec, GradientTaker, room_for_finals
from paceline.training.actors.messages import BeginWork
from paceline.training.learner import make_agent
from paceline.training.runtime import set_up_jax
from paceline.training.sync import on_fault
from paceline.vector.base import ObsTree, VecEnv
from paceline.vector.batched import VecOptions
from paceline.vector.faults import FaultPolicy
from paceline.vector.serial import SerialVecEnv


def make_envs(spec: RunSpec, count: int) -> SerialVecEnv:
    """Build an actor's environments, stepped one after the other in its process.

    Raises:
        EnvError: one cannot be built.
    """
    options = VecOptions(
        autoreset_mode=AutoresetMode.SAME_STEP,
        infos="none",
        copy=False,
        faults=FaultPolicy(on_fault(spec), spec.max_restarts),
    )
    return SerialVecEnv([env_factory(spec.env)] * count, options)


class Sampler:
    """Fills the slots of one actor in turn.

    Args:
        begin: what the learner says.
        memory: the shared block.
        slot: index of the actor.
        first: index of its first environment.
        venv: its environments; closed by whoever made them.
    """

    def __init__(self, begin: BeginWork, memory: FragmentMemory, *, slot: int, first: int, venv: VecEnv) -> None:
        spec, layout = begin.spec, begin.layout
        set_up_jax(Plan(learner_threads=1, device="cpu"))
        agent = make_agent(spec, venv.single_observation_space, venv.single_action_space)
        self._length, self._first = layout.rollout_length, first
        self._fragments = memory.slots[slot]
        self._life = memory.steps[slot : slot + 1]
        self._board = memory.parameters
        self._parameters = np.zeros(layout.num_parameters, np.float32)
        self._num_filled = begin.num_filled
        self._act = jax.jit(agent.act)
        self._log_probs = jax.jit(agent.log_probs)
        self._noise = jax.jit(agent.noise, static_argnums=(2, 3))
        self._key = jax.random.split(jax.random.key(spec.seed))[1]
        self._ledger = Ledger()
        self._venv = venv
        self._num_faults = 0
        self._begins_anew = True
        self._takes_log_probs = begin.takes_log_probs
        own = Fragment(layout, np.zeros)  # all slots may hold what a predecessor left and nobody has read yet
        self._collector = Collector(venv, own.buffer, agent.distribution.to_env, self._ledger)
        self._collector.total_steps = np.asarray(begin.env_steps, np.int64)
        self._gradients = _gradient_taker(spec, agent, layout, venv) if begin.takes_gradients else None
        self._compile(own)

    def reset(self, seeds: list[int]) -> None:
        """Reset all environments; the next fragment begins there."""
        self._collector.reset(seeds)

    def _compile(self, fragment: Fragment) -> None:
        buffer = fragment.buffer
        acting = self._acting_part()
        noise = self._noise(self._key, self._collector.total_steps.astype(np.int32), self._length, self._first)
        np.asarray(self._act(acting, noise, np.zeros(buffer.num_envs, np.int32), buffer.row(0)))
        if self._takes_log_probs:
            np.asarray(self._log_probs(acting, buffer.before(), buffer.actions))
        if self._gradients is not None:
            self._gradients.take(self._parameters, fragment)

    def _acting_part(self) -> Any:
        if self._gradients is None:
            return self._parameters
        return self._gradients.acting_part(self._parameters)

    def sample(self) -> tuple[str, ...]:
        """Fill the next slot with the newest policy; return why each environment was replaced that broke.

        Raises:
            EnvError: an environment broke, one time too many.
        """
        begin_ns = perf_counter_ns()
        fragment = self._fragments[self._num_filled % len(self._fragments)]
        self._num_filled += 1
        self._ledger.start()
        version = self._board.read(self._parameters)
        acting = self._acting_part()
        first_steps = self._collector.total_steps.astype(np.int32)
        noise = self._noise(self._key, first_steps, self._length, self._first)
        act, life = self._act, self._life

        def act_and_live(steps: NDArray[np.int32], observations: ObsTree) -> NDArray[Any]:
            life[0] += 1
            return np.asarray(act(acting, noise, steps, observations))

        episodes = self._collector.collect(act_and_live, fragment.buffer)
        if self._takes_log_probs:
            with self._ledger.phase(INFERENCE):
                buffer = fragment.buffer
                fragment.log_probs[...] = np.asarray(self._log_probs(acting, buffer.before(), buffer.actions))
        fragment.env_steps[...] = self._collector.total_steps
        faults = self._venv.faults[self._num_faults :]
        self._num_faults += len(faults)
        fragment.close(version, episodes, len(faults), begins_anew=self._begins_anew)
        self._begins_anew = False
        if self._gradients is not None:
            with self._ledger.phase(RUNNER_GRADIENT):
                self._gradients.take(self._parameters, fragment)
        phases = self._ledger.snapshot().phases
        fragment.times_ns[:-1] = [int(phases[name] * 1e9) for name in TIMES]
        fragment.began_ns[0] = begin_ns
        fragment.times_ns[-1] = perf_counter_ns() - begin_ns
        return tuple(fault.message for fault in faults)


def _gradient_taker(spec: RunSpec, agent: Agent, layout: FragmentLayout, venv: VecEnv) -> GradientTaker:
    assert isinstance(spec.algo, NStepSpec)
    room = room_for_finals(getattr(venv.spec, "max_episode_steps", None), layout)
    return GradientTaker(GradientCodec(spec.algo, agent), room)
