"""The script with the ``make_vec`` call: the plan's own execution, and it runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fakes"))

from made_folders import run_spec
from read_script import OWN_ENV, OWN_KWARGS, arguments, comments, execute

from paceline.report.export.gymnasium_loop import render
from paceline.report.export.source import ExportSource
from paceline.spec import EnvSpec, build_spec
from paceline.spec.plan import Plan


def script(plan: dict[str, Any], kwargs: dict[str, Any] | None = None, name: str = "ppo") -> str:
    spec = run_spec(name=name, plan=plan)
    return render(ExportSource(spec.model_copy(update={"env": EnvSpec(id="own:Counter", kwargs=kwargs or {})}), ()))


@pytest.mark.parametrize(
    ("plan", "given"),
    [
        ({}, {"backend": "serial"}),
        ({"num_env_runners": 2}, {"backend": "shm", "num_env_runners": 2}),
        ({"num_env_runners": 2, "backend": "thread", "runner_threads": 2}, {"backend": "thread", "num_env_runners": 2}),
        ({"num_env_runners": 1, "backend": "pipe", "runner_threads": 2},
         {"backend": "pipe", "num_env_runners": 1, "runner_threads": 2}),
    ],
)  # fmt: skip
def test_the_call_is_the_plan_s(plan: dict[str, Any], given: dict[str, Any]) -> None:
    num_envs = build_spec(Plan, {"num_envs_per_env_runner": 2, **plan}).num_envs
    assert arguments(script(plan), "make_vec") == {"num_envs": num_envs, **given}


def test_pinned_runners_travel_in_a_plan() -> None:
    text = script({"num_env_runners": 2, "pin_cores": True})
    assert arguments(text, "Plan")["pin_cores"] is True
    assert set(arguments(text, "make_vec")) == {"num_envs", "plan"}


def test_it_tells_what_a_loop_cannot_have_of_the_plan() -> None:
    asynchronous = script({"num_env_runners": 1}, name="impala")
    assert "each runner has a copy of the policy" in comments(asynchronous)
    pipelined = script({"num_env_runners": 2, "schedule": "pipelined"})
    assert "venv.send(actions, env_ids) and venv.recv(env_ids)" in comments(pipelined)
    assert "copy of the policy" not in comments(script({}))


@pytest.mark.slow
@pytest.mark.parametrize("plan", [{}, {"num_env_runners": 2}, {"num_env_runners": 1, "pin_cores": True}])
def test_it_runs_and_counts_steps_without_resets(plan: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_ENV, encoding="utf-8")
    num_envs = build_spec(Plan, {"num_envs_per_env_runner": 2, **plan}).num_envs
    printed = execute(script(plan, OWN_KWARGS), tmp_path, 10, PYTHONWARNINGS="error")
    # Episodes of four steps, and a reset behind each: two resets among ten steps.
    assert re.fullmatch(rf"{8 * num_envs} steps in \d+\.\d+ s: [\d,]+ steps/s\n", printed)
