"""``SB3VecEnv`` gives Stable-Baselines3 what its own ``DummyVecEnv`` gives, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline import make_vec
from paceline.envs import env_factory
from paceline.errors import PlanError, RequestError


def test_without_stable_baselines3_the_sentence_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['stable_baselines3'] = None\n"
        "from paceline.errors import RequestError\n"
        "try:\n"
        "    import paceline.vector.sb3\n"
        "except RequestError as error:\n"
        "    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "pip install stable-baselines3" in told


sb3 = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not among the development dependencies")

from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize  # noqa: E402

from paceline.vector.sb3 import SB3VecEnv, info_rows  # noqa: E402

NUM_ENVS = 3


CHATTY, TRUNCATED = "chatty_env:cartpole", "chatty_env:truncated"
NESTED = "synthetic:spaces?obs=dict&action=multidiscrete&episode_length=7"


@pytest.fixture(autouse=True)
def fakes_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fakes"))


def same(left: Any, right: Any) -> bool:
    """Return whether two trees are equal, types of numbers aside."""
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, np.ndarray):
        return left.dtype == np.asarray(right).dtype and np.array_equal(left, right)
    return bool(left == right)


@pytest.mark.parametrize("backend", ["serial", "thread", "shm"])
@pytest.mark.parametrize("env_id", [CHATTY, TRUNCATED, NESTED])
def test_the_same_as_its_own(env_id: str, backend: Any) -> None:
    theirs = DummyVecEnv([env_factory(env_id)] * NUM_ENVS)
    made = make_vec(env_id, NUM_ENVS, backend=backend, autoreset_mode="same_step")
    with closing(theirs), closing(SB3VecEnv(made)) as ours:
        assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
        for env in (ours, theirs):
            env.seed(7)
        assert same(ours.reset(), theirs.reset())
        assert ours.reset_infos == theirs.reset_infos
        theirs.action_space.seed(0)
        ended = 0
        for _ in range(60):
            actions = np.array([theirs.action_space.sample() for _ in range(NUM_ENVS)])
            got, wanted = ours.step(actions), theirs.step(actions)
            assert same(got[0], wanted[0])
            assert all(same(mine, other) for mine, other in zip(got[1:3], wanted[1:3], strict=True))
            assert all(same(mine, other) for mine, other in zip(got[3], wanted[3], strict=True))
            assert ours.reset_infos == theirs.reset_infos
            ended += int(got[2].sum())
        assert ended > NUM_ENVS


def test_what_it_returned_does_not_change_later() -> None:
    made = make_vec("CartPole-v1", NUM_ENVS, backend="shm", copy=False, autoreset_mode="same_step")
    with closing(SB3VecEnv(made)) as env:
        first = env.reset()
        before = first.copy()
        second, rewards, dones, _ = env.step(np.zeros(NUM_ENVS, np.int64))
        kept = [array.copy() for array in (second, rewards, dones)]
        for _ in range(20):
            env.step(np.ones(NUM_ENVS, np.int64))
        assert same(first, before)
        assert all(same(now, then) for now, then in zip((second, rewards, dones), kept, strict=True))


def test_environments_are_reached_by_index() -> None:
    made = make_vec(CHATTY, NUM_ENVS, backend="shm", num_env_runners=2, autoreset_mode="same_step")
    with closing(SB3VecEnv(made)) as env:
        env.reset()
        env.set_attr("gain", 5.0, indices=[0, 2])
        assert env.get_attr("gain") == [5.0, 1.0, 5.0]
        assert env.get_attr("gain", indices=1) == [1.0]
        assert env.step(np.zeros(NUM_ENVS, np.int64))[1].tolist() == [5.0, 1.0, 5.0]
        env.set_attr("gain", [2.0])
        assert env.get_attr("gain") == [[2.0]] * NUM_ENVS  # one value for each of them, whatever it is
        assert env.env_method("answer", 3, more=4) == [8] * NUM_ENVS
        assert env.has_attr("gain") and not env.has_attr("no_such_thing")
        assert env.env_is_wrapped(import_module("chatty_env").Chatty) == [True] * NUM_ENVS
        assert env.env_is_wrapped(Monitor, indices=[0]) == [False]
        with pytest.raises(RequestError, match="leave them out"):
            env.env_method("answer", 3, indices=[1])


def test_options_are_for_one_reset_and_alike() -> None:
    made = make_vec(CHATTY, NUM_ENVS, backend="serial", autoreset_mode="same_step")
    with closing(SB3VecEnv(made)) as env:
        env.set_options({"low": -0.01, "high": 0.01})
        assert np.abs(env.reset()).max() <= 0.01
        assert env.reset_infos[0]["options"] == str({"low": -0.01, "high": 0.01})
        env.reset()
        assert env.reset_infos[0]["options"] == "None"
        env.set_options([{"low": -0.01}, {}, {}])
        with pytest.raises(RequestError, match="the same options"):
            env.reset()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({}, "autoreset_mode='same_step'"), ({"autoreset_mode": "same_step", "batch_size": 2}, "leave it out")],
)
def test_what_it_cannot_use_is_refused(options: dict[str, Any], sentence: str) -> None:
    with (
        closing(make_vec("CartPole-v1", NUM_ENVS, backend="serial", **options)) as made,
        pytest.raises(PlanError, match=sentence),
    ):
        SB3VecEnv(made)


def test_a_replaced_environment_is_told() -> None:
    made = make_vec(
        "synthetic:faulty?fault=raise&at=3", 2, backend="serial", autoreset_mode="same_step", on_fault="restart",
    )  # fmt: skip
    with closing(SB3VecEnv(made)) as env:
        env.reset()
        told = [env.step(np.zeros(2, np.int64)) for _ in range(4)]
        rows = [(bool(dones[i]), infos[i]) for _, _, dones, infos in told for i in range(2)]
        mended = [info for done, info in rows if info.get("restarted")]
        assert mended and all(info["TimeLimit.truncated"] and "terminal_observation" in info for info in mended)
        assert all(done for done, info in rows if info.get("restarted"))


def test_the_native_backend_fits_as_well() -> None:
    made = make_vec("HalfCheetah-v5", 2, backend="native", autoreset_mode="same_step")
    with closing(SB3VecEnv(made)) as env:
        assert env.render_mode is None and not env.has_attr("gain")
        assert env.env_is_wrapped(Monitor) == [False, False]
        env.reset()
        assert env.step(np.zeros((2, 6), np.float32))[1].shape == (2,)


def test_rows_of_infos_leave_out_what_an_environment_does_not_have() -> None:
    has = np.array([True, False])
    infos = {"x": np.array([1.5, 0.0]), "_x": has, "deep": {"y": np.array([2, 0]), "_y": has}, "_deep": has}
    assert info_rows(infos, 2) == [{"x": 1.5, "deep": {"y": 2}}, {}]


@pytest.mark.slow
def test_it_learns_as_with_its_own() -> None:
    """The very same training, update by update: the policy's weights are equal at the end."""
    weights = []
    for make in (
        lambda: DummyVecEnv([env_factory("CartPole-v1")] * 4),
        lambda: SB3VecEnv(make_vec("CartPole-v1", 4, backend="shm", autoreset_mode="same_step", infos="none")),
    ):
        with closing(VecNormalize(VecMonitor(make()))) as env:
            model = sb3.PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, device="cpu", seed=3)
            model.learn(512)
            weights.append(np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()]))
            assert len(model.ep_info_buffer) > 0
            assert evaluate_policy(model, env, n_eval_episodes=2, warn=False)[0] > 0
    assert np.array_equal(*weights)
