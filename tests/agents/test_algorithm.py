"""The algorithms behind one interface: who is made of which spec, what presets give them, and that they learn."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.a2c import A2C
from paceline.agents.agent import Agent
from paceline.agents.algorithm import make_algorithm
from paceline.agents.experience import Batch
from paceline.agents.impala import Impala
from paceline.agents.ppo import PPO
from paceline.agents.presets import PRESETS, kind_of, resolve_algo
from paceline.errors import SpecError
from paceline.spec import ALGORITHMS, ActorCriticSpec, NetworkSpec, RunSpec, build_spec

BOX = spaces.Box(-1, 1, (3,))
SPACES: dict[str, tuple[gymnasium.Space[Any], gymnasium.Space[Any]]] = {
    "continuous": (BOX, BOX),
    "images": (spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Discrete(2)),
    "discrete": (BOX, spaces.Discrete(2)),
}
CLASSES: dict[str, type] = {"ppo": PPO, "a2c": A2C, "a3c": A2C, "impala": Impala}


def filled_in(name: str, kind: str) -> ActorCriticSpec:
    spec: Any = ALGORITHMS[name]()
    return resolve_algo(spec, *SPACES[kind])


def test_every_algorithm_has_presets_for_every_kind_and_no_others_have() -> None:
    assert PRESETS.keys() == ALGORITHMS.keys() == CLASSES.keys()
    for presets in PRESETS.values():
        assert presets.keys() == SPACES.keys()
    for kind, (observation_space, action_space) in SPACES.items():
        assert kind_of(observation_space, action_space) == kind


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_presets_fill_in_a_spec_that_its_algorithm_takes(name: str, kind: str) -> None:
    observation_space, action_space = SPACES[kind]
    spec = filled_in(name, kind)
    assert type(spec) is ALGORITHMS[name]
    assert spec.name == name
    open_fields = {field for field, value in spec.model_dump().items() if value is None}
    assert open_fields <= {"rollout_length"}, "that depends on the plan"
    for field, value in PRESETS[name][kind].items():  # a preset for a field that there is not would be lost
        assert getattr(spec, field) == value
        assert field in ALGORITHMS[name].model_fields
    agent = Agent(
        spec.network, observation_space, action_space, normalize_observations=bool(spec.normalize_observations)
    )
    algorithm = make_algorithm(spec, agent)
    assert type(algorithm) is CLASSES[name]
    assert algorithm.spec == spec  # type: ignore[attr-defined]
    state = jax.eval_shape(lambda key: algorithm.init(key, 5), jax.random.key(0))
    assert state.discounted.shape == (5,)
    assert (state.return_stats is not None) == bool(spec.normalize_rewards)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_presets_fill_in_can_be_written_down_and_read_again(name: str, kind: str) -> None:
    spec = filled_in(name, kind)
    assert type(spec).model_validate(spec.model_dump()) == spec
    assert type(spec).model_validate(json.loads(spec.model_dump_json())) == spec
    run = build_spec(RunSpec, {"env": {"id": "X"}, "algo": spec.model_dump(mode="json")}, source="test")
    assert run.algo == spec
    assert resolve_algo(run.algo, *SPACES[kind]) == spec  # nothing is open any more


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_given_stands(name: str) -> None:
    given = {"batch_size": 96, "learning_rate": 0.5, "updates_per_iteration": 3, "normalize_rewards": False}
    spec: Any = ALGORITHMS[name](**given)
    filled = resolve_algo(spec, *SPACES["continuous"]).model_dump()
    assert {field: filled[field] for field in given} == given
    assert resolve_algo(spec, *SPACES["continuous"]).steps_per_iteration == 96 * 3


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_open_spec_is_refused(name: str) -> None:
    agent = Agent(NetworkSpec(), *SPACES["discrete"], normalize_observations=False)
    with pytest.raises(SpecError, match="call resolve_algo first"):
        make_algorithm(ALGORITHMS[name](), agent)


# Learning.

ROWS, ENVS = 4, 32
BANDITS: dict[str, gymnasium.Space[Any]] = {"discrete": spaces.Discrete(3), "continuous": spaces.Box(-1, 1, (2,))}


def pay(kind: str, cues: NDArray[np.int64], actions: NDArray[Any]) -> NDArray[np.float32]:
    """Return the reward of a bandit whose best answer is told by the cue, 0 or 1: at most 1."""
    if kind == "discrete":
        return np.float32(actions == 2 * cues)
    return np.float32(1 - ((np.clip(actions, -1, 1) - (cues[..., None] - 0.5)) ** 2).mean(-1))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lag"), [("a2c", 0), ("impala", 0), ("impala", 4)])
@pytest.mark.parametrize("kind", BANDITS)
def test_a_bandit_is_solved(name: str, kind: str, lag: int) -> None:
    """With a lag the policy of some updates ago acts, as in IMPALA's actors; A2C always samples with the newest."""
    # Without a bonus for entropy, one seed in four settles beyond the bounds of an action, where nothing pulls it back.
    spec: Any = ALGORITHMS[name](
        batch_size=ROWS * ENVS,
        learning_rate=0.01,
        ent_coef=0.02,
        optimizer="rmsprop",
        network=NetworkSpec(hidden_sizes=(16,)),
    )
    observation_space = spaces.Box(0, 1, (2,))
    spec = resolve_algo(spec.model_copy(update={"normalize_observations": False}), observation_space, BANDITS[kind])
    agent = Agent(spec.network, observation_space, BANDITS[kind], normalize_observations=False)
    algorithm = make_algorithm(spec, agent)
    state = jax.jit(algorithm.init, static_argnums=1)(jax.random.key(0), ENVS)
    update, act, pack = jax.jit(algorithm.update), jax.jit(agent.act_sampled), jax.jit(agent.pack)
    log_probs_of = jax.jit(agent.log_probs)
    num_updates, policies = 200, [state.policy] * (lag + 1)
    rng, ended = np.random.default_rng(0), np.ones((ROWS, ENVS), bool)
    for number in range(num_updates):
        cues = rng.integers(2, size=(ROWS + 1, ENVS))
        observations = np.eye(2, dtype=np.float32)[cues]
        acting = policies[-1 - lag]
        actions = np.asarray(act(acting, jax.random.key(number), observations[:-1].reshape(ROWS * ENVS, 2)))
        actions = actions.reshape(ROWS, ENVS, *actions.shape[1:])
        batch = Batch(
            observations, actions, pay(kind, cues[:-1], actions), ended, ~ended, ended, observations[0, :1],
            np.array([ROWS * ENVS], np.int32), log_probs_of(pack(acting), observations[:-1], actions),
        )  # fmt: skip
        state, metrics = update(state, batch, None, np.float32(0.01 * (1 - number / num_updates)))
        policies.append(state.policy)
        assert float(metrics["finite"]) == 1
    cues = np.array([0, 1])
    best = np.asarray(agent.act_deterministic(state.policy, np.eye(2, dtype=np.float32)[cues]))
    assert pay(kind, cues, best) == pytest.approx(1, abs=0.03)
