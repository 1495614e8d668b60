"""A list of environments: building it, calling into it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gymnasium

from paceline.envs import EnvFactory
from paceline.errors import EnvContractError, EnvError, EnvRaisedError, PacelineError, RequestError
from paceline.vector.spaces import check_supported


def build_envs(factories: Sequence[EnvFactory], *, first: int) -> list[gymnasium.Env[Any, Any]]:
    """Build environments with equal, supported spaces; closes those already built if one fails.

    Args:
        factories: each builds one environment.
        first: index of the first one in the vector (for messages).

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        EnvContractError: the spaces differ from one environment to the next.
        PacelineError: what a factory raises.
    """
    envs: list[gymnasium.Env[Any, Any]] = []
    try:
        for index, factory in enumerate(factories, first):
            env = _build(factory, index)
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


def _build(factory: EnvFactory, index: int) -> gymnasium.Env[Any, Any]:
    """Build one environment; an error that it raises names it."""
    try:
        return factory()
    except EnvError as error:
        if error.env_index is not None:
            raise
        raise type(error)(str(error), env_index=index, original_traceback=error.original_traceback) from error
    except SystemExit as error:
        raise EnvRaisedError(
            f"an environment raised SystemExit: {error} while it was built",
            env_index=index,
            original_traceback=traceback.format_exc(),
        ) from error


def call_envs(
    envs: Sequence[gymnasium.Env[Any, Any]], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, first: int = 0
) -> tuple[Any, ...]:
    """Call ``name`` of every environment (or of its wrappers), or read it where it is not callable.

    Args:
        envs: the environments.
        name: of a method or an attribute.
        args: of the method.
        kwargs: of the method.
        first: index of the first environment in the vector (for messages).

    Raises:
        RequestError: ``reset``, ``step`` or ``close`` is called this way, or there is no such attribute.
        EnvRaisedError: the method, or property, of an environment raised.
    """
    if name in ("reset", "step", "close"):
        raise RequestError(f"expected another method than {name}; use the vector environment's own {name}()")
    results = []
    for index, env in enumerate(envs, first):
        try:
            attribute = env.get_wrapper_attr(name)
        except AttributeError:
            raise RequestError(
                f"expected an attribute of the environments, got {name!r}, which they lack; check its name"
            ) from None
        try:
            results.append(attribute(*args, **kwargs) if callable(attribute) else attribute)
        except PacelineError:
            raise
        except Exception as error:
            raise EnvRaisedError(
                f"the environment's {name} raised {type(error).__name__}: {error}",
                env_index=index,
                original_traceback=traceback.format_exc(),
            ) from error
    return tuple(results)


def set_values(
    envs: Sequence[gymnasium.Env[Any, Any]], name: str, values: Sequence[Any], *, first: int | None = None
) -> None:
    """Set an attribute of each environment, or of the wrapper that has it.

    Args:
        envs: the environments.
        name: of the attribute.
        values: one each.
        first: index of the first environment in the vector, if known (for messages).

    Raises:
        EnvRaisedError: an environment refused the value.
    """
    for index, (env, value) in enumerate(zip(envs, values, strict=True)):
        try:
            env.set_wrapper_attr(name, value)
        except PacelineError:
            raise
        except Exception as error:
            raise EnvRaisedError(
                f"setting the environment's {name} raised {type(error).__name__}: {error}",
                env_index=None if first is None else first + index,
                original_traceback=traceback.format_exc(),
            ) from error


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
