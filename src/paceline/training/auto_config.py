"""``--config auto``: a run made from the machine that is found, with batches that its environments divide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline.errors import PlanError, SpecError
from paceline.machine import Machine
from paceline.spec import Plan, RunSpec, build_spec
from paceline.training.resolve import default_plan

_STEPS_PER_ENV = {"ppo": 64, "a2c": 8, "impala": 20}
"""Rollout length of a batch that grows: below it, advantages would hang on the value function's guesses alone."""
_LEAST_STEPS = {**_STEPS_PER_ENV, "impala": 1}
"""A preset's batch that holds fewer steps of each environment grows; IMPALA's presets are short on purpose."""
_PRESET_BATCH = {"ppo": 1024, "a2c": 64, "impala": 160}
"""The smallest batch among the presets; one that holds enough steps of each environment is left as it is."""
_MINIBATCHES = 32


def auto_config(env_id: str, algo: str, machine: Machine, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested data of a run that suits ``machine``: its plan, and a batch where the presets' is too small.

    A runner per usable core (see :func:`paceline.training.resolve.default_plan`), eight environments each. Where many
    environments would leave each of them a few steps in a preset's batch, the batch grows with them.

    Args:
        env_id: the environment's name.
        algo: name of the algorithm.
        machine: what it will run on.
        given: fields of the plan that are decided already; the rest is chosen to go with them.
    """
    suited = default_plan(env_id, machine, algo)
    plan: dict[str, Any] = {
        "num_env_runners": suited.num_env_runners,
        "num_envs_per_env_runner": suited.num_envs_per_env_runner,
    }
    if algo == "a2c":
        plan["num_envs_per_env_runner"] = 8  # the batch grows instead
    plan = fit_runners({**plan, **given})
    batch = suited_batch(algo, plan)
    return {"plan": plan, "algo": batch} if batch else {"plan": plan}


def suited_batch(algo: str, plan: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of a batch for the environments of ``plan``; empty where the presets' hold steps enough of each.

    Args:
        algo: name of the algorithm.
        plan: fields of the plan.
    """
    if algo not in _PRESET_BATCH or (algo == "impala" and _waits_for_nobody(plan)):
        return {}  # a batch is made of what single runners send
    num_envs = _count(plan, "num_env_runners") * _count(plan, "num_envs_per_env_runner")
    if _LEAST_STEPS[algo] * num_envs <= _PRESET_BATCH[algo] and _PRESET_BATCH[algo] % num_envs == 0:
        return {}
    size = _STEPS_PER_ENV[algo] * num_envs
    return {"batch_size": size, "minibatch_size": size // _MINIBATCHES} if algo == "ppo" else {"batch_size": size}


def _waits_for_nobody(plan: Mapping[str, Any]) -> bool:
    """Return whether IMPALA is asynchronous under ``plan``; a plan that makes no sense is refused later."""
    try:
        return build_spec(Plan, plan).for_algorithm("impala").schedule == "async"
    except (PlanError, SpecError):
        return True


def fit_runners(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return plan fields whose number of runners goes with the others: none with ``serial``, one where some must be."""
    fitted = dict(plan)
    if fitted.get("backend") == "serial":
        fitted["num_env_runners"] = 0
    elif (
        fitted.get("backend") in ("pipe", "shm", "thread", "native")
        or fitted.get("inference") == "runner"
        or fitted.get("schedule") in ("async", "pipelined")
    ):
        fitted["num_env_runners"] = _count(fitted, "num_env_runners")
    return fitted


def describe_auto(spec: RunSpec, machine: Machine) -> str:
    """Return one line on what was found and chosen; ``spec`` is the run with its open fields filled in."""
    plan, threads = spec.plan, spec.plan.learner_threads
    where = (
        f"{plan.num_env_runners} runners x {plan.num_envs_per_env_runner} envs"
        if plan.num_env_runners
        else f"{plan.num_envs} envs in the learner's process"
    )
    return (
        f"config auto: {machine.usable_cores:g} usable cores -> {where}, {threads} learner "
        f"{'thread' if threads == 1 else 'threads'}, batch_size {spec.algo.batch_size}, {spec.plan.schedule} with "
        f"inference in the {spec.plan.inference}"
    )


def _count(plan: Mapping[str, Any], field: str) -> int:
    value = plan.get(field)
    return max(1, value) if isinstance(value, int) else 1
