"""A script for RLlib (new API stack, Ray 2.5x and later): its PPO or IMPALA with a run's settings and plan."""

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
from paceline.spec import ImpalaSpec, Plan, PPOSpec, RunSpec

ALGORITHMS = ("ppo", "impala")
"""What RLlib has of our algorithms."""
_SHARED = ("batch_size", "learning_rate", "ent_coef", "normalize_observations", "hidden_sizes", "activation")
_OF_ONE = {"ppo": ("minibatch_size", "num_epochs"), "impala": ("rollout_length",)}


def render(source: ExportSource) -> str:
    """Return a script that trains with RLlib and prints its speed.

    Raises:
        RequestError: an environment that cannot be had one by one, or results that leave settings open.
        PlanError: the batch is not made of whole steps of the plan's environments.
    """
    run, plan, algo = source.run, source.run.plan, source.run.algo
    require_filled(run, "rllib", (*_SHARED, *_OF_ONE[algo.name]))
    env = env_code(run.env, "rllib")
    is_ppo = isinstance(algo, PPOSpec)
    name = "PPO" if is_ppo else "IMPALA"
    learns_apart = not is_ppo and plan.num_env_runners > 0
    what = (
        f"{name} of RLlib (new API stack) with the settings of a plan that paceline measured: python FILE "
        f"[ITERATIONS], {DEFAULT_ITERATIONS} iterations by default. It prints the speed of every iteration. pip "
        f"install 'ray[rllib]' torch"
    )
    length = algo.rollout_length if isinstance(algo, ImpalaSpec) else plan.rollout_length(algo.batch_size or 0)
    return render_script(
        "rllib",
        header=header(what, source.facts, [*_plan_notes(run), *_algo_notes(run), *_env_notes(env)]),
        env=env,
        name=name,
        module=name.lower(),
        plan=plan,
        algo=algo,
        is_ppo=is_ppo,
        hidden_sizes=list(algo.network.hidden_sizes or ()),
        rollout_fragment_length=length,
        vf_loss_coeff=algo.vf_coef / 2 if is_ppo else algo.vf_coef,
        learns_apart=learns_apart,
        num_cpus=plan.num_env_runners * plan.runner_threads + learns_apart + 1,
        learner_threads=plan.learner_threads or 1,
        num_gpus=1 if plan.device == "gpu" else 0,
        seed=run.seed,
        iterations=DEFAULT_ITERATIONS,
    )


def _plan_notes(run: RunSpec) -> list[str]:
    plan = run.plan
    notes = [f"The plan: {plan_words(plan)}."]
    if plan.resolved_backend in ("thread", "native"):
        notes.append(f"RLlib's runners are processes with environments in Python; the plan's are {_kind(plan)}.")
    if plan.num_env_runners and plan.inference == "learner":
        notes.append("No counterpart: inference learner. Each runner of RLlib has a copy of the policy.")
    if plan.schedule == "pipelined":
        notes.append("No counterpart: schedule pipelined.")
    if isinstance(run.algo, ImpalaSpec) and plan.num_env_runners and plan.schedule != "async":
        notes.append("RLlib's IMPALA is always asynchronous with runners, which the plan is not.")
    if plan.pin_cores:
        notes.append("No counterpart: pin_cores.")
    return notes


def _kind(plan: Plan) -> str:
    return "threads that step batches in C++" if plan.resolved_backend == "native" else "threads of one process"


def _algo_notes(run: RunSpec) -> list[str]:
    algo = run.algo
    notes, missing = [], []
    if algo.normalize_rewards:
        missing.append("normalize_rewards (RLlib trains on the rewards as they are: the learning rate may need a look)")
    if algo.network.log_std_init:
        missing.append(f"network.log_std_init {algo.network.log_std_init}")
    if isinstance(algo, PPOSpec):
        notes.append("vf_loss_coeff is half of vf_coef: paceline's value loss is half the squared error.")
        if algo.clip_value_loss:
            missing.append("clip_value_loss (RLlib's vf_clip_param bounds the loss, not the change of values)")
        if not algo.normalize_advantages:
            missing.append("normalize_advantages false (RLlib always normalises them, over the batch)")
        missing.append(f"adam_eps {algo.adam_eps} (RLlib's Adam has 1e-08)")
    elif isinstance(algo, ImpalaSpec):
        if algo.optimizer == "rmsprop":
            missing.append("optimizer rmsprop (RLlib's new API stack has Adam)")
        missing.append(f"optimizer_eps {algo.optimizer_eps} (RLlib's Adam has 1e-08)")
        missing += [
            f"{name} {value}"
            for name, value in (("c_bar", algo.c_bar), ("vtrace_lambda", algo.vtrace_lambda))
            if value != 1.0
        ]
        missing.append(f"max_lag {algo.max_lag} (RLlib drops nothing for its age)")
    if algo.anneal_learning_rate:
        notes.append("The learning rate falls to 0 over the iterations that are asked for.")
    notes += [f"No counterpart: {what}." for what in missing]
    steps = run.budget.planned_env_steps(algo.steps_per_iteration)
    if steps is not None:
        notes.append(f"The whole run of {steps:,} steps: {steps // algo.steps_per_iteration} iterations.")
    return notes


def _env_notes(env: EnvCode) -> list[str]:
    if env.kind == "paceline":
        return [f"{env.id} is an environment of paceline's own, which must be installed where Ray is."]
    return [f"The module {env.module} is looked for beside this file and where it is started."] if env.module else []
