"""Environments in the learner's own process, stepped one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from paceline.envs import EnvFactory
from paceline.vector.arrays import Layout
from paceline.vector.batched import Mask, VecOptions
from paceline.vector.env_list import build_envs
from paceline.vector.group import EnvGroup
from paceline.vector.infos import InfoRecord
from paceline.vector.local import LocalVecEnv
from paceline.vector.selection import Selection


class SerialVecEnv(LocalVecEnv):
    """N environments in this process. The best choice for one environment, or where a step costs next to nothing.

    Args:
        factories: N of them, each builds one environment.
        options: what every backend is told alike.

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        EnvError: an environment cannot be built.
    """

    backend = "serial"

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        options: VecOptions,
    ) -> None:
        super().__init__(len(factories), options)
        envs = build_envs(factories, first=0)
        env = envs[0]
        layout = Layout(env.observation_space, env.action_space, len(envs), 1, options.autoreset_mode)
        arrays = layout.arrays_over(np.zeros(layout.nbytes, dtype=np.uint8))
        self._group = EnvGroup(
            envs, arrays, first=0, slot=0, autoreset_mode=options.autoreset_mode, infos=options.infos,
            factories=factories, policy=options.faults,
        )  # fmt: skip
        self._queue: deque[int] = deque()
        self._adopt(env.observation_space, env.action_space, arrays, dict(env.metadata), env.render_mode)
        self.spec = env.spec

    @property
    def envs(self) -> list[gymnasium.Env[Any, Any]]:
        """The environments."""
        return self._group.envs

    def runner_pids(self) -> tuple[int, ...]:
        """Return nothing: there are no runners."""
        return ()

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment."""
        if hasattr(self, "_group"):
            self._group.close()

    def _start(self, chosen: Selection | None) -> None:
        if chosen is not None:
            self._queue.extend(chosen.ids.tolist())

    def _finish_all(self) -> list[InfoRecord]:
        records = self._group.step()
        self._took_faults(self._group.take_faults())
        return records

    def _finish_some(self, wanted: Selection | None) -> tuple[list[int], list[InfoRecord]]:
        # One at a time, in the order in which they were started: what is not asked for yet is not stepped yet.
        index = self._queue.popleft()
        records = self._group.step([index])
        self._took_faults(self._group.take_faults())
        return [index], records

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        records = self._group.reset(seeds, options, None if mask is None else mask.tolist())
        if mask is None:
            self._queue.clear()
        self._took_faults(self._group.take_faults())
        return records

    def _release(self) -> None:
        pass
