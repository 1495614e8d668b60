"""What a reader is warned of before he believes a comparison."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_runs import RUNNERS, made_group, made_run

from paceline.analysis.standings import compare_runs
from paceline.measure.trained_run import TrainedRun


def texts(*runs: TrainedRun, left_out: tuple[str, ...] = ()) -> dict[str, str]:
    return {notice.code: notice.text for notice in compare_runs(runs, left_out=left_out).notices}


SOUND = [*made_group([480, 490, 500] * 2), *made_group([480, 490, 500] * 2, plan=RUNNERS)]


def test_a_sound_comparison_says_only_that_runs_took_turns() -> None:
    assert list(texts(*SOUND)) == ["not-interleaved"]


def test_other_machines_are_the_worst() -> None:
    found = compare_runs([*made_group([1, 2, 3]), *made_group([1, 2, 3], plan=RUNNERS, fingerprint="b")])
    assert (found.notices[0].code, found.notices[0].severity) == ("other-machine", "problem")
    assert "ppo 0x16 on machine-a; ppo 2x8 runner on b" in found.notices[0].text
    assert "unknown-machine" in texts(made_run(fingerprint=""), made_run(plan=RUNNERS))


def test_budgets_lengths_and_ends_are_told() -> None:
    found = texts(
        *made_group([480, 490, 500], iterations=20),
        *made_group([480, 490], plan=RUNNERS, budget={"minutes": 5.0}),
        made_run(seed=2, plan=RUNNERS, budget={"minutes": 5.0}, outcome="interrupted", folder="runs/x"),
    )
    assert "ppo 0x16 20,000 total steps; ppo 2x8 runner 5.0 minutes" in found["budgets"]
    assert "judged after 20,000 steps" in found["horizon"]
    assert "runs/x (interrupted)" in found["incomplete"]


def test_few_and_equal_seeds_are_told() -> None:
    found = texts(made_run(), made_run(folder="again"), made_run(plan=RUNNERS))
    assert "(ppo 0x16 2, ppo 2x8 runner 1): final returns and times to a return need 6" in found["few-seeds"]
    assert "ppo 0x16 has several runs with seed 0" in found["same-seed"]


def test_what_was_left_out_or_replaced_is_told() -> None:
    dead = made_run(seed=19, returns=[], outcome="crash", folder="runs/dead", budget={"total_steps": 40_000})
    found = texts(*SOUND, dead, left_out=("runs/killed",))
    assert "counts without them: no iteration was finished in runs/dead (crash)" in found["nothing-measured"]
    assert found["left-out"].endswith("runs/killed.")
    restarted = made_run(seed=13, restarts=["env 1 was replaced", "runner 0 was replaced"])
    assert texts(*SOUND, restarted)["restarts"] == "ppo 0x16: 2 environments or runners were replaced on the way."


def test_records_that_lack_a_part_are_told() -> None:
    run = made_run()
    tail = replace(
        run, result=run.result.model_copy(update={"iterations": run.result.iterations[10:]}), env_kwargs=None
    )
    found = texts(tail, made_run(plan=RUNNERS, version="0.2.0"))
    assert "from step 10,000" in found["resumed"]
    assert "unknown-arguments" in found and "0.1.0, 0.2.0" in found["versions"]


@pytest.mark.parametrize("restarts", [["env 1 was replaced"]])
def test_one_restart_is_singular(restarts: list[str]) -> None:
    assert "one environment or runner was replaced" in texts(*SOUND, made_run(seed=13, restarts=restarts))["restarts"]
