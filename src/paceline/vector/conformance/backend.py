"""What a backend says of itself to be tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import gymnasium
from gymnasium.vector import AutoresetMode

from paceline.envs import env_factory
from paceline.vector.base import VecEnv
from paceline.vector.conformance.reference import Env
from paceline.vector.conformance.twin import Twin

EnvLike = str | Callable[..., Env]


class Case(NamedTuple):
    """An environment and the autoreset mode in which its trajectories are compared."""

    env: str
    mode: AutoresetMode

    def __str__(self) -> str:
        """Return what stands in the name of the test."""
        return f"{self.env.partition(':')[2] or self.env}-{self.mode.name.lower()}".replace("&info=all", "")


SAME, NEXT, DISABLED = MODES = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED
_SPACES = (
    ("box", "discrete"), ("image", "box"), ("discrete", "multidiscrete"), ("multidiscrete", "multibinary"),
    ("multibinary", "dict"), ("dict", "tuple"), ("tuple", "box"), ("nested", "dict"),
)  # fmt: skip
"""Every kind of observation space, each with one of the action spaces, of which every kind is there, too."""


def cases_of(envs: Iterable[str]) -> tuple[Case, ...]:
    """Return each of ``envs`` in each autoreset mode."""
    return tuple(Case(env, mode) for env in envs for mode in MODES)


class BackendUnderTest:
    """The part of a conformance test that its author writes.

    Only :meth:`make_vec` must be overridden.

    Attributes:
        cases: environments and modes whose trajectories are compared; by default every kind of observation space, and
            of action space, in every mode. :func:`cases_of` makes such a product.
        env: the environment of the other checks. Its episodes should be short.
        num_envs: environments in a vector, at least 4; odd, so that runners do not share them out evenly.
        num_steps: vector steps in each of the parts of a comparison; an episode must end within three of them.
        tolerance: largest difference of floating-point numbers, absolute or relative; 0: the same bits.
        runs_own_envs: whether any ``gymnasium.Env`` of the user's can be run. If not, there are no environment objects
            to reach, and ``call``, ``get_attr``, ``set_attr`` and ``render`` must be refused with ``RequestError``.
    """

    cases: ClassVar[tuple[Case, ...]] = cases_of(
        f"synthetic:spaces?obs={obs}&action={action}&episode_length=6&info=all" for obs, action in _SPACES
    )
    env: ClassVar[str] = "synthetic:spaces?obs=nested&action=tuple&episode_length=6&info=all"
    num_envs: ClassVar[int] = 5
    num_steps: ClassVar[int] = 9
    tolerance: ClassVar[float] = 0.0
    runs_own_envs: ClassVar[bool] = True
    _kept: ClassVar[dict[object, VecEnv]] = {}

    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        """Make the vector environment under test.

        Args:
            env: an id, or a class that builds an environment.
            num_envs: N, at least 1.
            **options: of ``autoreset_mode``, ``infos``, ``copy``, ``batch_size``; those of :func:`paceline.make_vec`.
        """
        raise NotImplementedError("expected a conformance test to define make_vec(env, num_envs, **options)")

    def make_env(self, env: Any) -> Env:
        """Make one plain environment, equal to those of the vector; the oracle."""
        return env_factory(env)()

    @contextmanager
    def opened(self, env: Any = None, num_envs: int = 0, **options: Any) -> Iterator[VecEnv]:
        """Make a vector environment and close it, whatever happens."""
        venv = self.make_vec(env or self.env, num_envs or self.num_envs, **options)
        try:
            yield venv
        finally:
            venv.close()

    @contextmanager
    def twin(self, env: Any = None, num_envs: int = 0, **options: Any) -> Iterator[Twin]:
        """Make a vector environment together with its oracle, and close it."""
        with self.opened(env, num_envs, **options) as venv:
            yield self._twin_of(venv, env, options)

    @contextmanager
    def shared_twin(self, num_envs: int = 0, **options: Any) -> Iterator[Twin]:
        """Keep the vector environment for other checks with the same options: processes take time to start.

        It must be reset with a seed first, and is left with no step under way; after a check that failed it is closed.
        """
        key = (num_envs, *sorted(options.items(), key=str))
        if key not in self._kept:
            self._kept[key] = self.make_vec(self.env, num_envs or self.num_envs, **options)
        try:
            yield self._twin_of(self._kept[key], None, options)
        except BaseException:
            self._kept.pop(key).close()
            raise

    def _twin_of(self, venv: VecEnv, env: Any, options: dict[str, Any]) -> Twin:
        envs: list[gymnasium.Env[Any, Any]] = [self.make_env(env or self.env) for _ in range(venv.num_envs)]
        return Twin(venv, envs, options.get("infos", "all"), self.tolerance)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give each backend vector environments of its own to keep."""
        super().__init_subclass__(**kwargs)
        cls._kept = {}

    @classmethod
    def teardown_class(cls) -> None:
        """Close what was kept (pytest calls this by its name)."""
        while cls._kept:
            cls._kept.popitem()[1].close()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Give pytest one test for each case (it looks for this method by its name)."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=str)
        if "mode" in metafunc.fixturenames:
            metafunc.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
