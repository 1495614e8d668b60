"""What the training benchmarks compare: runs that can be made, alike in all but what is compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from paceline.spec import RunSpec, build_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def specs_of(case: Any) -> dict[str, RunSpec]:
    env, contenders, _ = case
    data = {who: {"env": {"id": env}, "algo": algo, "plan": plan} for who, (algo, plan) in contenders.items()}
    return {who: build_spec(RunSpec, given, source=who) for who, given in data.items()}


def test_every_contender_is_a_run_that_can_be_made() -> None:
    for name, case in import_module("benchmarks.parallel_vs_sequential").cases().items():
        for who, spec in specs_of(case).items():
            plan = spec.plan.for_algorithm(spec.algo.name)
            if who == "sequential":  # with A3C a single runner
                assert plan.num_env_runners <= 1, name
                continue
            assert ("asynchronous" in who) == (plan.schedule == "async"), (name, who)
            assert ("pipelined" in who) == (plan.schedule == "pipelined"), (name, who)
            if "policy in the" in who:
                assert plan.inference == who.rpartition(" ")[2].removesuffix("s"), (name, who)


def test_contenders_of_a_case_differ_in_the_plan_alone() -> None:
    for name, case in import_module("benchmarks.parallel_vs_sequential").cases().items():
        specs = specs_of(case)
        by_algo: dict[str, list[RunSpec]] = {}
        for spec in specs.values():
            by_algo.setdefault(spec.algo.name, []).append(spec)
        for algo, same in by_algo.items():
            assert len({spec.algo.model_dump_json() for spec in same}) == 1, name
            if algo != "a3c":
                assert len({spec.plan.num_envs for spec in same}) == 1, name
            else:
                assert len({spec.plan.num_envs_per_env_runner for spec in same}) == 1, name


def test_peers_are_held_against_plans_that_can_be_made() -> None:
    peers = import_module("benchmarks.train_vs_peers")
    names = [*peers.contenders("big", Path("python")), *peers.contenders("small", None)]
    assert any(name.startswith("RLlib") for name in names) and any(name.startswith("SB3") for name in names)
    assert json.loads(peers.plan(2, 8, inference="runner"))["inference"] == "runner"
