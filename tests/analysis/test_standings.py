"""The figures of every contender, from runs whose figures are known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "fakes"))

from made_runs import ASYNC, IMPALA, RUNNERS, made_group, made_run, three_contenders

from paceline.analysis.standings import CURVE_POINTS, Standings, compare_runs
from paceline.errors import ResultsError


@pytest.fixture(scope="module")
def three() -> Standings:
    return compare_runs(three_contenders())


def test_figures_are_those_of_the_runs(three: Standings) -> None:
    ppo, _, impala = three.standings
    assert ppo.finals == pytest.approx([450, 470, 480, 490, 500], rel=0.01)
    assert ppo.final_return is not None and ppo.final_return.value == pytest.approx(479, rel=0.01)
    assert ppo.sps is not None and ppo.sps.value == pytest.approx(5000, rel=0.01)
    assert (ppo.total_env_steps, ppo.training_s) == (40_000, pytest.approx(8.0, rel=0.02))
    assert ppo.lag is None and impala.lag is not None
    assert (impala.lag.lowest, impala.lag.mean, impala.lag.highest) == (0.75, 1.5, 3.0)
    assert {share.phase: share.percent for share in ppo.shares} == pytest.approx(
        {"env_step": 50.0, "learner_update": 30.0, "inference": 15.0, "unattributed": 5.0}
    )
    assert ppo.bottleneck is not None and ppo.bottleneck.verdict == "env-bound"
    assert (impala.cores_used, impala.cpu_utilization, impala.restarts) == (1.5, 0.75, 5)
    assert impala.peak_memory_bytes == int(0.8 * 2**30)


def test_ratios_are_over_the_first_contender(three: Standings) -> None:
    assert [(item.challenger, item.reference) for item in three.duels] == [
        ("ppo 2x8 runner", "ppo 0x16"), ("impala 2x8 async", "ppo 0x16"),
    ]  # fmt: skip
    ratios = [item.sps_ratio.value for item in three.duels if item.sps_ratio]
    assert ratios == pytest.approx([1.4, 1.9], rel=0.01)
    times = three.duels[0].seconds_ratio
    assert times is not None and times.value == pytest.approx(1 / 1.4, rel=0.06), "to an iteration"


def test_the_common_return_is_nine_tenths_of_the_lowest_final_return(three: Standings) -> None:
    lowest = min(item.final_return.value for item in three.standings if item.final_return)
    assert three.threshold == pytest.approx(0.9 * lowest, rel=0.005)
    assert three.threshold_rule == "90% of the lowest final return"
    mark = three.standings[0].mark
    assert mark is not None and mark.steps_median is not None and len(mark.steps) == mark.num_runs == 5
    negative = compare_runs([made_run(returns=[-900.0, -300.0]), made_run(returns=[-900.0, -200.0], plan=RUNNERS)])
    assert negative.threshold == -300.0 and negative.threshold_rule == "the lowest final return"
    uneven = compare_runs([made_run(returns=[-900.0, -300.4]), made_run(returns=[-900.0, -200.0], plan=RUNNERS)])
    assert uneven.threshold == -301.0 and "reached by" not in uneven.headline


def test_whoever_defines_the_common_return_reaches_it_with_one_window_for_all() -> None:
    """Episodes that grow longer: a tenth of them is far more than the last tenth of the iterations."""
    rising: list[float | None] = [float(2 * i) for i in range(40)]
    weak = made_run(returns=rising, algo=IMPALA, plan=ASYNC)
    longer = [
        item.model_copy(update={"num_episodes": 100 if item.iteration < 20 else 3}) for item in weak.result.iterations
    ]
    weak = replace(weak, result=weak.result.model_copy(update={"iterations": tuple(longer)}))
    found = compare_runs([made_run(final=500.0, episodes=5), weak])
    assert found.window == 20 and "last 20 episodes (a tenth of those of the run that" in " ".join(found.method)
    assert found.threshold == pytest.approx(0.9 * found.standings[1].finals[0], rel=0.005)
    assert [(len(item.mark.steps), item.mark.num_runs) for item in found.standings if item.mark] == [(1, 1)] * 2
    alone = compare_runs([made_run(episodes=90), made_run(episodes=90, plan=RUNNERS)])
    assert alone.window == 100 and "last 100 episodes (as in the live display;" in " ".join(alone.method)


def test_curves_go_from_where_all_seeds_have_begun_to_where_the_first_ends(three: Standings) -> None:
    for standing in three.standings:
        for band in (standing.by_steps, standing.by_seconds):
            assert band is not None
            assert len(band.xs) == len(band.low) == len(band.high) == CURVE_POINTS
            assert all(low <= mid <= high for low, mid, high in zip(band.low, band.centre, band.high, strict=True))
    steps, seconds = three.standings[0].by_steps, three.standings[0].by_seconds
    assert steps is not None and (steps.xs[0], steps.xs[-1]) == (1000, 40_000)
    ends = [sum(item.wall_s for item in run.result.iterations) for run in three_contenders()[:5]]
    assert seconds is not None and seconds.xs[-1] == pytest.approx(min(ends))


def test_too_few_seeds_have_a_curve_without_a_band() -> None:
    found = compare_runs([*made_group([500, 400]), made_run(plan=RUNNERS)])
    pair, single = (item.by_steps for item in found.standings)
    assert pair is not None and single is not None and pair.low == single.high == ()
    assert pair.centre[-1] == pytest.approx(450, rel=0.01)


def test_a_run_that_broke_counts_with_what_it_had_and_does_not_cut_the_curves_of_the_others() -> None:
    ppo = made_group([480, 490, 500])
    broken = made_run(seed=3, returns=[20.0, 30.0, 40.0], outcome="nan", budget={"total_steps": 40_000})
    found = compare_runs([*ppo, broken, *made_group([480, 490, 500, 495], plan=RUNNERS)])
    standing = found.standings[0]
    assert found.window == 40, "a run that broke says nothing on how smooth the others are to be"
    assert standing.finals[-1] == 30.0, "the mean of all thirty episodes that it had"
    assert standing.by_steps is not None and standing.by_steps.xs[-1] == 40_000
    assert min(standing.by_steps.low) <= 30.0, "the broken seed stays in the band"
    assert found.horizon is None
    assert standing.mark is not None and (len(standing.mark.steps), standing.mark.num_runs) == (3, 4)


def test_runs_of_different_lengths_are_compared_as_far_as_all_ran() -> None:
    """Half the steps at the same rate of learning: neither learns better per step, though one ends higher."""
    rising = [float(i) for i in range(60)]
    short = [made_run(seed=seed, returns=[value + seed for value in rising[:30]]) for seed in range(5)]
    full = [made_run(seed=seed, returns=[value + seed for value in rising], plan=RUNNERS) for seed in range(5)]
    found = compare_runs([*short, *full])
    assert found.horizon == 30_000
    assert found.duels[0].improvement is not None and found.duels[0].improvement.value == 0.5
    finals = [item.final_return.value for item in found.standings if item.final_return]
    assert finals[1] > 1.5 * finals[0]
    assert "after 30,000 environment steps" in " ".join(found.method)


def test_without_episodes_only_speeds_are_compared() -> None:
    found = compare_runs([made_run(returns=[None] * 6), made_run(returns=[None] * 6, plan=RUNNERS, sps=8000.0)])
    assert found.threshold is None and found.standings[0].by_steps is None
    assert found.threshold_rule == "no episode ended, so there is no return to be timed"
    assert found.headline.startswith("ppo 2x8 runner trains 1.58x as fast as ppo 0x16; which")


def test_contenders_without_an_iteration_are_left_out_and_one_alone_is_refused() -> None:
    dead = made_run(returns=[], algo=IMPALA, plan=ASYNC, outcome="crash")
    found = compare_runs([made_run(), made_run(plan=RUNNERS), dead])
    assert [item.name for item in found.standings] == ["ppo 0x16", "ppo 2x8 runner"]
    assert found.notices[0].code == "nothing-measured"
    with pytest.raises(ResultsError, match="none of impala 2x8 async"):
        compare_runs([made_run(), dead])


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((0, 1, 2), "its 3 runs differ in their seeds alone; give a run of another algorithm"),
        ((0, 0), "its 2 runs differ in nothing (seed 0 2x); give"),
        ((3, 1, 3), "its 3 runs differ in their seeds alone (seed 3 2x); give"),
        ((0,), "it is the only run."),
    ],
)
def test_one_contender_alone_is_shown_with_nothing_to_compare_it_with(seeds: tuple[int, ...], said: str) -> None:
    found = compare_runs([made_run(seed=seed) for seed in seeds])
    assert found.headline.startswith(f"There is nothing to compare ppo 0x16 with: {said}")
    (standing,) = found.standings
    assert standing.contender.seeds == seeds and standing.by_steps is not None and standing.sps is not None
    assert (found.duels, found.sentences, found.differences, found.horizon) == ((), (), (), None)
    assert "improvement" not in " ".join(found.method)
    codes = [notice.code for notice in found.notices]
    assert ("same-seed" in codes) == (len(set(seeds)) < len(seeds)) and "not-interleaved" not in codes
    with pytest.raises(ResultsError, match="expected a run with a finished iteration, got none of ppo 0x16"):
        compare_runs([made_run(returns=[])])


def test_the_same_runs_give_the_same_figures(three: Standings) -> None:
    again = compare_runs(three_contenders())
    assert again == three
    assert np.isfinite([*again.standings[0].finals]).all()
