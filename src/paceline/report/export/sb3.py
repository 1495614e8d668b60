"""A script for Stable-Baselines3: its PPO or A2C with a run's settings, and the plan as far as it has one."""

from __future__ import annotations

from paceline.report.export.script import (
    DEFAULT_ITERATIONS,
    EnvCode,
    env_code,
    header,
    plan_words,
    render_script,
    require_filled,
)
from paceline.report.export.source import ExportSource
from paceline.spec import A2CSpec, Plan, PPOSpec, RunSpec

ALGORITHMS = ("ppo", "a2c")
"""What Stable-Baselines3 has of our algorithms."""
_DEVICES = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}
_SHARED = (
    "batch_size", "learning_rate", "ent_coef", "normalize_observations", "normalize_rewards", "hidden_sizes",
    "activation",
)  # fmt: skip
_OF_PPO = ("minibatch_size", "num_epochs")


def render(source: ExportSource) -> str:
    """Return a script that trains with Stable-Baselines3 and prints its speed.

    Raises:
        RequestError: an environment that cannot be had one by one, or results that leave settings open.
        PlanError: the batch is not made of whole steps of the plan's environments.
    """
    run, plan, algo = source.run, source.run.plan, source.run.algo
    is_ppo = isinstance(algo, PPOSpec)
    require_filled(run, "sb3", (*_SHARED, *(_OF_PPO if is_ppo else ())))
    env = env_code(run.env, "sb3")
    name = "PPO" if is_ppo else "A2C"
    what = (
        f"{name} of Stable-Baselines3 with the settings of a plan that paceline measured: python FILE [ITERATIONS] "
        f"[dummy|subproc|paceline], {DEFAULT_ITERATIONS} iterations by default. It prints the speed of every "
        f"iteration. pip install stable-baselines3"
    )
    return render_script(
        "sb3",
        header=header(what, source.facts, [*_plan_notes(plan), *_algo_notes(run), *_env_notes(env)]),
        env=env,
        env_id=run.env.id,
        env_kwargs=run.env.kwargs,
        name=name,
        plan=plan,
        algo=algo,
        is_ppo=is_ppo,
        hidden_sizes=list(algo.network.hidden_sizes or ()),
        normalizes=algo.normalize_observations or algo.normalize_rewards,
        is_relu=algo.network.activation == "relu",
        n_steps=plan.rollout_length(algo.batch_size or 0),
        vf_coef=algo.vf_coef / 2,
        optimizer_eps=algo.adam_eps if isinstance(algo, PPOSpec) else getattr(algo, "optimizer_eps", 0.0),
        device=_DEVICES[plan.device],
        seed=run.seed,
        iterations=DEFAULT_ITERATIONS,
    )


def _plan_notes(plan: Plan) -> list[str]:
    notes = [f"The plan: {plan_words(plan)}."]
    if plan.num_env_runners:
        notes.append(
            f"Stable-Baselines3 knows two executions: SubprocVecEnv, one process per environment (here "
            f"{plan.num_envs}, where the plan has {plan.num_env_runners}), and DummyVecEnv, all in this process. "
            f"The script takes subproc; with many environments to a core dummy may be faster: try both."
        )
    else:
        notes.append("The plan steps all environments in one process, which DummyVecEnv does, too.")
    notes.append(
        "With the word paceline (and paceline installed) the environments are made by paceline.make_vec, in the plan's "
        "own execution, behind paceline.vector.sb3.SB3VecEnv."
    )
    if plan.inference == "runner" or plan.schedule == "pipelined":
        notes.append(
            f"No counterpart: inference {plan.inference} with schedule {plan.schedule}. Here the policy acts in this "
            f"process, for all environments at once."
        )
    if plan.pin_cores:
        notes.append("No counterpart but with the word paceline: pin_cores.")
    return notes


def _algo_notes(run: RunSpec) -> list[str]:
    algo = run.algo
    notes = ["vf_coef is half of paceline's, whose value loss is half the squared error."]
    if isinstance(algo, PPOSpec) and algo.clip_value_loss:
        notes.append("Values are clipped as Stable-Baselines3 does: the clipped error alone, not the greater of both.")
    if isinstance(algo, A2CSpec) and algo.optimizer == "rmsprop" and algo.rmsprop_decay != 0.99:
        notes.append(f"No counterpart: rmsprop_decay {algo.rmsprop_decay}; Stable-Baselines3 has 0.99.")
    if algo.anneal_learning_rate:
        notes.append("The learning rate falls to 0 over the iterations that are asked for.")
    steps = run.budget.planned_env_steps(algo.steps_per_iteration)
    if steps is not None:
        notes.append(f"The whole run of {steps:,} steps: {steps // algo.steps_per_iteration} iterations.")
    return notes


def _env_notes(env: EnvCode) -> list[str]:
    if env.kind == "paceline":
        return [f"{env.id} is an environment of paceline's own, which must be installed."]
    return [f"The module {env.module} is looked for beside this file and where it is started."] if env.module else []
