"""Which environments the native backend can run: told from the registry alone, without building anything."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import gymnasium

from paceline.envs.registry import ENVPOOL_PREFIX

if TYPE_CHECKING:
    from paceline.envs import EnvFactory
    from paceline.vector.native.task import Task

_PACKAGE = "gymnasium.envs.mujoco"
TASKS = {
    f"{_PACKAGE}.half_cheetah_v5:HalfCheetahEnv": "walkers:HalfCheetah",
    f"{_PACKAGE}.hopper_v5:HopperEnv": "walkers:Hopper",
    f"{_PACKAGE}.walker2d_v5:Walker2dEnv": "walkers:Walker2d",
    f"{_PACKAGE}.swimmer_v5:SwimmerEnv": "walkers:Swimmer",
    f"{_PACKAGE}.inverted_pendulum_v5:InvertedPendulumEnv": "arms:InvertedPendulum",
    f"{_PACKAGE}.inverted_double_pendulum_v5:InvertedDoublePendulumEnv": "arms:InvertedDoublePendulum",
    f"{_PACKAGE}.reacher_v5:ReacherEnv": "arms:Reacher",
    f"{_PACKAGE}.pusher_v5:PusherEnv": "arms:Pusher",
    f"{_PACKAGE}.ant_v5:AntEnv": "bodies:Ant",
    f"{_PACKAGE}.humanoid_v5:HumanoidEnv": "bodies:Humanoid",
    f"{_PACKAGE}.humanoidstandup_v5:HumanoidStandupEnv": "bodies:HumanoidStandup",
}
INSTALL_ENVPOOL = "pip install envpool"
_OTHERS = "use backend shm or serial"

Engine = Literal["mujoco", "envpool"]


@dataclass(frozen=True)
class Choice:
    """Who runs an environment natively.

    Attributes:
        engine: ``mujoco`` (Gymnasium's own tasks, the same data) or ``envpool`` (EnvPool's implementation).
        name: the task's ``module:Class`` in this package, or EnvPool's id.
    """

    engine: Engine
    name: str


def native_support(factory: EnvFactory) -> str | None:
    """Return None if the native backend can run this environment, else one sentence that says why not.

    Builds nothing. For ids that are not Gymnasium's MuJoCo tasks EnvPool is imported, if it is installed, which takes
    seconds and loads JAX; :func:`native_reason` never does that.
    """
    found = choose(factory)
    return found if isinstance(found, str) else None


def native_reason(factory: EnvFactory) -> str | None:
    """Return why the native backend can run this environment with the very data of the others, or None if it cannot."""
    found = _choose_mujoco(factory)
    if not isinstance(found, Choice):
        return None
    return "the mujoco package steps this task in threads, with Gymnasium's own data"


def choose(factory: EnvFactory) -> Choice | str:
    """Return who runs this environment natively, or one sentence that says why nobody does."""
    if factory.id.startswith(ENVPOOL_PREFIX) and factory.target is None and factory.render_mode is None:
        return _choose_envpool(factory.id.removeprefix(ENVPOOL_PREFIX))
    return _choose_mujoco(factory) or _choose_envpool(factory.id)


def _choose_mujoco(factory: EnvFactory) -> Choice | str | None:
    """Return what :func:`choose` does, and None where only EnvPool might have the environment."""
    if factory.render_mode is not None or "render_mode" in factory.kwargs:
        return f"expected no render_mode for backend native, which draws nothing, got one for {factory.id}; {_OTHERS}"
    if factory.target is not None:
        return (
            f"expected one of Gymnasium's MuJoCo v5 tasks or EnvPool's for backend native, got {factory.id}, code of "
            f"your own, which only its Python can step; {_OTHERS}"
        )
    name = factory.id.rpartition(":")[2]
    spec = gymnasium.registry.get(name)
    task = TASKS.get(str(spec.entry_point)) if spec is not None else None
    if spec is None or task is None:
        return None
    if spec.additional_wrappers:
        wrappers = ", ".join(wrapper.name for wrapper in spec.additional_wrappers)
        return f"expected an environment without wrappers for backend native, got {name} with {wrappers}; {_OTHERS}"
    if find_spec("mujoco") is None:
        return f'expected MuJoCo for {name}, which is not installed; run: pip install "gymnasium[mujoco]"'
    return Choice("mujoco", task)


def load_task(choice: Choice) -> type[Task]:
    """Return the class of a MuJoCo task."""
    module, _, name = choice.name.partition(":")
    found: type[Task] = getattr(import_module(f"paceline.vector.native.{module}"), name)
    return found


def _choose_envpool(name: str) -> Choice | str:
    if find_spec("envpool") is None:
        return (
            f"expected one of Gymnasium's MuJoCo v5 tasks for backend native, got {name}; install EnvPool if that has "
            f"it ({INSTALL_ENVPOOL}), or {_OTHERS}"
        )
    known: list[str] = import_module("envpool").list_all_envs()
    if name not in known:
        return (
            f"expected one of Gymnasium's MuJoCo v5 tasks or an id that EnvPool has for backend native, got {name}; "
            f"{_OTHERS}"
        )
    return Choice("envpool", name)
