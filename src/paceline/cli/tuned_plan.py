"""``train --plan auto``: a short tuning before the run, whose winner it trains with."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from paceline.errors import EnvTimeoutError, RequestError
from paceline.spec import RunSpec, build_spec

BUDGET_MINUTES = 1.0
"""Longest time that a run waits for its plan."""
_OF_BATCH = ("batch_size", "minibatch_size", "rollout_length")


def with_tuned_plan(spec: RunSpec, arguments: argparse.Namespace) -> RunSpec:
    """Return ``spec`` with the plan that is the fastest here, as far as a minute tells; what it is, is printed.

    Where a minute tells nothing, ``spec`` is returned as it is. Options of a plan (``--num-env-runners 2``) hold the
    search to them.

    Raises:
        RequestError: there is a run to go on with.
        PacelineError: the environment cannot be built, or no plan can be run.
    """
    from paceline.machine import set_math_threads

    set_math_threads(1)  # training sets its own before JAX begins
    from paceline.report.tune_text import tune_headline
    from paceline.tuner.display import make_display
    from paceline.tuner.spec import TuneSpec
    from paceline.tuner.tune import tune

    if arguments.resume:
        raise RequestError(
            "expected the plan of the run to resume, or a file, got --plan auto; run `paceline tune` and give its "
            "plan.yaml"
        )
    tuning = build_spec(TuneSpec, _tuning(spec, arguments), source="train --plan auto")
    with tempfile.TemporaryDirectory(prefix="paceline-tune-") as folder:
        try:
            results = tune(
                tuning, Path(folder) / "tuned", display=make_display(), command=" ".join(sys.argv),
                at_most_s=60.0 * BUDGET_MINUTES,
            )  # fmt: skip
        except EnvTimeoutError as error:
            print(f"no plan was found within {BUDGET_MINUTES:g} min, the run takes its usual one: {error}", flush=True)
            return spec
    print(tune_headline(results), flush=True)
    winner = results.tune.decision.winner
    chosen = next((run for run in results.experiments if run.name == winner), None)
    if chosen is None:
        return spec
    data = spec.model_dump(mode="json")
    algo = {**data["algo"], **{name: chosen.algo[name] for name in _OF_BATCH if name in chosen.algo}}
    return build_spec(RunSpec, {**data, "plan": chosen.plan, "algo": algo}, source="train --plan auto")


def _tuning(spec: RunSpec, arguments: argparse.Namespace) -> dict[str, Any]:
    base = spec.model_dump(mode="json")
    kept = {name: base["plan"][name] for name in ("learner_threads", "runner_threads", "pin_cores", "device")}
    base["plan"] = {**kept, "num_env_runners": 1} if spec.algo.name == "a3c" else kept
    fixed = {
        "backends": arguments.backend,
        "inferences": arguments.inference,
        "schedules": arguments.schedule,
        "num_env_runners": arguments.num_env_runners,
        "num_envs_per_env_runner": arguments.num_envs_per_env_runner,
    }
    axes = {name: [value] for name, value in fixed.items() if value not in (None, "auto")}
    return {"base": base, "budget_minutes": BUDGET_MINUTES, **axes}
