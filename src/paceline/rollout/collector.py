"""The sampling loop: T vector steps into a buffer, with every nanosecond on the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.measure.ledger import ENV_STEP, INFERENCE, OTHER, RUNNER_WAIT, TRANSFER, Ledger
from paceline.measure.trace import WAITING
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.episodes import Episodes, EpisodeTracker
from paceline.vector.base import ObsTree, StepBatch, VecEnv
from paceline.vector.batched import ResetSeed

ActFunction = Callable[[NDArray[np.int32], ObsTree], NDArray[Any]]
"""(steps that each environment has taken in this rollout, int32 ``[N]``; observations ``[N, ...]``) -> actions."""


class Collector:
    """Samples rollouts from a vector environment with a policy that sits in this process.

    It understands every autoreset mode. ``SAME_STEP`` and ``DISABLED`` (where it resets finished environments itself,
    at once) have no reset rows; in ``NEXT_STEP`` the reset rows are marked not valid. The sequence of real steps of
    every environment is the same in all three.

    Args:
        venv: the environments.
        buffer: where experience goes.
        to_env: maps the policy's actions to what the environments accept.
        ledger: where time goes.
    """

    def __init__(
        self, venv: VecEnv, buffer: RolloutBuffer, to_env: Callable[[NDArray[Any]], NDArray[Any]], ledger: Ledger
    ) -> None:
        self._venv = venv
        self._buffer = buffer
        self._to_env = to_env
        self._ledger = ledger
        self._mode = venv.autoreset_mode
        self._episodes = EpisodeTracker(venv.num_envs)
        self._started = False
        self.total_steps = np.zeros(venv.num_envs, np.int64)

    def reset(self, seed: ResetSeed) -> None:
        """Reset all environments; the next rollout starts there."""
        observations, _ = self._venv.reset(seed=seed)
        self._buffer.start(observations)
        self._episodes = EpisodeTracker(self._venv.num_envs)  # whatever was open is cut off, not joined to what comes
        self._started = False

    def collect(self, act: ActFunction, buffer: RolloutBuffer | None = None) -> Episodes:
        """Fill the buffer with one rollout and return the episodes that ended in it.

        Args:
            act: the policy.
            buffer: fill this one from now on, going on where the last rollout ended.

        Raises:
            EnvError: an environment broke.
        """
        last = self._buffer
        if buffer is not None:
            self._buffer = buffer
        venv, buffer, ledger, to_env = self._venv, self._buffer, self._ledger, self._to_env
        clock, same_step = ledger.clock_ns, self._mode == AutoresetMode.SAME_STEP
        steps = np.zeros(venv.num_envs, np.int32)
        inference_ns = transfer_ns = wait_ns = reset_ns = 0
        busy_before = venv.busy_ns().copy()
        begin = clock()
        if self._started or buffer is not last:
            buffer.start(last.row(buffer.rollout_length if self._started else 0))
        self._started = True
        after_write = clock()
        transfer_ns += after_write - begin
        for t in range(buffer.rollout_length):
            actions = act(steps, buffer.row(t))
            acted = clock()
            buffer.actions[t] = actions
            env_actions = to_env(actions)
            sent = clock()
            venv.send(env_actions)
            batch, _ = venv.recv()
            received = clock()
            inference_ns += acted - after_write
            wait_ns += received - sent
            if same_step:
                buffer.write(t, batch, finals_in_batch=True)
                steps += ~batch.restarted
            else:
                reset_ns = self._write_other_modes(t, batch, steps)
                wait_ns += reset_ns
            after_write = clock()
            transfer_ns += (sent - acted) + (after_write - received) - reset_ns
        busy = venv.busy_ns() - busy_before
        busy_ns = int(busy.mean())
        ledger.add_ns(INFERENCE, inference_ns)
        ledger.add_ns(TRANSFER, transfer_ns)
        # Without runners all of it is stepping; with runners, what they were not busy for is waiting.
        stepping_ns = wait_ns if venv.num_env_runners == 0 else min(wait_ns, busy_ns)
        ledger.add_ns(ENV_STEP, stepping_ns)
        ledger.add_ns(RUNNER_WAIT, wait_ns - stepping_ns)
        if ledger.tracer is not None and same_step:
            runners = venv.num_env_runners > 0
            step = (INFERENCE, TRANSFER, WAITING if runners else ENV_STEP, TRANSFER)
            divided = {ENV_STEP: stepping_ns, RUNNER_WAIT: wait_ns - stepping_ns} if runners else {}
            ledger.tracer.rollout((TRANSFER, *step * buffer.rollout_length), divided, busy.tolist() if runners else ())
        with ledger.phase(OTHER):
            self.total_steps += steps
            return self._episodes.finish_rollout(buffer.rewards, buffer.terminated | buffer.truncated, buffer.valid)

    def _write_other_modes(self, t: int, batch: StepBatch, steps: NDArray[np.int32]) -> int:
        """Store a step and count it; reset what ended (``DISABLED``); return the nanoseconds that resets took."""
        buffer, clock = self._buffer, self._ledger.clock_ns
        if self._mode == AutoresetMode.NEXT_STEP:
            buffer.write(t, batch, finals_in_batch=False)
            steps += ~(batch.reset_rows | batch.restarted)
            return 0
        steps += ~batch.restarted
        done = batch.terminated | batch.truncated
        buffer.write(t, batch._replace(final_observations=batch.observations), finals_in_batch=True)
        if not done.any():
            return 0
        begin = clock()
        observations, _ = self._venv.reset(options={"reset_mask": done})
        reset_ns = clock() - begin
        buffer.write_observations(t + 1, observations)
        return reset_ns
