"""Threads and device of the learner as axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paceline.machine import Gpu, detect_machine
from paceline.spec import RunSpec, build_spec
from paceline.tuner.learners import learner_kinds
from paceline.tuner.spec import TuneSpec

NO_GPU = replace(detect_machine(), gpus=(), gpu_note="no GPU in sight")


def run_with(threads: int | None) -> RunSpec:
    return build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "plan": {"learner_threads": threads}}, source="test")


def kinds(threads: int | None, resolved: int, machine: Any = NO_GPU, **asked: Any) -> Any:
    spec = TuneSpec(base=run_with(threads), **asked)
    found, pruned = learner_kinds(spec, run_with(resolved), machine)
    return [(one.threads, one.device, one.mark) for one in found], [one.reason for one in pruned]


def test_a_run_that_takes_one_thread_is_tried_with_that_alone() -> None:
    assert kinds(None, 1) == ([(1, "auto", "")], [])


def test_one_thread_is_tried_beside_all_cores_where_those_are_the_default() -> None:
    assert kinds(None, 4) == ([(4, "auto", ""), (1, "auto", " 1 thread")], [])


def test_threads_that_were_chosen_are_not_varied_but_asked_ones_are() -> None:
    assert kinds(4, 4) == ([(4, "auto", "")], [])
    assert kinds(None, 1, learner_threads=(1, 2)) == ([(1, "auto", ""), (2, "auto", " 2 threads")], [])


def test_a_gpu_that_is_not_there_is_left_out_with_the_reason() -> None:
    assert kinds(None, 1, devices=("cpu", "gpu")) == ([(1, "cpu", " cpu")], ["no GPU in sight"])
    there = replace(NO_GPU, gpus=(Gpu(0, "a GPU", 2**30),))
    assert kinds(None, 1, there, devices=("cpu", "gpu"))[0] == [(1, "cpu", " cpu"), (1, "gpu", " gpu")]


def test_a_learner_has_its_threads_in_the_run() -> None:
    found, _ = learner_kinds(TuneSpec(base=run_with(None), learner_threads=(2,)), run_with(1), NO_GPU)
    assert found[0].applied(run_with(1)).plan.learner_threads == 2
