"""Whether what is faster learns as well: made curves of known truth, and one real pair of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from paceline.measure.tune_result import LearningCheck
from paceline.spec import RunSpec, build_spec
from paceline.tuner.arena import Interrupted
from paceline.tuner.learning_check import Learned, check_learning, judged

RUN = build_spec(
    RunSpec,
    {
        "env": {"id": "CartPole-v1"},
        "algo": {"name": "ppo", "batch_size": 1024, "minibatch_size": 64, "num_epochs": 10},
        "plan": {"num_env_runners": 0, "num_envs_per_env_runner": 8},
    },
    source="test",
)


def made(reference: Sequence[float], challenger: Sequence[float], begin: float = 20.0) -> LearningCheck:
    pairs: list[tuple[Learned, Learned]] = [
        ((begin, one), (begin, other)) for one, other in zip(reference, challenger, strict=True)
    ]
    return judged("Epochs 5 in place of 10", pairs, 20.0)


def test_as_good_in_every_seed_is_as_well() -> None:
    found = made([300, 310, 305], [305, 312, 309])
    assert found.answer == "as well"
    assert "learns as well or better by the clock" in found.sentence
    assert "308.7 against 305.0 after 20 s, 3 seeds" in found.sentence


def test_much_worse_in_every_seed_is_worse() -> None:
    assert made([300, 310, 305], [100, 120, 90]).answer == "worse"


def test_seeds_that_disagree_cannot_tell() -> None:
    assert made([300, 310, 305], [450, 100, 300]).answer == "cannot tell"


def test_a_reference_that_learned_nothing_cannot_be_compared_with() -> None:
    assert made([21, 18, 20], [25, 24, 26]).answer == "cannot tell"


def test_a_loss_of_more_than_the_margin_is_hardly_ever_called_as_well() -> None:
    random = np.random.default_rng(0)
    wrong = sum(
        made(300 + 40 * random.standard_normal(3), 250 + 40 * random.standard_normal(3)).answer == "as well"
        for _ in range(400)
    )
    assert wrong / 400 <= 0.05


def test_pairs_have_the_same_seed_and_take_turns() -> None:
    other = RUN.model_copy(update={"algo": RUN.algo.model_copy(update={"num_epochs": 5})})
    seen: list[tuple[int, int, float]] = []

    def trained(run: RunSpec, seconds: float) -> Learned:
        seen.append((run.seed, getattr(run.algo, "num_epochs", 0), seconds))
        return 20.0, 300.0 + run.seed

    found = check_learning("x", RUN, other, minutes=0.5, memory_bytes=2**40, seeds=(1, 2, 3), trained=trained)
    assert seen == [(1, 10, 10.0), (1, 5, 10.0), (2, 5, 10.0), (2, 10, 10.0), (3, 10, 10.0), (3, 5, 10.0)]
    assert found.answer == "as well"
    assert found.returns == ((301.0, 301.0), (302.0, 302.0), (303.0, 303.0))


def test_a_run_that_fails_is_no_proof_of_anything() -> None:
    found = check_learning("x", RUN, RUN, minutes=1, memory_bytes=2**40, trained=lambda run, seconds: "it broke")
    assert found.answer == "cannot tell"
    assert "it broke" in found.sentence


def test_whoever_stops_it_is_obeyed() -> None:
    with pytest.raises(Interrupted):
        check_learning("x", RUN, RUN, minutes=1, memory_bytes=2**40, should_stop=lambda: True)


@pytest.mark.slow
def test_real_runs_in_fresh_processes_a_learner_that_learns_nothing_is_worse() -> None:
    still = RUN.model_copy(update={"algo": RUN.algo.model_copy(update={"learning_rate": 1e-9})})
    lines: list[str] = []
    found = check_learning(
        "No learning", RUN, still, minutes=0.25, memory_bytes=2**40, seeds=(1, 2, 3), on_line=lines.append
    )
    assert len(found.returns) == len(lines) == 3
    assert all(one > other for one, other in found.returns)
    assert found.answer == "worse"
