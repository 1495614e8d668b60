"""The one object that a report reads, for sweeps, single runs, failures and nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from paceline.analysis.findings import analyse
from paceline.measure.result import GpuSample

ENV_BOUND = {"env_step": 0.6, "learner_update": 0.3, "inference": 0.1}


def grid(run: Any, *, noise: tuple[float, ...] = (1.0, 1.01, 0.99, 1.0, 1.02)) -> list[Any]:
    """Return the runs of a 0,1,2 x 1,4,16 sweep with known phases."""

    def time_s(r: int, e: int) -> float:
        return 0.25 + 0.55 / max(r, 1) + (0.9 if r == 0 else 1.6) / (max(r, 1) * e)

    return [
        run(r, e, [time_s(r, e) * factor for factor in noise], cores=1.0 + 0.4 * r, cpu=0.5 + 0.2 * r, phases=ENV_BOUND)
        for r in (0, 1, 2)
        for e in (1, 4, 16)
    ]


def test_published(published_results: Any) -> None:
    findings = analyse(published_results)
    workload = findings.primary
    assert workload is not None and workload.models is not None and workload.advice is not None
    assert findings.headline.startswith("8x2 is the fastest plan here: 7,447 steps/s, 5.40x the speed of 1x1.")
    assert workload.models.choice.chosen is not None and workload.models.choice.chosen.name == "phase"
    assert workload.models.phase is not None and workload.models.phase.learner_s == pytest.approx(1.50, abs=0.005)
    assert workload.models.base_label == "1x1"
    assert workload.models.ideal == ((1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0), (16, 16.0))
    assert {"few-iterations", "karp-flatt"} <= {notice.code for notice in findings.notices}
    assert "from 0.13 to 0.33" in next(notice.text for notice in findings.notices if notice.code == "karp-flatt")


def test_published_setup_measured_twice_cannot_be_told_apart(run: Any, results: Any, published: dict[str, Any]) -> None:
    """The same plan gave 5.84x and 5.41x: two averages say nothing about which of two plans is faster."""
    times = {f"{r}x{e}": 11.89 / speedup for r, e, _, speedup, _ in published["earlier_run_same_setup"]}
    findings = analyse(
        results(run(1, 1, [11.89]), run(8, 2, [2.2], repeat=0), run(8, 2, [times["8x2"]], repeat=1), run(8, 1, [2.89]))
    )
    assert findings.primary is not None and findings.primary.advice is not None
    assert not findings.primary.advice.recommendations[-1].certain
    row = findings.primary.table.row("8x2")
    assert row.speedup is not None and row.speedup.interval is None and "an interval needs 3" in row.speedup.reason


def test_an_average_sps_of_zero_is_worked_out_from_steps_and_time(
    published_results: Any, published: dict[str, Any]
) -> None:
    """The published files say avg_sps 0.0 (a wrong key); steps and time are there."""
    broken = published_results.model_copy(
        update={
            "experiments": tuple(
                run.model_copy(update={"summary": run.summary.model_copy(update={"avg_sps": 0.0})})
                for run in published_results.experiments
            )
        }
    )
    workload = analyse(broken).primary
    assert workload is not None
    row = workload.table.row("8x2")
    assert row.sps is not None and row.sps.value == pytest.approx(published["sps_8x2"], rel=2e-3)


def test_missing_warm_up_is_told_of_sweeps(run: Any, results: Any) -> None:
    cold = run(1, 1, [2.0, 1.0])
    cold = cold.model_copy(update={"summary": cold.summary.model_copy(update={"warmup_iterations": 0})})
    assert "no-warm-up" in {notice.code for notice in analyse(results(cold)).notices}
    assert "no-warm-up" not in {notice.code for notice in analyse(results(cold, kind="train")).notices}
    assert "no-warm-up" not in {notice.code for notice in analyse(results(run(1, 1, [2.0]))).notices}


def test_the_steps_of_an_iteration_are_those_of_all_its_updates(run: Any, results: Any) -> None:
    one = run(1, 1, [1.0, 1.0, 1.0], steps=2048)
    one = one.model_copy(update={"summary": one.summary.model_copy(update={"batch_size": 64})})
    assert "2,048 environment steps an iteration" in " ".join(analyse(results(one)).method)


def test_sweep(run: Any, results: Any) -> None:
    findings = analyse(results(*grid(run)))
    workload = findings.primary
    assert workload is not None and workload.models is not None and workload.advice is not None
    assert findings.headline.startswith("2x16 is the fastest plan here") and "(env-bound)" in findings.headline
    assert workload.winner is not None and workload.winner.verdict == "env-bound"
    # The runner family follows T = L + E/r + I/(r e); the baseline is of the other family.
    assert workload.table.baseline is not None and workload.table.baseline.label == "0x1"
    models = workload.models
    assert models.base_label == "1x1" and set(models.choice.excluded) == {"0x1", "0x4", "0x16"}
    assert models.phase is not None
    assert (models.phase.learner_s, models.phase.runner_s, models.phase.batched_s) == pytest.approx(
        (0.25, 0.55, 1.6), rel=0.01
    )
    assert len(findings.runs) == 9 and dict(findings.outcome_counts) == {"ok": 9}
    assert any("over 0x1: the fastest plan with one environment" in sentence for sentence in findings.method)


def test_curves_are_in_speedup_over_the_tables_baseline(run: Any, results: Any) -> None:
    workload = analyse(results(*grid(run))).primary
    assert workload is not None and workload.models is not None
    curves = {curve.model: curve for curve in workload.models.curves}
    for point in curves["phase"].points:
        row = workload.table.row(f"{point.num_env_runners:.0f}x{point.num_envs_per_env_runner:.0f}")
        assert row.speedup is not None and point.speedup == pytest.approx(row.speedup.value, rel=0.01)
    counts = [point.num_envs for point in curves["amdahl"].points]
    assert counts == sorted(counts) and (counts[0], counts[-1]) == pytest.approx((1, 32))


def test_failed_trials_are_findings(run: Any, results: Any) -> None:
    runs = grid(run)
    runs[-1] = run(2, 16, [], outcome="oom", message="ended for memory")
    runs[0] = run(0, 1, [], outcome="crash", message="died")
    findings = analyse(results(*runs))
    assert findings.primary is not None and findings.primary.table.baseline is not None
    assert findings.primary.table.baseline.label == "1x1"
    assert dict(findings.outcome_counts) == {"crash": 1, "ok": 7, "oom": 1}
    assert findings.notices[0].code == "failed-rows" and findings.notices[0].rows == ("0x1", "2x16")
    oom = findings.runs[-1]
    assert oom.sps is None and oom.bottleneck is not None and oom.bottleneck.verdict == "memory-bound"


def test_everything_failed(run: Any, results: Any) -> None:
    findings = analyse(results(run(1, 1, [], outcome="crash"), run(2, 1, [], outcome="timeout")))
    assert (
        findings.headline == "No plan finished an iteration (1 crash, 1 timeout), so nothing can be said about speed."
    )
    assert findings.primary is not None and findings.primary.models is not None
    assert findings.primary.models.choice.chosen is None and findings.primary.winner is None


def test_single_training_run(run: Any, results: Any) -> None:
    findings = analyse(
        results(
            run(2, 8, [1.0, 1.1, 1.0, 1.2], returns=[1.0, None, math.nan, 4.0], phases=ENV_BOUND, cores=1.5),
            kind="train",
        )
    )
    assert findings.kind == "train" and findings.primary is not None
    assert findings.primary.models is None and findings.primary.advice is None
    assert findings.primary.winner is not None and findings.primary.winner.verdict == "env-bound"
    assert findings.headline.startswith("2x8 trains at 15,") and "environments holds this run back" in findings.headline
    curve = findings.runs[0].curve
    assert [point.episode_return_mean for point in curve] == [1.0, None, None, 4.0]
    assert [point.training_s for point in curve] == pytest.approx([1.0, 2.1, 3.1, 4.3])
    assert [point.total_env_steps for point in curve] == [16384, 32768, 49152, 65536]
    assert "no-single-env" not in {notice.code for notice in findings.notices}


def test_a_training_run_that_broke_says_how_far_it_came_and_why(run: Any, results: Any) -> None:
    broken = run(2, 8, [1.0, 1.1], outcome="nan", message="update 3 produced NaN")
    assert analyse(results(broken, kind="train")).headline == (
        "The run met NaN or infinity after 2 iterations (32,768 steps): update 3 produced NaN"
    )
    at_once = run(2, 8, [], outcome="crash")
    assert analyse(results(at_once, kind="train")).headline == "The run broke after 0 iterations (0 steps)."
    stopped = run(2, 8, [], outcome="interrupted")
    assert analyse(results(stopped, kind="train")).headline.startswith("The run was stopped before an iteration was f")
    found = analyse(results(at_once, kind="train", complete=False))
    assert "The run is not complete: it ended early; --resume goes on" in " ".join(n.text for n in found.notices)


def test_a_median_speed_stands_beside_the_medians_time_and_the_mean_is_named_where_it_differs(
    run: Any, results: Any
) -> None:
    """Short runs: a slow first iteration is in the mean, and hardly in the median."""
    slow_start = run(2, 4, [0.6, *[0.1] * 9], steps=1920, phases=ENV_BOUND)
    assert analyse(results(slow_start, kind="train")).headline.startswith(
        "2x4 trains at 19,200 steps/s, 0.1 s an iteration (median); the mean is 12,800 steps/s, 0.15 s an iteration. "
        "Stepping the environments holds this run back: it takes 60% of the wall time, on average 0.09 s of each 0.15 s"
    )
    two = analyse(results(run(2, 4, [1.0, 3.0], steps=1000), kind="train")).headline
    assert two.startswith("2x4 trains at 667 steps/s, 1.5 s an iteration (median); the mean is 500 steps/s, 2 s an it")
    even = run(2, 4, [0.1] * 10, steps=1920, phases=ENV_BOUND)
    assert analyse(results(even, kind="train")).headline.startswith("2x4 trains at 19,200 steps/s. Stepping")


def test_returns_are_the_running_mean_of_the_live_display(run: Any, results: Any) -> None:
    returns = [20.0, None, 80.0, 200.0, 300.0]
    bare = run(2, 4, [0.1] * 5, returns=returns)
    counts = [80, 0, 40, 50, 60]
    counted = [
        item.model_copy(update={"num_episodes": count}) for item, count in zip(bare.iterations, counts, strict=True)
    ]
    found = analyse(results(bare.model_copy(update={"iterations": tuple(counted)}), kind="train")).runs[0]
    played: list[float] = []
    live = []
    for mean, count in zip(returns, counts, strict=True):
        played += [mean] * count if mean is not None else []
        live.append(sum(played[-100:]) / len(played[-100:]))
    assert [point.recent_return for point in found.curve] == pytest.approx(live) and found.return_window == 100
    uncounted = analyse(results(bare, kind="train")).runs[0]
    assert [point.recent_return for point in uncounted.curve] == [20.0, 20.0, 80.0, 200.0, 300.0]
    assert uncounted.return_window == 0


def test_what_was_replaced_is_told_and_named_as_a_reason_for_unsteady_speed(run: Any, results: Any) -> None:
    data = results(run(2, 8, [1.0, 1.6, 0.9, 1.0]), kind="train")
    told = [f"runner {i} was replaced because it died (replacement {i + 1} of at most 8): killed\n" for i in range(5)]
    findings = analyse(data, restarts=told)
    texts = {notice.code: notice.text for notice in findings.notices}
    assert texts["restarts"].startswith("5 environments or runners were replaced on the way: runner 0 was replaced be")
    assert "at most 8): killed; runner 1 was" in texts["restarts"] and "runner 3" not in texts["restarts"]
    assert texts["restarts"].endswith("; and 2 more, which progress.jsonl tells of.")
    assert "5 environments or runners were replaced meanwhile, which takes time and is a likely" in texts["noisy"]
    assert "something else may have used the machine" not in texts["noisy"] and findings.restarts == tuple(told)
    assert "One environment or runner was replaced on the way: " in str(analyse(data, restarts=told[:1]).notices)
    quiet = {notice.code: notice.text for notice in analyse(data).notices}
    assert "restarts" not in quiet and "something else may have used the machine" in quiet["noisy"]


def test_no_runs(results: Any) -> None:
    findings = analyse(results())
    assert findings.primary is None and findings.workloads == () and findings.runs == ()
    assert findings.notices[0].code == "nothing-measured"


def test_incomplete_files_say_so(run: Any, results: Any) -> None:
    findings = analyse(results(*grid(run)[:4], total=9, complete=False))
    assert not findings.complete
    assert any(
        notice.code == "incomplete" and "5 of 9 trials are missing" in notice.text for notice in findings.notices
    )


def test_too_few_plans_for_a_model(run: Any, results: Any) -> None:
    workload = analyse(results(run(1, 1, [2.0] * 3), run(2, 1, [1.2] * 3))).primary
    assert workload is not None and workload.models is not None
    assert workload.models.choice.chosen is None and workload.models.choice.reason.startswith("Too few points")
    assert workload.models.curves == () and len(workload.models.ideal) == 2


def test_parallel_that_does_not_pay(run: Any, results: Any) -> None:
    findings = analyse(results(run(0, 1, [1.0, 1.01, 0.99]), run(2, 1, [2.0, 2.01, 1.99])))
    assert "0x1 is the fastest plan here" in findings.headline and "no parallel plan beats it" in findings.headline
    assert "slower-than-baseline" in {notice.code for notice in findings.notices}


def test_ties_are_told_in_the_headline(run: Any, results: Any) -> None:
    times = [1.0, 1.01, 0.99, 1.02, 0.98]
    findings = analyse(
        results(run(0, 1, [4 * t for t in times]), run(0, 8, times), run(2, 8, [1.004 * t for t in times]))
    )
    assert "It cannot be told from 2x8." in findings.headline


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        ((), "No GPU: no NVIDIA driver answers"),
        ((GpuSample(index=0, name="Card", utilization_percent=40.0),), "GPU: Card, at most 40 % utilised"),
        ((GpuSample(index=0, name="Card"),), "could not be read"),
    ],
)
def test_gpu_is_told(run: Any, results: Any, gpus: tuple, words: str) -> None:
    findings = analyse(results(run(1, 1, [1.0], cores=1.0, gpus=gpus)))
    assert words in findings.gpu
    assert [notice.text for notice in findings.notices if notice.code == "gpu"] == [findings.gpu]


def test_workloads_are_apart_and_named_in_their_notices(run: Any, results: Any) -> None:
    runs = [run(r, 1, [scale / r], axes={"algo.num_epochs": scale}) for scale in (1, 10) for r in (1, 2)]
    findings = analyse(results(*runs))
    assert [workload.table.title for workload in findings.workloads] == ["algo.num_epochs=1", "algo.num_epochs=10"]
    assert any(notice.text.startswith("algo.num_epochs=10: ") for notice in findings.notices)


def test_mixed_variants_fit_the_largest(run: Any, results: Any) -> None:
    shm = [run(r, e, [1 + 2 / r + 4 / (r * e)], axes={"plan.pin_cores": False}) for r in (1, 2, 4) for e in (1, 4)]
    other = [run(1, 1, [99.0], axes={"plan.pin_cores": True})]
    workload = analyse(results(*shm, *other)).primary
    assert workload is not None and workload.models is not None and workload.models.phase is not None
    assert workload.models.phase.learner_s == pytest.approx(1.0)


def test_same_results_same_findings(run: Any, results: Any) -> None:
    data = results(*grid(run))
    assert analyse(data) == analyse(data)


def test_baseline_can_be_asked_for(run: Any, results: Any) -> None:
    findings = analyse(results(*grid(run)), baseline="1x1")
    assert findings.primary is not None and findings.primary.table.baseline is not None
    assert findings.primary.table.baseline.label == "1x1"
