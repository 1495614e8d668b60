"""The pipelined sampling loop: one half of the environments steps while the policy acts for the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.measure.ledger import ENV_STEP, INFERENCE, OTHER, RUNNER_WAIT, TRANSFER, Ledger
from paceline.measure.trace import WAITING
from paceline.rollout.buffer import RolloutBuffer
from paceline.rollout.collector import ActFunction
from paceline.rollout.episodes import Episodes, EpisodeTracker
from paceline.vector.base import EnvIds, VecEnv
from paceline.vector.batched import ResetSeed


def halves_of(num_envs: int, num_env_runners: int) -> tuple[EnvIds, EnvIds]:
    """Return two halves of the environments, int64, ascending, such that every runner has a part in both.

    A runner with an odd number gives its middle one to the first half and the next runner's to the second. Where each
    runner has one environment, the runners themselves are divided.

    Args:
        num_envs: N, at least 2.
        num_env_runners: R.
    """
    each = num_envs / max(num_env_runners, 1)
    place = np.arange(num_envs) % each if each >= 2 else np.arange(num_envs) % 2 * 0.5 * each
    first = place < each / 2
    return np.flatnonzero(first), np.flatnonzero(~first)


class PipelinedCollector:
    """Samples rollouts as :class:`Collector` does, in two halves that take turns.

    Each environment's sequence of steps is that of the plain loop; only what happens at the same time differs.

    Args:
        venv: the environments, in ``SAME_STEP`` mode.
        buffer: where experience goes.
        to_env: maps the policy's actions to what the environments accept.
        ledger: where time goes.

    Attributes:
        halves: indices of the environments of each half.
        total_steps: real steps of each environment so far, int64 ``[N]``.
    """

    def __init__(
        self, venv: VecEnv, buffer: RolloutBuffer, to_env: Callable[[NDArray[Any]], NDArray[Any]], ledger: Ledger
    ) -> None:
        self._venv = venv
        self._buffer = buffer
        self._to_env = to_env
        self._ledger = ledger
        self._episodes = EpisodeTracker(venv.num_envs)
        self._started = False
        self.halves = halves_of(venv.num_envs, venv.num_env_runners)
        self.total_steps = np.zeros(venv.num_envs, np.int64)

    def reset(self, seed: ResetSeed) -> None:
        """Reset all environments; the next rollout starts there."""
        observations, _ = self._venv.reset(seed=seed)
        self._buffer.start(observations)
        self._episodes = EpisodeTracker(self._venv.num_envs)
        self._started = False

    def collect(self, acts: Sequence[ActFunction]) -> Episodes:
        """Fill the buffer with one rollout and return the episodes that ended in it.

        Args:
            acts: the policy of each half.

        Raises:
            EnvError: an environment broke.
        """
        venv, buffer, ledger, to_env = self._venv, self._buffer, self._ledger, self._to_env
        clock = ledger.clock_ns
        steps = [np.zeros(len(half), np.int32) for half in self.halves]
        inference_ns = transfer_ns = wait_ns = 0
        busy_before = venv.busy_ns()
        mark = clock()
        if self._started:
            buffer.start(buffer.row(buffer.rollout_length))
        self._started = True
        for t in range(-1, buffer.rollout_length):
            for half, half_steps, act in zip(self.halves, steps, acts, strict=True):
                asked = clock()
                transfer_ns += asked - mark
                mark = asked
                if t >= 0:
                    batch, _ = venv.recv(half)
                    received = clock()
                    wait_ns += received - mark
                    buffer.write_some(t, half, batch)
                    half_steps += ~batch.restarted
                    mark = clock()
                    transfer_ns += mark - received
                if t + 1 == buffer.rollout_length:
                    continue
                observations = buffer.some_of(t + 1, half)
                begin = clock()
                actions = act(half_steps, observations)
                acted = clock()
                buffer.actions[t + 1, half] = actions
                venv.send(to_env(actions), half)
                transfer_ns += begin - mark
                inference_ns += acted - begin
                mark = acted
        transfer_ns += clock() - mark
        busy = venv.busy_ns() - busy_before
        busy_ns = int(busy.mean())
        ledger.add_ns(INFERENCE, inference_ns)
        ledger.add_ns(TRANSFER, transfer_ns)
        stepping_ns = min(wait_ns, busy_ns)  # what was stepped while the policy acted costs the learner no time
        ledger.add_ns(ENV_STEP, stepping_ns)
        ledger.add_ns(RUNNER_WAIT, wait_ns - stepping_ns)
        if ledger.tracer is not None:
            divided = {ENV_STEP: stepping_ns, RUNNER_WAIT: wait_ns - stepping_ns}
            ledger.tracer.rollout(_between_readings(buffer.rollout_length), divided, busy.tolist())
        with ledger.phase(OTHER):
            for half, half_steps in zip(self.halves, steps, strict=True):
                self.total_steps[half] += half_steps
            return self._episodes.finish_rollout(buffer.rewards, buffer.terminated | buffer.truncated, buffer.valid)


def _between_readings(rollout_length: int) -> list[str]:
    """Return what lies between each two readings of the clock in one rollout of :class:`PipelinedCollector`."""
    asked, received, acted = [TRANSFER], [WAITING, TRANSFER], [TRANSFER, INFERENCE]
    first = [*asked, *acted]
    step = [*asked, *received, *acted]
    last = [*asked, *received]
    return [*first * 2, *step * 2 * (rollout_length - 1), *last * 2, TRANSFER]
