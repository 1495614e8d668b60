"""How a name, a callable or a class becomes an environment.

Forms of an environment's name:

* a Gymnasium id: ``HalfCheetah-v5``;
* ``package.module:Id-v0``: the module is imported (and registers the id), then the id is made;
* ``package.module:callable``: the callable or class returns the environment; the working directory is importable;
* a family by prefix, with keyword arguments as a query: ``synthetic:busy?us=100&sigma=0.5``;
* ``envpool:ID``, a task of EnvPool, for the native backend alone.
"""

from __future__ import annotations

import difflib
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import cloudpickle
import gymnasium
from gymnasium import error as gym_error

from paceline.envs import synthetic
from paceline.envs.mujoco_log import quiet_model_loading
from paceline.errors import EnvContractError, EnvNotFoundError, EnvRaisedError, PacelineError, SpecError

if TYPE_CHECKING:
    from paceline.spec import EnvSpec

Env = gymnasium.Env[Any, Any]
EnvBuilder = Callable[..., Env]

ENVPOOL_PREFIX = "envpool:"
"""Names of EnvPool's tasks, which only the native backend can run."""
_FAMILY_OF_PACKAGE = {
    "gymnasium.envs.mujoco": "mujoco",
    "gymnasium.envs.classic_control": "classic",
    "gymnasium.envs.box2d": "box2d",
    "gymnasium.envs.toy_text": "toy",
    "ale_py": "atari",
    "procgen": "procgen",
}
_PIP_OF_MODULE = {
    "ale_py": "gymnasium[atari]",
    "Box2D": "gymnasium[box2d]",
    "pygame": "gymnasium[classic-control]",
    "mujoco": "gymnasium[mujoco]",
    "cv2": "opencv-python",
    "dm_control": "dm-control",
}


