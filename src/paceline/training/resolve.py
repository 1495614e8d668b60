"""Fills in what a spec leaves open, once the environment is known. Touches no JAX device."""

from __future__ import annotations

from typing import Any

import gymnasium

from paceline.agents.encoding import image_spaces
from paceline.agents.presets import resolve_algo
from paceline.envs import family_of, make_env
from paceline.machine import Machine, detect_machine
from paceline.spec import Plan, RunSpec
from paceline.training.runtime import choose_learner_threads


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
    return spec.model_copy(update={"algo": algo, "plan": plan})


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


def default_plan(env_id: str, machine: Machine) -> Plan:
    """Return a plan for a run that names none: a sound guess, where a sweep would know.

    Physics is worth a process per core (a power of two of them, so that usual batches divide); a step of a classic
    control or toy environment costs less than waking a process.
    """
    num_env_runners = 0
    if family_of(env_id) == "mujoco" and machine.whole_cores >= 2:
        num_env_runners = min(16, 1 << (machine.whole_cores.bit_length() - 1))
    return Plan(num_env_runners=num_env_runners, num_envs_per_env_runner=8)
