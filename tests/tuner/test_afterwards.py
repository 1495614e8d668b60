"""What learns differently is recommended only if it is faster and was found to learn as well."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.measure.tune_result import LearningCheck, WhatIf
from paceline.spec import RunSpec, build_spec
from paceline.tuner import afterwards
from paceline.tuner.afterwards import Afterwards, check_the_fastest
from paceline.tuner.arena import Interrupted
from paceline.tuner.what_ifs import Question

RUN = build_spec(
    RunSpec,
    {"env": {"id": "CartPole-v1"}, "algo": {"name": "ppo", "batch_size": 1024, "minibatch_size": 64, "num_epochs": 10}},
    source="test",
)


def epochs(count: int) -> RunSpec:
    return RUN.model_copy(update={"algo": RUN.algo.model_copy(update={"num_epochs": count})})


def what_if(what: str, change: float, *, low: float = 0.01, differs: bool = True) -> WhatIf:
    return WhatIf(
        what=what, change=change, ci95=(low, change + 0.1), measured=True, learns_differently=differs, sentence=what
    )


def checked(
    monkeypatch: pytest.MonkeyPatch, what_ifs: list[WhatIf], answers: dict[str, Any]
) -> tuple[Afterwards, list[str]]:
    trained: list[str] = []

    def check(what: str, reference: RunSpec, challenger: RunSpec, **more: Any) -> LearningCheck:
        trained.append(what)
        if answers[what] is Interrupted:
            raise Interrupted
        return LearningCheck(what=what, answer=answers[what], sentence=what)

    monkeypatch.setattr(afterwards, "check_learning", check)
    asked = [Question(one.what, 1.0, epochs(5), learns_differently=one.learns_differently) for one in what_ifs]
    found = check_the_fastest(
        Afterwards(tuple(what_ifs)), asked, RUN, minutes=1.0, memory_bytes=2**40, should_stop=lambda: False,
        on_line=lambda line: None, on_check=lambda check: None,
    )  # fmt: skip
    return found, trained


def test_the_fastest_that_learns_as_well_is_recommended_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    found, trained = checked(monkeypatch, [what_if("a", 0.2), what_if("b", 0.5)], {"a": "as well", "b": "as well"})
    assert trained == ["b"]
    assert found.recommended is not None
    assert (found.recommended.what, found.recommended.options) == ("b", "--num-epochs 5")


def test_what_learns_worse_or_cannot_be_told_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    what_ifs = [what_if("a", 0.2), what_if("b", 0.5)]
    found, trained = checked(monkeypatch, what_ifs, {"a": "cannot tell", "b": "worse"})
    assert trained == ["b", "a"]
    assert found.recommended is None
    assert [one.answer for one in found.learning_checks] == ["worse", "cannot tell"]


def test_what_is_not_faster_or_learns_the_same_needs_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    what_ifs = [what_if("slow", 0.3, low=-0.1), what_if("tiny", 0.015), what_if("same", 0.5, differs=False)]
    assert checked(monkeypatch, what_ifs, {}) == (Afterwards(tuple(what_ifs)), [])


def test_a_stop_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    what_ifs = [what_if("a", 0.5), what_if("b", 0.2)]
    found, _ = checked(monkeypatch, what_ifs, {"a": "worse", "b": Interrupted})
    assert [one.what for one in found.learning_checks] == ["a"]
