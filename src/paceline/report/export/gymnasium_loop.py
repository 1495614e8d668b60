"""A script with the ``paceline.make_vec`` call of a plan, for a training loop of one's own."""

from __future__ import annotations

from typing import Any

from paceline.report.export.script import Code, header, plan_words, render_script
from paceline.report.export.source import ExportSource
from paceline.spec import Plan

_STEPS = 1000
"""Steps of all environments that the loop takes if it is not told how many."""


def render(source: ExportSource) -> str:
    """Return a script that makes the plan's vector environment and steps it with random actions."""
    run, plan = source.run, source.run.plan
    notes = [f"The plan: {plan_words(plan)}."]
    if plan.inference == "runner" or plan.schedule == "async":
        notes.append(
            "In the plan each runner has a copy of the policy and steps do not cross processes; a loop around make_vec "
            "acts for all environments at once, so that its speed says less about the plan's."
        )
    elif plan.schedule == "pipelined":
        notes.append(
            "In the plan one half of the environments steps while the policy acts for the other: "
            "venv.send(actions, env_ids) and venv.recv(env_ids) do that; step() waits for all."
        )
    what = (
        "The environments of a plan as a gymnasium.vector.VectorEnv, stepped with random actions: python FILE "
        f"[STEPS], {_STEPS} steps by default. It needs paceline. Put your training loop in the place of the random one."
    )
    return render_script(
        "gymnasium",
        header=header(what, source.facts, notes),
        env_id=run.env.id,
        num_envs=plan.num_envs,
        arguments=_arguments(run.env.kwargs, plan),
        steps=_STEPS,
        seed=run.seed,
    )


def _arguments(kwargs: dict[str, Any], plan: Plan) -> list[tuple[Code, Any]]:
    """Return the keyword arguments of ``make_vec`` by name."""
    arguments: list[tuple[str, Any]] = []
    if plan.pin_cores:  # make_vec takes pinning from a plan alone
        fields = {
            "backend": plan.resolved_backend,
            "num_env_runners": plan.num_env_runners,
            "num_envs_per_env_runner": plan.num_envs_per_env_runner,
            "runner_threads": plan.runner_threads,
            "pin_cores": True,
        }
        words = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        arguments.append(("plan", Code(f"paceline.Plan({words})")))
    else:
        arguments.append(("backend", plan.resolved_backend))
        if plan.num_env_runners:
            arguments.append(("num_env_runners", plan.num_env_runners))
        if plan.runner_threads != 1 and plan.resolved_backend in ("shm", "pipe"):
            arguments.append(("runner_threads", plan.runner_threads))
    if kwargs:
        arguments.append(("env_kwargs", kwargs))
    return [(Code(name), value) for name, value in arguments]
