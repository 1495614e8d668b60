"""What executions share that hold their environments in this process: reaching into them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium

from paceline.vector.batched import BatchedVecEnv
from paceline.vector.env_list import call_envs, set_values, spread_values


class LocalVecEnv(BatchedVecEnv):
    """A vector whose environments are objects of this process."""

    @property
    @abstractmethod
    def envs(self) -> list[gymnasium.Env[Any, Any]]:
        """The environments."""

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute, and return the results."""
        self._check_usable("call")
        return call_envs(self.envs, name, args, kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list or tuple of N."""
        self._check_usable("set_attr")
        set_values(self.envs, name, spread_values(values, self.num_envs), first=0)

    def render(self) -> tuple[Any, ...] | None:
        """Return what each environment renders."""
        return self.call("render")
