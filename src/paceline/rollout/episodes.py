"""Episode returns and lengths, read off a finished rollout: no work per step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Episodes(NamedTuple):
    """Episodes that ended in one rollout: undiscounted, unscaled ``returns`` and ``lengths`` in steps, both ``[K]``."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]


class EpisodeTracker:
    """Joins rollouts into episodes.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self._open_returns = np.zeros(num_envs)
        self._open_lengths = np.zeros(num_envs, np.int64)

    def finish_rollout(
        self,
        rewards: NDArray[np.float32],
        done: NDArray[np.bool_],
        valid: NDArray[np.bool_],
    ) -> Episodes:
        """Return the episodes that ended within a rollout.

        Args:
            rewards: ``[T, N]``.
            done: bool ``[T, N]``, terminated or truncated.
            valid: bool ``[T, N]``, False in reset rows.
        """
        with np.errstate(invalid="ignore"):  # infinite rewards: the learner's matter, which says so
            # Sums over rows 0..t, with what was open before; an episode is the difference between two of its ends.
            sums = np.cumsum(rewards, axis=0, dtype=np.float64) + self._open_returns
            steps = np.cumsum(valid, axis=0, dtype=np.int64) + self._open_lengths
            env_ids, rows = np.nonzero(done.T)
            ends, end_steps = sums[rows, env_ids], steps[rows, env_ids]
            first = np.ones(len(env_ids), np.bool_)
            first[1:] = env_ids[1:] != env_ids[:-1]
            returns = ends - np.where(first, 0.0, np.roll(ends, 1))
            lengths = end_steps - np.where(first, 0, np.roll(end_steps, 1))
            self._open_returns, self._open_lengths = sums[-1], steps[-1]
            last = np.ones(len(env_ids), np.bool_)
            last[:-1] = first[1:]
            self._open_returns[env_ids[last]] -= ends[last]
            self._open_lengths[env_ids[last]] -= end_steps[last]
        return Episodes(returns, lengths)
