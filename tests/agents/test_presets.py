"""Presets fill what a spec leaves open, and nothing else."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from paceline.agents.presets import resolve_algo
from paceline.errors import SpecError
from paceline.spec import PPOSpec, RunSpec, build_spec

BOX = spaces.Box(-1, 1, (3,))
IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)
KINDS: dict[str, tuple[gymnasium.Space[Any], gymnasium.Space[Any]]] = {
    "continuous": (BOX, BOX),
    "discrete": (BOX, spaces.Discrete(2)),
    "multi-binary": (BOX, spaces.MultiBinary(2)),
    "image": (IMAGE, spaces.Discrete(2)),
    "nested image": (spaces.Dict({"a": BOX, "b": spaces.Tuple((IMAGE,))}), BOX),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_open_field_is_filled_and_the_result_is_a_valid_spec(kind: str) -> None:
    filled = resolve_algo(PPOSpec(), *KINDS[kind])
    assert None not in filled.model_dump().values()
    assert PPOSpec.model_validate(filled.model_dump()) == filled
    run = build_spec(RunSpec, {"env": {"id": "X"}, "algo": filled.model_dump(mode="json")}, source="test")
    assert run.algo == filled


def test_continuous_actions_take_cleanrls_settings_and_normalise() -> None:
    filled = resolve_algo(PPOSpec(), *KINDS["continuous"])
    assert (filled.batch_size, filled.minibatch_size, filled.num_epochs) == (2048, 64, 10)
    assert filled.learning_rate == 3e-4
    assert filled.normalize_observations
    assert filled.normalize_rewards


@pytest.mark.parametrize("kind", ["discrete", "multi-binary", "image", "nested image"])
def test_other_kinds_do_not_normalise(kind: str) -> None:
    filled = resolve_algo(PPOSpec(), *KINDS[kind])
    assert not filled.normalize_observations
    assert not filled.normalize_rewards


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": 0.5},
        {"ent_coef": 0.0, "normalize_observations": False, "normalize_rewards": False},
        {"batch_size": 96, "minibatch_size": 32, "num_epochs": 3},
        {"normalize_observations": True},
        {"gamma": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_stands(kind: str, given: dict[str, Any]) -> None:
    filled = resolve_algo(PPOSpec(**given), *KINDS[kind]).model_dump()
    assert {name: filled[name] for name in given} == given


@pytest.mark.parametrize(
    ("batch_size", "minibatch_size"),
    [(16384, 64), (2048, 64), (32, 32), (1, 1), (100, 50), (2050, 50), (96, 48), (127, 127), (1021, 1021), (1022, 73)],
)
def test_an_odd_batch_takes_the_divisor_nearest_to_the_presets_minibatch(batch_size: int, minibatch_size: int) -> None:
    filled = resolve_algo(PPOSpec(batch_size=batch_size), *KINDS["continuous"])
    assert (filled.batch_size, filled.minibatch_size) == (batch_size, minibatch_size)


def test_a_minibatch_that_does_not_divide_the_presets_batch_is_refused() -> None:
    with pytest.raises(
        SpecError, match=r"expected batch_size to be a multiple of minibatch_size 500, got 2048; set both"
    ):
        resolve_algo(PPOSpec(minibatch_size=500), *KINDS["continuous"])
