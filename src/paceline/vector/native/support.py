"""Which environments the native backend can run: told from the registry, without building what is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import gymnasium

from paceline.envs.registry import ENVPOOL_PREFIX

if TYPE_CHECKING:
    from paceline.envs import EnvFactory
    from paceline.vector.native.classic_task import ClassicTask
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


class Classic(NamedTuple):
    """What mirrors one of Gymnasium's classic-control classes.

    Attributes:
        task: ``module:Class`` in this package.
        argument: the one keyword argument that it takes, or None.
        least_envs: environments from which on a batch is quicker than one after the other, as measured on 2 cores.
    """

    task: str
    argument: str | None
    least_envs: int


_CONTROL = "gymnasium.envs.classic_control"
CLASSIC_TASKS = {
    f"{_CONTROL}.cartpole:CartPoleEnv": Classic("cars:CartPole", "sutton_barto_reward", 6),
    f"{_CONTROL}.mountain_car:MountainCarEnv": Classic("cars:MountainCar", "goal_velocity", 4),
    f"{_CONTROL}.continuous_mountain_car:Continuous_MountainCarEnv": Classic(
        "cars:MountainCarContinuous", "goal_velocity", 24
    ),
    f"{_CONTROL}.pendulum:PendulumEnv": Classic("pendulums:Pendulum", "g", 4),
    f"{_CONTROL}.acrobot:AcrobotEnv": Classic("pendulums:Acrobot", None, 5),
}
INSTALL_ENVPOOL = "pip install envpool"
_OTHERS = "use backend shm or serial"
_GYMNASIUMS = "one of Gymnasium's MuJoCo v5 or classic-control tasks"

Engine = Literal["mujoco", "classic", "envpool"]


@dataclass(frozen=True)
class Choice:
    """Who runs an environment natively.

    Attributes:
        engine: ``mujoco`` and ``classic`` (Gymnasium's own tasks, the same data) or ``envpool`` (EnvPool's
            implementation).
        name: the task's ``module:Class`` in this package, or EnvPool's id.
    """

    engine: Engine
    name: str


@dataclass(frozen=True)
class NativeWay:
    """How native code steps environments with the very data of the others.

    Attributes:
        reason: the end of a sentence on what steps them.
        most_threads: that can step at once; None: as many as there are.
        least_envs: environments from which on it is quicker than one after the other.
    """

    reason: str
    most_threads: int | None = None
    least_envs: int = 1


def native_support(factory: EnvFactory) -> str | None:
    """Return None if the native backend can run this environment, else one sentence that says why not.

    For ids that are neither MuJoCo nor classic-control tasks of Gymnasium EnvPool is imported, if it is installed,
    which takes seconds and loads JAX; :func:`native_way` never does that.
    """
    found = choose(factory)
    return found if isinstance(found, str) else None


def native_way(factory: EnvFactory) -> NativeWay | None:
    """Return how the native backend runs this environment with the very data of the others, or None if it cannot."""
    if factory.id.startswith(ENVPOOL_PREFIX):
        return None
    found = _choose_gymnasiums(factory)
    if not isinstance(found, Choice):
        return None
    if found.engine == "mujoco":
        return NativeWay("the mujoco package steps this task in threads, with Gymnasium's own data")
    [least_envs] = [classic.least_envs for classic in CLASSIC_TASKS.values() if classic.task == found.name]
    return NativeWay("batched NumPy steps this task in the calling thread, with Gymnasium's own data", 1, least_envs)


def native_reason(factory: EnvFactory) -> str | None:
    """Return why the native backend can run this environment with the very data of the others, or None if it cannot."""
    way = native_way(factory)
    return way.reason if way is not None else None


def choose(factory: EnvFactory) -> Choice | str:
    """Return who runs this environment natively, or one sentence that says why nobody does."""
    if factory.id.startswith(ENVPOOL_PREFIX) and factory.target is None and factory.render_mode is None:
        return _choose_envpool(factory.id.removeprefix(ENVPOOL_PREFIX))
    return _choose_gymnasiums(factory) or _choose_envpool(factory.id)


def _choose_gymnasiums(factory: EnvFactory) -> Choice | str | None:
    """Return what :func:`choose` does, and None where only EnvPool might have the environment."""
    if factory.render_mode is not None or "render_mode" in factory.kwargs:
        return f"expected no render_mode for backend native, which draws nothing, got one for {factory.id}; {_OTHERS}"
    if factory.target is not None:
        return (
            f"expected {_GYMNASIUMS} or EnvPool's for backend native, got {factory.id}, code of your own, which only "
            f"its Python can step; {_OTHERS}"
        )
    name = factory.id.rpartition(":")[2]
    spec = gymnasium.registry.get(name)
    if spec is None or (spec.entry_point not in TASKS and spec.entry_point not in CLASSIC_TASKS):
        return None
    if spec.additional_wrappers:
        wrappers = ", ".join(wrapper.name for wrapper in spec.additional_wrappers)
        return f"expected an environment without wrappers for backend native, got {name} with {wrappers}; {_OTHERS}"
    entry_point = str(spec.entry_point)
    if entry_point in CLASSIC_TASKS:
        return _choose_classic(entry_point, name, {**spec.kwargs, **factory.kwargs})
    if find_spec("mujoco") is None:
        return f'expected MuJoCo for {name}, which is not installed; run: pip install "gymnasium[mujoco]"'
    return Choice("mujoco", TASKS[entry_point])


def _choose_classic(entry_point: str, name: str, kwargs: dict[str, Any]) -> Choice | str:
    """Return the task that mirrors Gymnasium's class, or why it does not with these arguments, or here."""
    from paceline.vector.native.agreement import disagreement  # imports Gymnasium's environments

    classic = CLASSIC_TASKS[entry_point]
    for key, value in kwargs.items():
        if key not in ("max_episode_steps", classic.argument):
            known = f"no argument but {classic.argument}" if classic.argument else "no argument"
            return f"expected {known} of {name} for backend native, got {key}; {_OTHERS}"
        if key == classic.argument and type(value) not in (bool, int, float):
            return f"expected a plain number as {key} of {name} for backend native, got {value!r}; {_OTHERS}"
    choice = Choice("classic", classic.task)
    different = disagreement(entry_point, load_classic(choice))
    if different is not None:
        return f"expected Gymnasium's own data of {name} for backend native, got {different}; {_OTHERS}"
    return choice


def load_task(choice: Choice) -> type[Task]:
    """Return the class of a MuJoCo task."""
    found: type[Task] = _load(choice)
    return found


def load_classic(choice: Choice) -> type[ClassicTask]:
    """Return the class of a classic-control task."""
    found: type[ClassicTask] = _load(choice)
    return found


def _load(choice: Choice) -> Any:
    module, _, name = choice.name.partition(":")
    return getattr(import_module(f"paceline.vector.native.{module}"), name)


def _choose_envpool(name: str) -> Choice | str:
    if find_spec("envpool") is None:
        return (
            f"expected {_GYMNASIUMS} for backend native, got {name}; install EnvPool if that has it "
            f"({INSTALL_ENVPOOL}), or {_OTHERS}"
        )
    known: list[str] = import_module("envpool").list_all_envs()
    if name not in known:
        return f"expected {_GYMNASIUMS} or an id that EnvPool has for backend native, got {name}; {_OTHERS}"
    return Choice("envpool", name)
