"""One measured trial: what is counted, what is apart, and a ledger that adds up."""

from __future__ import annotations

import pytest
from fake_envs import small_spec

from paceline.measure.ledger import ENV_STEP, INFERENCE, LEARNER_UPDATE, PHASES, RUNNER_WAIT, UNATTRIBUTED
from paceline.measure.result import IterationRecord, RunResult
from paceline.spec import Plan
from paceline.training import run_trial

ENV = "synthetic:known-return?episode_length=8"


def run(runners: int) -> tuple[RunResult, list[IterationRecord]]:
    seen: list[IterationRecord] = []
    plan = Plan(num_env_runners=runners, num_envs_per_env_runner=4 // max(runners, 1), learner_threads=1, device="cpu")
    result = run_trial(
        small_spec(ENV, plan=plan, seed=5),
        name="a name",
        repeat=2,
        iterations=3,
        warmup_iterations=2,
        on_iteration=seen.append,
    )
    return result, seen


@pytest.mark.parametrize("runners", [0, 2])
def test_warm_up_is_apart_and_the_ledger_adds_up(runners: int) -> None:
    result, seen = run(runners)
    assert (result.name, result.repeat, result.seed, result.env_id, result.outcome) == ("a name", 2, 5, ENV, "ok")
    assert (result.config.num_env_runners, result.config.total_envs) == (runners, 4)
    assert result.plan["num_env_runners"] == runners
    assert None not in result.algo.values()
    assert result.iterations == tuple(seen)
    assert [record.iteration for record in seen] == [0, 1, 2]
    assert [record.total_env_steps for record in seen] == [192, 256, 320]  # two iterations of warm-up came before
    summary = result.summary
    assert summary is not None and result.ledger is not None and result.resources is not None
    assert (summary.num_iterations, summary.num_env_steps, summary.warmup_iterations) == (3, 192, 2)
    assert (summary.batch_size, summary.num_envs) == (64, 4)
    assert min(summary.setup_s, summary.compile_s, summary.warmup_s) > 0
    assert summary.total_training_time_s == pytest.approx(sum(record.wall_s for record in seen))
    assert summary.avg_sps == pytest.approx(192 / summary.total_training_time_s)
    for record in seen:
        assert set(record.ledger.phases) == {*PHASES, UNATTRIBUTED}
        assert sum(record.ledger.phases.values()) == pytest.approx(record.ledger.wall_s)
        assert record.ledger.wall_s == record.wall_s
        assert record.num_episodes == 8  # 64 steps of 4 environments in episodes of 8
        assert record.episode_length_mean == 8
    phases = result.ledger.phases
    assert min(phases[ENV_STEP], phases[INFERENCE], phases[LEARNER_UPDATE]) > 0
    assert (phases[RUNNER_WAIT] > 0) == (runners > 0)
    assert result.resources.num_processes >= 1 + runners
    assert result.threads["environment"]["OMP_NUM_THREADS"] == "1"
