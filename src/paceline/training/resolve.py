"""Fills in what a spec leaves open, once the environment is known. Touches no JAX device."""

from __future__ import annotations

from typing import Any

import gymnasium

from paceline.agents.encoding import image_spaces
from paceline.agents.presets import resolve_algo
from paceline.envs import family_of, make_env
from paceline.errors import PlanError
from paceline.machine import Machine, detect_machine
from paceline.spec import ImpalaSpec, Plan, RunSpec
from paceline.training.runtime import choose_learner_threads

_ROLLOUT_LENGTH = 20
"""Of IMPALA's trajectories (Espeholt et al. 2018), where nothing else is said."""


def resolve_for_spaces(
    spec: RunSpec, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]
) -> RunSpec:
    """Return ``spec`` with the algorithm's and the plan's open fields filled in.

    Raises:
        SpecError: batch and minibatch do not fit.
        PlanError: the algorithm cannot learn with the plan's schedule.
    """
    plan = choose_learner_threads(
        spec.plan.for_algorithm(spec.algo.name),
        has_images=bool(image_spaces(observation_space)),
        usable_cores=detect_machine().whole_cores,
    )
    algo = resolve_algo(spec.algo, observation_space, action_space)
    if isinstance(algo, ImpalaSpec) and algo.rollout_length is None:
        algo = algo.model_copy(update={"rollout_length": _impala_rollout_length(algo.batch_size or 0, plan)})
    return spec.model_copy(update={"algo": algo, "plan": plan})


def _impala_rollout_length(batch_size: int, plan: Plan) -> int:
    if plan.schedule != "async":
        return max(1, batch_size // plan.num_envs)
    width = plan.num_envs_per_env_runner
    fitting = [length for length in range(1, _ROLLOUT_LENGTH + 1) if batch_size % (length * width) == 0]
    return max(fitting, default=1)


def resolve_spec(spec: RunSpec) -> RunSpec:
    """Return ``spec`` filled in, by building its environment once.

    Raises:
        EnvNotFoundError: the environment cannot be built.
        SpecError: batch and minibatch do not fit.
    """
    env = make_env(spec.env)
    try:
        return resolve_for_spaces(spec, env.observation_space, env.action_space)
    finally:
        env.close()


def check_batch_fits(spec: RunSpec) -> None:
    """Refuse a filled-in run whose batch is not made of whole steps of its environments.

    Raises:
        PlanError: it is not; the message says which batch would be.
    """
    plan, algo = spec.plan, spec.algo
    size, width = algo.batch_size or 0, plan.num_envs_per_env_runner
    if plan.schedule != "async":
        length = plan.rollout_length(size)
        if isinstance(algo, ImpalaSpec) and algo.rollout_length not in (None, length):
            raise PlanError(
                f"expected algo.rollout_length {length} where nothing is asynchronous (batch_size {size} / "
                f"{plan.num_envs} envs), got {algo.rollout_length}; leave it out, or use batch_size "
                f"{algo.rollout_length * plan.num_envs}"
            )
        return
    length = (algo.rollout_length or 1) if isinstance(algo, ImpalaSpec) else 1
    if size % (length * width):
        raise PlanError(
            f"expected batch_size to be a multiple of what a runner sends at once ({length} steps x {width} envs), got "
            f"{size}; use batch_size {max(1, size // (length * width)) * length * width}"
        )


def default_plan(env_id: str, machine: Machine, algo: str = "ppo") -> Plan:
    """Return a plan for a run that names none: a sound guess, where a sweep would know.

    Physics is worth a process per core (a power of two of them, so that usual batches divide); a step of a classic
    control or toy environment costs less than waking a process. IMPALA's learner works while its runners do, and gets
    a core of its own. A3C does nothing without runners. A2C learns from small batches: 16 environments, not more.

    Args:
        env_id: the environment's name.
        machine: what it will run on.
        algo: name of the algorithm.
    """
    cores, is_physics = machine.whole_cores, family_of(env_id) == "mujoco"
    num_env_runners = min(16, 1 << (cores.bit_length() - 1)) if is_physics and cores >= 2 else 0
    num_envs_each = 8
    if algo == "a3c":
        num_env_runners = cores
    elif algo == "impala" and num_env_runners:
        num_env_runners = max(1, cores - 1)
    elif algo == "a2c" and num_env_runners:
        num_envs_each = max(1, 16 // num_env_runners)
    return Plan(num_env_runners=num_env_runners, num_envs_per_env_runner=num_envs_each)