@dataclass(frozen=True)
class EnvFactory:
    """Builds one environment per call. Picklable: lambdas, closures and classes of ``__main__`` travel by value.

    Attributes:
        id: the environment's name, or ``module:qualname`` of ``target``.
        kwargs: keyword arguments of the environment.
        target: the callable or class that builds it, or None where ``id`` says it all.
        render_mode: Gymnasium's render mode, or None.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    target: EnvBuilder | None = None
    render_mode: str | None = None

    def __call__(self) -> Env:
        """Build one environment.

        Raises:
            EnvNotFoundError: no environment of that name, or an optional package is missing.
            SpecError: the environment does not take one of ``kwargs``.
            EnvRaisedError: the environment raised while it was built.
            EnvContractError: what was built is not a ``gymnasium.Env``.
        """
        kwargs = dict(self.kwargs)
        if self.render_mode is not None:
            kwargs["render_mode"] = self.render_mode
        try:
            with quiet_model_loading():
                env = _build(self.id, kwargs, self.target)
        except PacelineError:
            raise
        except (gym_error.DependencyNotInstalled, ModuleNotFoundError) as error:
            raise _missing_package(self.id, error) from error
        except gym_error.UnregisteredEnv as error:
            raise EnvNotFoundError(_not_found(self.id)) from error
        except Exception as error:
            if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
                raise SpecError(f"environment {self.id}: {_sentence(error)}; check its kwargs {kwargs}") from error
            raise EnvRaisedError(
                f"environment {self.id} raised while it was built: {type(error).__name__}: {_sentence(error)}",
                original_traceback=traceback.format_exc(),
            ) from error
        if not isinstance(env, gymnasium.Env):
            raise EnvContractError(
                f"expected {self.id} to build a gymnasium.Env, got {type(env).__name__}; return an instance of a "
                f"gymnasium.Env subclass"
            )
        return env

    @property
    def spec(self) -> EnvSpec:
        """The environment as a spec: id and keyword arguments.

        Raises:
            SpecError: ``target`` cannot be found again by its name: a lambda, a closure, a partial, a method.
        """
        from paceline.spec import EnvSpec  # here, so that runner processes need not load pydantic

        if self.target is not None:
            module_name, _, attribute = self.id.partition(":")
            if getattr(sys.modules.get(module_name), attribute, None) is not self.target:
                raise SpecError(
                    f"expected an environment that its name finds again, got {self.id}, which is no function or class "
                    f"at the top level of a module; define it with def at the top level, or register it with Gymnasium "
                    f"and give its id"
                )
        return EnvSpec(id=self.id, kwargs=dict(self.kwargs))

    def __reduce__(self) -> tuple[Callable[[bytes], EnvFactory], tuple[bytes]]:
        registered = gymnasium.registry.get(self.id) if self.target is None else None
        if registered is not None and str(registered.entry_point).startswith("gymnasium."):
            registered = None  # every process has it
        fields = (self.id, dict(self.kwargs), self.target, self.render_mode)
        return _unpack_factory, (cloudpickle.dumps((fields, registered)),)


def _unpack_factory(payload: bytes) -> EnvFactory:
    fields, registered = cloudpickle.loads(payload)
    if registered is not None:  # an id that the user's script registered, which a runner process does not execute
        gymnasium.registry.setdefault(registered.id, registered)
    return EnvFactory(*fields)


def env_factory(
    env: EnvSpec | EnvFactory | str | EnvBuilder | type[Env], *, render_mode: str | None = None, **kwargs: Any
) -> EnvFactory:
    """Return the factory of ``env``; names that can be checked without building anything are checked.

    Args:
        env: a spec, a name (see the module's docstring), a callable that returns an environment, or an environment's
            class.
        render_mode: Gymnasium's render mode.
        **kwargs: keyword arguments of the environment; they override those of a spec or a query.

    Raises:
        EnvNotFoundError: no environment of that name.
        SpecError: ``env`` is none of the above, or the query of a name is malformed.
    """
    if isinstance(env, EnvFactory):
        return EnvFactory(env.id, {**env.kwargs, **kwargs}, env.target, render_mode or env.render_mode)
    if isinstance(env, gymnasium.Env):
        raise SpecError(
            "expected an environment's id, class or a callable that builds it, got an environment instance; "
            "pass a function that returns a new one, so that each copy has its own state"
        )
    if isinstance(env, str):
        name, query_kwargs = parse_env_id(env)
        _check_name(name)
        return EnvFactory(name, {**query_kwargs, **kwargs}, _find_in_script(name), render_mode)
    if callable(env):
        return EnvFactory(_name_of(env), kwargs, env, render_mode)
    if hasattr(env, "id") and hasattr(env, "kwargs"):
        name, query_kwargs = parse_env_id(env.id)
        _check_name(name)
        return EnvFactory(name, {**query_kwargs, **env.kwargs, **kwargs}, _find_in_script(name), render_mode)
    raise SpecError(f"expected an environment's id, class, callable or EnvSpec, got {type(env).__name__}")


def make_env(
    env: EnvSpec | EnvFactory | str | EnvBuilder | type[Env], *, render_mode: str | None = None, **kwargs: Any
) -> Env:
    """Build one environment; arguments and errors are those of :func:`env_factory` and :class:`EnvFactory`."""
    return env_factory(env, render_mode=render_mode, **kwargs)()


def parse_env_id(env_id: str) -> tuple[str, dict[str, Any]]:
    """Split ``name?key=value&key=value`` into name and keyword arguments (numbers, true, false, none or words).

    Raises:
        SpecError: the query is not of that form.
    """
    name, mark, query = env_id.partition("?")
    if not mark:
        return name, {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise SpecError(f"expected {name}?key=value&key=value, got {env_id!r}; write one = per key") from None
    return name, {key.replace("-", "_"): _parse_word(value) for key, value in pairs}


def family_of(env: EnvSpec | EnvFactory | str) -> str:
    """Return the family an environment belongs to, from its prefix or entry point.

    Returns:
        ``synthetic``, ``envpool``, ``mujoco``, ``classic``, ``box2d``, ``toy``, ``atari``, ``procgen`` or ``other``.
    """
    if isinstance(env, EnvFactory) and env.target is not None:
        return "other"
    name = (env if isinstance(env, str) else env.id).partition("?")[0]
    if name.startswith(synthetic.PREFIX):
        return "synthetic"
    if name.startswith(ENVPOOL_PREFIX):
        return "envpool"
    spec = gymnasium.registry.get(name.rpartition(":")[2])
    entry_point = spec.entry_point if spec is not None else None
    if isinstance(entry_point, str):
        for package, family in _FAMILY_OF_PACKAGE.items():
            if entry_point.startswith(package):
                return family
    return "other"


def episode_limit(env: EnvSpec | str) -> int | None:
    """Return the steps after which Gymnasium's registry cuts an episode; None where it does not say."""
    name = (env if isinstance(env, str) else env.id).partition("?")[0]
    spec = gymnasium.registry.get(name.rpartition(":")[2])
    return spec.max_episode_steps if spec is not None else None


def known_envs() -> list[str]:
    """Return every name that can be made without importing a user's module: Gymnasium's ids and our families."""
    return [*gymnasium.registry, *(synthetic.PREFIX + name for name in synthetic.ENVS)]


def _build(name: str, kwargs: dict[str, Any], target: EnvBuilder | None) -> Env:
    if target is not None:
        return target(**kwargs)
    if name.startswith(synthetic.PREFIX):
        return synthetic.build(name, kwargs)
    if name.startswith(ENVPOOL_PREFIX):
        raise EnvNotFoundError(
            f"expected an environment that can be had one by one, got {name}, of which EnvPool steps whole batches; "
            f"use backend native, or the id of an environment in Python"
        )
    module_name, colon, attribute = name.partition(":")
    if colon:
        module = _import_user_module(module_name, name)
        builder = getattr(module, attribute, None) if attribute.isidentifier() else None
        if callable(builder):
            return builder(**kwargs)  # type: ignore[no-any-return]
        if attribute not in gymnasium.registry:
            raise EnvNotFoundError(_nothing_in_module(module_name, attribute, module))
        name = attribute
    return gymnasium.make(name, disable_env_checker=True, **kwargs)


def _import_user_module(module_name: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:  # a console script does not see the working directory
        sys.path.append(here)
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            families = [synthetic.PREFIX.rstrip(":")]
            near = difflib.get_close_matches(module_name, families, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}:..?" if near else "check the name, or install its package"
            if module_name.endswith(".py"):
                hint = f"leave out .py: {name.replace('.py:', ':')}"
            raise EnvNotFoundError(
                f"expected an importable module or a family of paceline before the colon of {name!r}, got "
                f"{module_name!r}; {hint}"
            ) from error
        raise


def _check_name(name: str) -> None:
    if name.startswith(synthetic.PREFIX):
        synthetic.find(name)
    elif ":" not in name:
        try:
            gymnasium.spec(name)
        except gym_error.Error:
            raise EnvNotFoundError(_not_found(name)) from None


def _find_in_script(name: str) -> EnvBuilder | None:
    """Return the callable that ``__main__:callable`` names: only this process can look it up."""
    module_name, _, attribute = name.partition(":")
    builder = getattr(sys.modules["__main__"], attribute, None) if module_name == "__main__" else None
    return builder if callable(builder) else None


def _not_found(name: str) -> str:
    known = known_envs()
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if not near:  # names differ in case, or in the version only
        stem = re.sub(r"-v\d+$", "", name).lower()
        near = [other for other in known if re.sub(r"-v\d+$", "", other).lower() == stem][-3:]
    hint = f"did you mean {' or '.join(near)}?" if near else (
        "give a Gymnasium id, package.module:Id-v0, package.module:callable or synthetic:NAME"
    )  # fmt: skip
    return f"no environment is called {name!r}; {hint}"


def _nothing_in_module(module_name: str, attribute: str, module: Any) -> str:
    names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(attribute, [*names, *gymnasium.registry], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(names)[:8]) or 'no callables'}"
    return f"module {module_name} neither has a callable nor registers an environment called {attribute!r}; {hint}"


def _missing_package(name: str, error: Exception) -> EnvNotFoundError:
    suggested = re.findall(r"pip install ['\"`]?([\w\-.\[\],]+)", str(error))  # the last is the package itself
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    package = suggested[-1] if suggested else _PIP_OF_MODULE.get(missing or "", missing or "its package")
    what = f"module {missing}" if missing else "an optional package"
    return EnvNotFoundError(f'environment {name} needs {what}, which is not installed; run: pip install "{package}"')


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no message"


def _name_of(builder: Any) -> str:
    module = getattr(builder, "__module__", None) or type(builder).__module__
    name = getattr(builder, "__qualname__", None) or type(builder).__qualname__
    return f"{module}:{name.replace('.<locals>', '')}"


def _parse_word(text: str) -> Any:
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text, re.IGNORECASE):  # float() would take nan and inf for numbers
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
