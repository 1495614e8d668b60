"""What a resumed run takes over: whether there is anything left to do, and which figures are still its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_envs import small_spec

from paceline.errors import PlanError, ResultsError
from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.measure.store import RunFolder
from paceline.spec import Budget, Plan, RunSpec
from paceline.training.checkpoint import Checkpoint
from paceline.training.resume import check_budget_is_left, check_same_run, earlier_records, resumption, trained_s

A = small_spec("CartPole-v1")
B = A.model_copy(update={"plan": Plan(num_envs_per_env_runner=8, learner_threads=1, device="cpu")})
BIGGER = A.model_copy(update={"algo": A.algo.model_copy(update={"batch_size": 128})})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def checkpoint(spec: RunSpec, num_iterations: int, **meta: Any) -> Checkpoint:
    told = {"spec": spec.model_dump(mode="json"), "num_iterations": num_iterations, "num_updates": 7, **meta}
    return Checkpoint(Path("checkpoint"), told, {"a": np.zeros(1)})


def run(folder: RunFolder, iterations: Sequence[int], life: int) -> None:
    """Write iterations that one process did; which one, their steps tell."""
    for iteration in iterations:
        record = IterationRecord(
            iteration=iteration, wall_s=1.0, num_env_steps=life, sps=life, total_env_steps=64 * (iteration + 1),
            ledger=LedgerRecord(wall_s=1.0, phases={}),
        )  # fmt: skip
        folder.append_progress({"kind": "iteration", **record.model_dump(mode="json")})


def resume(folder: RunFolder, spec: RunSpec, previous: Checkpoint | None) -> list[tuple[int, int]]:
    """Resume a run, and return iterations and processes of the records that it takes over."""
    found = earlier_records(folder, previous, spec)
    folder.append_progress(resumption(spec, previous))
    return [(record.iteration, record.num_env_steps) for record in found]


def test_iterations_beyond_the_checkpoint_are_run_again(folder: RunFolder) -> None:
    run(folder, range(5), 1)
    assert resume(folder, A, checkpoint(A, 2)) == [(0, 1), (1, 1)]
    run(folder, [2, 3], 2)
    assert resume(folder, A, checkpoint(A, 4)) == [(0, 1), (1, 1), (2, 2), (3, 2)]
    assert resume(folder, A, None) == []
    run(folder, [0], 4)
    assert resume(folder, A, checkpoint(A, 3)) == [(0, 4)]


def test_an_iteration_whose_line_was_lost_is_not_taken_from_an_earlier_process(folder: RunFolder) -> None:
    run(folder, range(5), 1)
    resume(folder, A, checkpoint(A, 2))
    assert resume(folder, A, checkpoint(A, 3)) == [(0, 1), (1, 1)]  # killed between its checkpoint and its line


def test_without_a_line_of_the_resumption_later_iterations_count(folder: RunFolder) -> None:
    run(folder, range(5), 1)
    run(folder, [2, 3], 2)
    found = earlier_records(folder, checkpoint(A, 5), A)
    assert [(record.iteration, record.num_env_steps) for record in found] == [(0, 1), (1, 1), (2, 2), (3, 2)]


@pytest.mark.parametrize("other", [B, BIGGER], ids=["plan", "batch size"])
def test_figures_from_before_a_change_do_not_come_back(other: RunSpec, folder: RunFolder) -> None:
    run(folder, [0, 1], 1)
    assert resume(folder, other, checkpoint(A, 2)) == []
    run(folder, [2, 3], 2)
    assert resume(folder, other, checkpoint(other, 4)) == [(2, 2), (3, 2)]
    run(folder, [4], 3)
    assert resume(folder, other, checkpoint(other, 5)) == [(2, 2), (3, 2), (4, 3)]
    assert resume(folder, A, checkpoint(other, 5)) == []
    run(folder, [5], 5)
    assert resume(folder, A, checkpoint(A, 6)) == [(5, 5)]


def test_a_change_that_left_no_checkpoint_changed_nothing(folder: RunFolder) -> None:
    run(folder, [0, 1], 1)
    resume(folder, B, checkpoint(A, 2))
    run(folder, [2], 2)
    assert resume(folder, A, checkpoint(A, 2)) == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (Budget(total_steps=700), r"beyond the 640 total_steps .*, got 700 \(640 in whole iterations\); .* 1280\)"),
        (Budget(total_steps=10), r"beyond the 640 total_steps that .*, got 10; .* --total-steps 1280\)"),
        (Budget(iterations=10), r"beyond the 10 iterations that .*, got 10; .* --total-steps 1280\)"),
        (Budget(minutes=1.5), r"beyond the 1\.50 minutes that .*, got 1\.5; .* --minutes 3\)"),
    ],
)
def test_a_budget_that_is_spent_is_refused(budget: Budget, sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        check_budget_is_left(budget, 64, 640, 10, 90.0)


def test_a_run_is_not_continued_with_another_seed() -> None:
    with pytest.raises(ResultsError, match="expected seed 0 as the run has had so far, got 9"):
        check_same_run(checkpoint(A, 2), A.model_copy(update={"seed": 9}))


@pytest.mark.parametrize("budget", [Budget(total_steps=704), Budget(iterations=11), Budget(minutes=1.51)])
def test_a_budget_that_is_left_is_not(budget: Budget) -> None:
    check_budget_is_left(budget, 64, 640, 10, 90.0)


def test_checkpoints_that_do_not_tell_the_time_count_none() -> None:
    assert trained_s(checkpoint(A, 2)) == 0.0
    assert trained_s(checkpoint(A, 2, wall_s=12.5)) == 12.5
