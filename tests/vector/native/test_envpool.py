"""EnvPool's tasks: one pool of N against N pools of one; and what it is refused for."""

from __future__ import annotations

import importlib.util
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from paceline.envs import env_factory
from paceline.errors import EnvRaisedError, PlanError, RequestError, SpecError
from paceline.vector.base import VecEnv
from paceline.vector.batched import VecOptions
from paceline.vector.conformance import Case, VecEnvConformance
from paceline.vector.faults import FaultPolicy
from paceline.vector.native import NativeVecEnv, native_reason, native_support

if importlib.util.find_spec("envpool") is None:
    pytest.skip("EnvPool is not installed", allow_module_level=True)

SAME, NEXT, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED


class OnePool(gymnasium.Env[Any, Any]):
    """A pool of one environment as a plain environment; a seed makes another pool, as pools have it."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        self._venv = NativeVecEnv(env_factory(name, **kwargs), 1, 1, VecOptions(autoreset_mode=DISABLED))
        self.observation_space = self._venv.single_observation_space
        self.action_space = self._venv.single_action_space
        self._make = self._venv._simulation._envpool.make_gymnasium  # type: ignore[attr-defined]
        self._arguments = {"task_id": name.removeprefix("envpool:"), "num_envs": 1, **kwargs}
        self._pool: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None or self._pool is None:
            self._pool = self._make(seed=[seed or 0], **self._arguments)
        observation, info = self._pool.reset()
        return _first(observation), _plain(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._pool.step(np.asarray(action)[None])
        return _first(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _plain(info)


def _first(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _first(part) for key, part in tree.items()}
    return tuple(_first(part) for part in tree) if isinstance(tree, tuple) else tree[0]


def _plain(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value[0] for key, value in info.items() if key not in ("env_id", "players")}


@pytest.mark.filterwarnings("ignore:.*precision lowered by casting:UserWarning")
class TestEnvpool(VecEnvConformance):
    """EnvPool against itself: rows in the order of the environments, episodes begun when they are told to."""

    cases = (
        Case("envpool:CartPole-v1?max_episode_steps=6", SAME),
        Case("envpool:CartPole-v1?max_episode_steps=6", NEXT),
        Case("envpool:CartPole-v1?max_episode_steps=6", DISABLED),
        Case("envpool:Pendulum-v1?max_episode_steps=6", NEXT),
        Case("envpool:CheetahRun-v1?max_episode_steps=6", SAME),
        Case("envpool:MiniGrid-Unlock-v0?max_episode_steps=6", SAME),
    )
    env = "envpool:CartPole-v1?max_episode_steps=6"
    runs_own_envs = False

    def make_vec(self, env: Any, num_envs: int, **options: Any) -> VecEnv:
        return NativeVecEnv(env_factory(env), num_envs, min(2, num_envs), VecOptions(**options))

    def make_env(self, env: Any) -> gymnasium.Env[Any, Any]:
        factory = env_factory(env)
        return OnePool(factory.id, **factory.kwargs)


def _vec(env: str, num_envs: int = 3, *, on_fault: Any = "raise", **kwargs: Any) -> NativeVecEnv:
    return NativeVecEnv(env_factory(env, **kwargs), num_envs, 2, VecOptions(faults=FaultPolicy(on_fault)))


def test_it_says_that_its_data_are_its_own() -> None:
    venv = _vec("envpool:CartPole-v1")
    assert "its own implementation and random stream" in venv.backend_reason
    assert native_reason(env_factory("envpool:CartPole-v1")) is None
    assert native_support(env_factory("envpool:CartPole-v1")) is None
    venv.close()


def test_the_same_seeds_give_the_same_episodes_again() -> None:
    venv = _vec("envpool:CartPole-v1")
    first, _ = venv.reset(seed=5)
    venv.step(np.zeros(3, np.int64))
    again, _ = venv.reset(seed=5)
    np.testing.assert_array_equal(first, again)
    other, _ = venv.reset(seed=6)
    assert (other != first).any()
    venv.close()


def test_environments_that_move_to_a_pool_of_their_own_keep_their_rows() -> None:
    """Reseed one environment after the other until nobody is left in the first pool."""
    venv = _vec("envpool:CartPole-v1", 3)
    venv.reset(seed=1)
    for index in (2, 0, 1, 1):
        mask = np.arange(3) == index
        before = venv.reset(seed=[9, 9, 9], mask=mask)[0]
        after, *_ = venv.step(np.ones(3, np.int64))
        np.testing.assert_allclose(after[:, 0], before[:, 0] + 0.02 * before[:, 1], atol=1e-7)  # x' = x + dt v, by row
    observations, _ = venv.reset(seed=[9, 9, 9])
    assert (observations == observations[0]).all()
    assert len(venv._simulation._pools) == 1  # type: ignore[attr-defined]
    venv.close()


def test_ids_of_both_are_gymnasiums() -> None:
    venv = _vec("HalfCheetah-v5")
    assert "mujoco package" in venv.backend_reason
    assert "EnvPool" in _vec("envpool:HalfCheetah-v4").backend_reason
    assert "with Gymnasium's data" in NativeVecEnv(env_factory("CartPole-v1"), 3, 1, VecOptions()).backend_reason
    venv.close()


def test_what_a_pool_cannot_do_is_refused() -> None:
    with pytest.raises(PlanError, match="cannot replace one environment of a pool"):
        _vec("envpool:CartPole-v1", on_fault="restart")
    with pytest.raises(PlanError, match="of one player"):
        _vec("envpool:KuhnPoker-v1")
    with pytest.raises(SpecError, match="expected arguments that EnvPool's CartPole-v1 takes"):
        _vec("envpool:CartPole-v1", gravity_of_jupiter=True)
    with pytest.raises(PlanError, match="an id that EnvPool has for backend native, got Nowhere-v9"):
        _vec("envpool:Nowhere-v9")
    venv = _vec("envpool:CartPole-v1")
    with pytest.raises(RequestError, match="below 2\\^31"):
        venv.reset(seed=[1, 2, 2**31])
    venv.close()


@pytest.mark.parametrize(("num_envs", "place"), [(1, (0, 7, 2, 1)), (2, (None, None, None, None))])
def test_what_a_pool_raises_names_the_environment_where_that_is_known(num_envs: int, place: tuple[Any, ...]) -> None:
    """A pool does not say which of its environments failed; of one there is no doubt."""

    class Broken:
        def send(self, *_: Any) -> None:
            raise RuntimeError("the emulator is gone")

        def close(self) -> None:
            pass

    venv = _vec("envpool:CartPole-v1", num_envs)
    venv.reset(seed=[7, 8][:num_envs])
    venv.step(np.zeros(num_envs, np.int64))
    simulation: Any = venv._simulation
    simulation._pools[0].handle.close()
    simulation._pools = [simulation._pools[0]._replace(handle=Broken())]
    with pytest.raises(EnvRaisedError, match="CartPole-v1 raised RuntimeError: the emulator is gone") as caught:
        venv.step(np.ones(num_envs, np.int64))
    error = caught.value
    assert (error.env_index, error.seed, error.step, error.action) == place
    assert "the emulator is gone" in error.original_traceback
    venv.close()
