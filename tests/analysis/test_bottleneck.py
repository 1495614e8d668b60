"""Verdicts on ledgers whose answer is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.analysis.bottleneck import find_bottleneck, memory_fraction, phase_shares, upper_bound_speedup
from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import GpuSample, LedgerRecord, ResourceUse


def ledger(wall_s: float = 10.0, **phases: float) -> LedgerRecord:
    return LedgerRecord(wall_s=wall_s, phases=phases)


def used(**changes: Any) -> ResourceUse:
    figures: dict[str, Any] = {
        "wall_s": 10.0, "cpu_s": 10.0, "cores_used": 1.0, "usable_cores": 2.0, "cpu_utilization": 0.5,
        "num_processes": 1, "rss_bytes": 100, "peak_rss_bytes": 200, "memory_limit_bytes": 1000,
    }  # fmt: skip
    return ResourceUse(**{**figures, **changes})


@given(
    seconds=st.dictionaries(st.sampled_from([*PHASES, UNATTRIBUTED]), st.floats(0, 1e4), min_size=1),
    wall=st.floats(0, 1e5),
)
def test_shares_add_to_100(seconds: dict[str, float], wall: float) -> None:
    shares = phase_shares(LedgerRecord(wall_s=wall, phases=seconds))
    if not shares:
        assert wall == 0 and not any(seconds.values())
        return
    assert math.fsum(share.percent for share in shares) == pytest.approx(100)
    assert [share.percent for share in shares] == sorted((share.percent for share in shares), reverse=True)
    assert all(share.speedup_if_removed >= 1 for share in shares)


def test_time_without_a_phase_is_shown() -> None:
    shares = {share.phase: share.percent for share in phase_shares(ledger(10, env_step=6, learner_update=1))}
    assert shares == pytest.approx({"env_step": 60, "learner_update": 10, "unattributed": 30})


def test_seconds_are_per_iteration() -> None:
    assert phase_shares(ledger(10, env_step=10), iterations=5)[0].seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("phases", "verdict", "phase"),
    [
        ({"env_step": 6, "learner_update": 4}, "env-bound", "env_step"),
        ({"runner_wait": 5, "env_step": 4}, "IPC-bound", "runner_wait"),
        ({"inference": 5, "env_step": 4}, "inference-bound", "inference"),
        ({"transfer": 5, "env_step": 4}, "transfer-bound", "transfer"),
        ({"learner_update": 7, "env_step": 3}, "learner-bound", "learner_update"),
        ({"runner_gradient": 5, "env_step": 4, "learner_update": 1}, "gradient-bound", "runner_gradient"),
        ({"logging": 3, "checkpoint": 2, "env_step": 4}, "overhead-bound", "logging"),
        ({"env_step": 3, "learner_update": 3, "inference": 2, "transfer": 2}, "balanced", "env_step"),
        ({}, "overhead-bound", "unattributed"),
    ],
)
def test_verdicts(phases: dict[str, float], verdict: str, phase: str) -> None:
    found = find_bottleneck(ledger(10, **phases))
    assert (found.verdict, found.limiting_phase) == (verdict, phase)
    assert len(found.sentences) == 2 and all(sentence.endswith(".") for sentence in found.sentences)


def test_the_distance_to_the_bound() -> None:
    found = find_bottleneck(ledger(10, env_step=6, learner_update=4))
    assert found.speedup_if_removed == pytest.approx(2.5)
    assert "takes 60% of the wall time, on average 6 s of each 10 s iteration." in found.sentences[0]
    assert "at most 2.5 times as fast" in found.sentences[1]


@given(share=st.floats(0, 0.999))
def test_upper_bound_is_amdahl_with_a_perfect_part(share: float) -> None:
    assert upper_bound_speedup(share) == pytest.approx(1 / (1 - share))


def test_all_of_the_time_in_one_phase_has_no_bound() -> None:
    assert math.isinf(find_bottleneck(ledger(10, env_step=10)).speedup_if_removed)


@pytest.mark.parametrize(
    "record", [None, LedgerRecord(wall_s=0.0, phases={}), LedgerRecord(wall_s=0.0, phases={"env_step": math.nan})]
)
def test_without_a_ledger_nothing_is_asserted(record: LedgerRecord | None) -> None:
    found = find_bottleneck(record)
    assert (found.verdict, found.shares, found.speedup_if_removed) == ("unknown", (), 1.0)


def test_memory_comes_first_where_it_ended_the_run() -> None:
    assert find_bottleneck(ledger(10, env_step=9), out_of_memory=True).verdict == "memory-bound"
    assert find_bottleneck(None, out_of_memory=True).verdict == "memory-bound"
    full = find_bottleneck(ledger(10, env_step=9), used(peak_rss_bytes=950))
    assert full.verdict == "memory-bound" and "95% of its limit" in full.sentences[0]
    assert find_bottleneck(ledger(10, env_step=9), used(peak_rss_bytes=500)).verdict == "env-bound"


def test_memory_is_pss_where_known() -> None:
    assert memory_fraction(used(peak_rss_bytes=900)) == pytest.approx(0.9)
    assert memory_fraction(used(peak_rss_bytes=900, peak_pss_bytes=300)) == pytest.approx(0.3)
    assert memory_fraction(used(memory_limit_bytes=0)) is None
    assert memory_fraction(None) is None


@pytest.mark.parametrize(
    ("cpu", "gpu", "processor"),
    [(0.9, None, "cpu"), (0.3, None, "neither"), (0.3, 95.0, "gpu"), (0.9, 30.0, "cpu"), (0.3, 30.0, "neither")],
)
def test_which_processor_limits(cpu: float, gpu: float | None, processor: str) -> None:
    gpus = () if gpu is None else (GpuSample(index=0, name="card", utilization_percent=gpu),)
    assert find_bottleneck(ledger(10, env_step=9), used(cpu_utilization=cpu, gpus=gpus)).processor == processor


def test_advice_depends_on_what_is_left_to_try() -> None:
    idle, full = used(cpu_utilization=0.4), used(cpu_utilization=0.95)
    assert "num_env_runners 1 or more" in find_bottleneck(ledger(10, env_step=9), idle, num_env_runners=0).advice
    assert "more cores" in find_bottleneck(ledger(10, env_step=9), full, num_env_runners=2).advice
