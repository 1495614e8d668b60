"""Advice for the hardware found."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.analysis.findings import analyse
from paceline.measure.result import GpuSample

STEADY = [1.0, 1.01, 0.99, 1.0, 1.02]
MACHINE = {
    "usable_cores": 2.0, "logical_cores": 8, "physical_cores": 4, "memory_limit_bytes": 4 * 2**30,
    "memory_total_bytes": 16 * 2**30,
}  # fmt: skip


def hardware(results: Any, *runs: Any, machine: dict[str, Any] | None = None) -> str:
    return " ".join(analyse(results(*runs, machine=MACHINE if machine is None else machine)).hardware)


@pytest.fixture
def runs(run: Any) -> list[Any]:
    phases = {"env_step": 0.9}
    return [
        run(r, e, [t * factor for factor in STEADY], cores=cores, cpu=cores / 2, ram=r / 10 + 0.1, phases=phases)
        for r, e, t, cores in [(0, 1, 4.0, 1.0), (0, 8, 2.0, 1.0), (2, 1, 2.5, 1.6), (2, 8, 1.0, 1.9)]
    ]


def test_limits_of_the_container_are_told(runs: list[Any], results: Any) -> None:
    text = hardware(results, *runs)
    assert "Of 8 hardware threads 2 are usable" in text
    assert "4.0 GiB of 16.0 GiB" in text
    assert "30% of the limit" in text


def test_the_processor_that_limits_is_named(runs: list[Any], results: Any, run: Any) -> None:
    assert "2x8 keeps 95% of the usable cores busy: the CPU is what limits it" in hardware(results, *runs)
    card = (GpuSample(index=0, name="Card", utilization_percent=97.0),)
    on_gpu = run(0, 8, STEADY, cores=0.5, cpu=0.25, gpus=card, phases={"learner_update": 0.9})
    assert "25% of the usable cores busy and the GPU 97 %: the GPU is what limits it" in hardware(results, on_gpu)


def test_the_edge_of_the_grid_is_told(runs: list[Any], results: Any) -> None:
    text = hardware(results, *runs)
    assert "edge of what was tried: more than 8 envs per runner may be faster yet" in text
    assert "runners and more" not in text  # two runners on two cores: no room for a third
    roomy = hardware(results, *runs, machine={**MACHINE, "usable_cores": 8.0})
    assert "more than 2 runners and more than 8 envs per runner" in roomy
    assert "8 hardware threads share 4 cores" in roomy


def test_an_inner_optimum_is_no_edge(run: Any, results: Any) -> None:
    inner = [run(0, e, [t * factor for factor in STEADY]) for e, t in [(1, 4.0), (8, 1.0), (64, 2.0)]]
    assert "edge" not in hardware(results, *inner)


def test_more_runners_than_cores_are_told(run: Any, results: Any) -> None:
    crowd = [run(0, 1, [2.0]), run(4, 1, [1.0])]
    assert "so they take turns: 4x1" in hardware(results, *crowd)


def test_an_unknown_machine_is_not_spoken_of(published_results: Any) -> None:
    sentences = analyse(published_results).hardware
    assert len(sentences) == 1 and "more than 8 runners" in sentences[0]


@pytest.mark.parametrize("damaged", [{"usable_cores": "two"}, {"usable_cores": None}, {"memory_limit_bytes": True}])
def test_a_damaged_machine_breaks_nothing(runs: list[Any], results: Any, damaged: dict[str, Any]) -> None:
    assert "edge" in hardware(results, *runs, machine=damaged)


def test_nothing_measured_says_nothing(run: Any, results: Any) -> None:
    assert hardware(results, run(1, 1, [], outcome="crash")) == ""
