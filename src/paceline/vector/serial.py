"""Environments in the learner's own process, stepped one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from paceline.envs import EnvFactory
from paceline.errors import EnvContractError, RequestError
from paceline.vector.arrays import Layout
from paceline.vector.batched import BatchedVecEnv, Mask
from paceline.vector.group import EnvGroup, InfoLevel
from paceline.vector.infos import InfoRecord
from paceline.vector.spaces import check_supported


class SerialVecEnv(BatchedVecEnv):
    """N environments in this process. The best choice for one environment, or where a step costs next to nothing.

    Args:
        factory: builds one environment per call.
        num_envs: N.
        autoreset_mode: Gymnasium's autoreset mode.
        infos: which infos to collect.
        copy: whether ``reset`` and ``step`` return copies rather than views.

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        EnvError: an environment cannot be built.
    """

    def __init__(
        self,
        factory: EnvFactory,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        infos: InfoLevel = "all",
        copy: bool = True,
    ) -> None:
        super().__init__(num_envs, autoreset_mode, infos, copy)
        envs = build_envs(factory, num_envs, first=0)
        env = envs[0]
        layout = Layout(env.observation_space, env.action_space, num_envs, 1, autoreset_mode)
        arrays = layout.arrays_over(np.zeros(layout.nbytes, dtype=np.uint8))
        self._group = EnvGroup(envs, arrays, first=0, slot=0, autoreset_mode=autoreset_mode, infos=infos)
        self._adopt(env.observation_space, env.action_space, arrays, dict(env.metadata), env.render_mode)
        self.spec = env.spec

    @property
    def envs(self) -> list[gymnasium.Env[Any, Any]]:
        """The environments."""
        return self._group.envs

    def runner_pids(self) -> tuple[int, ...]:
        """Return nothing: there are no runners."""
        return ()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute, and return the results."""
        self._check_usable(pending=False, call="call")
        return call_envs(self.envs, name, args, kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list or tuple of N."""
        self._check_usable(pending=False, call="set_attr")
        for env, value in zip(self.envs, spread_values(values, self.num_envs), strict=True):
            env.set_wrapper_attr(name, value)

    def render(self) -> tuple[Any, ...] | None:
        """Return what each environment renders."""
        return self.call("render")

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment."""
        if hasattr(self, "_group"):
            self._group.close()

    def _start_step(self) -> None:
        pass

    def _finish_step(self) -> list[InfoRecord]:
        return self._group.step()

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        return self._group.reset(seeds, options, None if mask is None else mask.tolist())

    def _release(self) -> None:
        pass


def build_envs(factory: EnvFactory, count: int, *, first: int) -> list[gymnasium.Env[Any, Any]]:
    """Build ``count`` environments with equal, supported spaces; closes those already built if one fails.

    Args:
        factory: builds one environment per call.
        count: how many.
        first: index of the first one in the vector (for messages).

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        EnvContractError: the spaces differ from one environment to the next.
        PacelineError: what ``factory`` raises.
    """
    envs: list[gymnasium.Env[Any, Any]] = []
    try:
        for index in range(first, first + count):
            env = factory()
            envs.append(env)
            if len(envs) == 1:
                check_supported(env.observation_space, "observation")
                check_supported(env.action_space, "action")
            elif (env.observation_space, env.action_space) != (envs[0].observation_space, envs[0].action_space):
                raise EnvContractError(
                    f"expected every environment to have the spaces of the first, {envs[0].observation_space} and "
                    f"{envs[0].action_space}, got {env.observation_space} and {env.action_space}; build equal ones",
                    env_index=index,
                )
            elif any(env is other for other in envs[:-1]):
                raise EnvContractError(
                    "expected the callable to build a new environment each time, got the same one twice; create it "
                    "inside the callable",
                    env_index=index,
                )
    except BaseException:  # Ctrl-C, too
        for env in envs:
            with suppress(Exception):  # the first error is the one to be told
                env.close()
        raise
    return envs


def call_envs(
    envs: Sequence[gymnasium.Env[Any, Any]], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """Call ``name`` of every environment (or of its wrappers), or read it where it is not callable.

    Raises:
        RequestError: ``reset``, ``step`` or ``close`` is called this way, or there is no such attribute.
    """
    if name in ("reset", "step", "close"):
        raise RequestError(f"expected another method than {name}; use the vector environment's own {name}()")
    results = []
    for env in envs:
        try:
            attribute = env.get_wrapper_attr(name)
        except AttributeError:
            raise RequestError(
                f"expected an attribute of the environments, got {name!r}, which they lack; check its name"
            ) from None
        results.append(attribute(*args, **kwargs) if callable(attribute) else attribute)
    return tuple(results)


def spread_values(values: Any, num_envs: int) -> list[Any]:
    """Return one value per environment from a list or tuple of N, or from one value for all.

    Raises:
        RequestError: a list or tuple of another length.
    """
    if not isinstance(values, list | tuple):
        return [values] * num_envs
    if len(values) != num_envs:
        raise RequestError(
            f"expected one value, or a list of {num_envs} (one per environment), got {len(values)}; give one of the two"
        )
    return list(values)
