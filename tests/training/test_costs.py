"""What acting and learning cost by themselves."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

from paceline.agents.presets import resolve_algo
from paceline.spec import RunSpec, build_spec
from paceline.training.costs import measure_learner_costs

CARTPOLE = gymnasium.make("CartPole-v1")


def resolved(algo: dict[str, Any], **plan: Any) -> RunSpec:
    spec = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": algo, "plan": {"learner_threads": 1, **plan}})
    full = resolve_algo(spec.algo, CARTPOLE.observation_space, CARTPOLE.action_space)
    return spec.model_copy(update={"algo": full})


@pytest.mark.parametrize(
    "algo",
    [
        {"batch_size": 64, "minibatch_size": 32, "num_epochs": 1},
        {"name": "a3c", "batch_size": 64},
        {"name": "impala", "batch_size": 64, "rollout_length": 8},
    ],
    ids=["ppo", "a3c", "impala"],
)
def test_every_algorithm_can_be_timed_without_an_environment(algo: dict[str, Any]) -> None:
    spec = resolved(algo, num_env_runners=1 if algo.get("name") == "a3c" else 0)
    found = measure_learner_costs(spec, CARTPOLE.observation_space, CARTPOLE.action_space, (1, 8, 48), budget_s=0.05)
    assert [size for size, _ in found.acting_us] == [1, 8, 48]
    assert all(time_us > 0 for _, time_us in found.acting_us)
    assert found.update_s > 0
    assert found.row_bytes >= 4 * 4 + 4, "four numbers and an action"


def test_more_epochs_take_longer() -> None:
    once, often = (
        measure_learner_costs(
            resolved({"batch_size": 512, "minibatch_size": 64, "num_epochs": epochs}),
            CARTPOLE.observation_space, CARTPOLE.action_space, (1, 8), budget_s=0.2,
        )
        for epochs in (1, 16)
    )  # fmt: skip
    assert often.update_s > 3 * once.update_s
