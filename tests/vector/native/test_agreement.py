"""The look at whether batches give Gymnasium's digits: it says yes here, and no to the least difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paceline.vector.native import agreement
from paceline.vector.native.agreement import disagreement
from paceline.vector.native.cars import CartPole, MountainCar
from paceline.vector.native.classic_task import ClassicTask, Verdict
from paceline.vector.native.support import CLASSIC_TASKS, Choice, load_classic

_CONTROL = "gymnasium.envs.classic_control"


@pytest.mark.parametrize("entry_point", CLASSIC_TASKS)
def test_every_task_agrees_here(entry_point: str) -> None:
    assert disagreement(entry_point, load_classic(Choice("classic", CLASSIC_TASKS[entry_point].task))) is None


class OneBitOff(CartPole):
    """A last bit of one environment's state, once: as another sine would have it."""

    calls = 0

    def move(self, state: Any, actions: Any) -> Verdict:
        verdict = super().move(state, actions)
        self.calls += 1
        if self.calls == 7:
            state[3, -1] = np.nextafter(state[3, -1], np.inf)
        return verdict


class OtherRewards(CartPole):
    def move(self, state: Any, actions: Any) -> Verdict:
        _, terminated = super().move(state, actions)
        return Verdict(np.where(terminated, 0.0, 1.0), terminated)


class OtherEnds(CartPole):
    limits = CartPole.limits * np.array([[1.0], [0.5]])


class OtherStarts(MountainCar):
    def draw_state(self, rng: Any, reset_options: Any) -> Any:
        return super().draw_state(rng, {"low": -0.6, "high": -0.39})


@pytest.mark.parametrize(
    ("entry_point", "task"),
    [
        (f"{_CONTROL}.cartpole:CartPoleEnv", OneBitOff),
        (f"{_CONTROL}.cartpole:CartPoleEnv", OtherRewards),
        (f"{_CONTROL}.cartpole:CartPoleEnv", OtherEnds),
        (f"{_CONTROL}.mountain_car:MountainCarEnv", OtherStarts),
    ],
)
def test_the_least_difference_is_seen(entry_point: str, task: type[ClassicTask]) -> None:
    found = disagreement(entry_point, task)
    assert found is not None and found.startswith("other digits than those of Gymnasium")


def test_a_gymnasium_newer_than_those_known_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, known in (("1.2.2", True), ("1.4.7", True), ("1.5.0", False), ("1.10.0a1", False), ("2.0rc1", False)):
        monkeypatch.setattr(agreement.gymnasium, "__version__", version)
        found = disagreement(f"{_CONTROL}.cartpole:CartPoleEnv", CartPole)
        assert found == (None if known else f"Gymnasium {version}, which is newer than those it is known to equal")
