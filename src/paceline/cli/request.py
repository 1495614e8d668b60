"""From parsed options and files to the nested data of a run or a sweep."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.errors import RequestError, ResultsError

if TYPE_CHECKING:
    from paceline.spec import SweepSpec

AUTO = "auto"
"""The ``--config`` that is made from the machine, and the ``--plan`` that is measured, instead of read from a file."""


def run_data(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a run's nested data: the config file, under the plan file, under the options, under --set.

    What of the files does not go with the options is left out, and told.

    Raises:
        RequestError: the request makes no sense.
    """
    from paceline.spec import load_yaml, merge_fields

    is_auto = arguments.config == AUTO
    if is_auto and arguments.resume:
        raise RequestError(
            f"expected the settings of the run in {arguments.resume}, got --config auto as well; leave it out, or give "
            f"what is to change (for example --num-env-runners 2)"
        )
    data: dict[str, Any] = load_yaml(Path(arguments.config)) if arguments.config and not is_auto else {}
    if arguments.plan and arguments.plan != AUTO:
        loaded = load_yaml(Path(arguments.plan))
        if "plan" not in loaded:
            raise RequestError(f"{arguments.plan}: expected a key 'plan', got {', '.join(loaded)}; give a plan.yaml")
        data = merge_fields(data, {"plan": loaded["plan"]})
    file = data
    data = _under_options(
        file,
        arguments,
        {
            "plan.num_env_runners": arguments.num_env_runners,
            "plan.num_envs_per_env_runner": arguments.num_envs_per_env_runner,
            "budget.total_steps": arguments.total_steps,
            "budget.minutes": arguments.minutes,
            "step_timeout_s": arguments.step_timeout_s,
        },
    )
    if not arguments.resume:
        _check_env_is_named(data, arguments)
        if is_auto:
            return _auto_under(data)
        data["plan"] = _plan_over_default(data)
        if "algo" in file and _algo_name(file) != _algo_name(data):
            data = _with_batch(data)
    return data


def _auto_under(data: dict[str, Any]) -> dict[str, Any]:
    """Return ``data`` laid over a config that is made from this machine."""
    from paceline.machine import detect_machine
    from paceline.spec import merge_fields
    from paceline.training.auto_config import auto_config

    plan, algo = data.get("plan", {}), data.get("algo", {})
    if not isinstance(plan, dict) or not isinstance(algo, dict):
        return data
    made = auto_config(_env_id(data), _algo_name(data), detect_machine(), plan)
    if "batch_size" in algo:
        made.pop("algo", None)  # its minibatches go with its own batch
    return merge_fields(made, data)


def _with_batch(data: dict[str, Any]) -> dict[str, Any]:
    """Return a run with a batch that its plan's environments divide, where none is given.

    The plan was made for another algorithm's batch.
    """
    from paceline.training.auto_config import suited_batch

    plan, algo = data["plan"], data.get("algo")
    if not isinstance(plan, dict) or not isinstance(algo, dict) or "batch_size" in algo:
        return data
    return {**data, "algo": {**suited_batch(_algo_name(data), plan), **algo}}


def sweep_data(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a sweep's nested data; ``--config`` may hold a run, or a whole sweep as its ``spec.yaml`` does."""
    from paceline.spec import load_yaml

    loaded: dict[str, Any] = load_yaml(Path(arguments.config)) if arguments.config else {}
    data = loaded if "base" in loaded else {"base": loaded}
    base = data.get("base")
    base = _under_options(base if isinstance(base, dict) else {}, arguments, {})
    _check_env_is_named(base, arguments)
    axes: dict[str, Any] = dict(data.get("axes") or {})
    for field in ("num_env_runners", "num_envs_per_env_runner"):
        text = getattr(arguments, field)
        if text is not None:
            axes[f"plan.{field}"] = _numbers(field, text)
    for item in arguments.axis:
        name, values = _assignment(item, "--axis")
        axes[name] = values if isinstance(values, list) else [values]
    memory_gib = arguments.trial_memory_gib
    options = {
        "iterations": arguments.iterations,
        "repeats": arguments.repeats,
        "warmup_iterations": arguments.warmup_iterations,
        "trial_timeout_s": arguments.trial_timeout_s,
        "trial_memory_bytes": None if memory_gib is None else int(memory_gib * 2**30),
    }
    return {**data, "base": base, "axes": axes, **{key: value for key, value in options.items() if value is not None}}


_TUNED = ("backend", "num_env_runners", "num_envs_per_env_runner", "inference", "schedule")
"""Fields of a plan that a tuning chooses."""


_TRIED = ("try_batch_sizes", "try_minibatch_sizes", "try_num_epochs")
"""Lists of values that change what is learned."""


def tune_data(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a tuning's nested data; ``--config`` holds a run, or a whole tuning as its ``spec.yaml`` does."""
    from paceline.spec import load_yaml

    loaded: dict[str, Any] = load_yaml(Path(arguments.config)) if arguments.config else {}
    data = loaded if "base" in loaded else {"base": loaded}
    base = data.get("base")
    base = _under_options(base if isinstance(base, dict) else {}, arguments, {})
    _check_env_is_named(base, arguments)
    kept = {key: value for key, value in (base.get("plan") or {}).items() if key not in _TUNED}
    # A plan is what is looked for; A3C has none without runners, which the base has to know.
    base = {**base, "plan": {**kept, "num_env_runners": 1} if _algo_name(base) == "a3c" else kept}
    options: dict[str, Any] = {
        "max_lag": arguments.max_lag,
        "inferences": None if arguments.inference is None else [arguments.inference],
        "schedules": None if arguments.schedule is None else [arguments.schedule],
        "budget_minutes": arguments.budget_minutes,
        "objective": arguments.objective,
        "max_cores": arguments.max_cores,
        "max_memory_bytes": _bytes(arguments.max_memory_gib),
    }
    options["verify_learning"] = arguments.verify_learning or None
    options["verify_minutes"] = arguments.verify_minutes
    if arguments.devices is not None:
        options["devices"] = [name.strip() for name in arguments.devices.split(",")]
    backends = arguments.backends or arguments.backend
    if backends is not None:
        options["backends"] = [name.strip() for name in backends.split(",")]
    for field in ("num_env_runners", "num_envs_per_env_runner", "learner_threads", *_TRIED):
        text = getattr(arguments, field)
        options[field] = None if text is None else _numbers(field, text)
    return {**data, "base": base, **{key: value for key, value in options.items() if value is not None}}


def bench_data(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a bench's nested data."""
    options = {
        "backends": None if arguments.backends is None else [name.strip() for name in arguments.backends.split(",")],
        "num_envs": None if arguments.num_envs is None else _numbers("num_envs", arguments.num_envs),
        "num_env_runners": arguments.num_env_runners,
        "actions": arguments.actions,
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "path": arguments.path,
        "batch_size": arguments.batch_size,
        "infos": arguments.infos,
        "max_minutes": arguments.max_minutes,
        "case_timeout_s": arguments.case_timeout_s,
        "seed": arguments.seed,
    }
    return {"env": {"id": arguments.env}, **{key: value for key, value in options.items() if value is not None}}


def _under_options(data: dict[str, Any], arguments: argparse.Namespace, more: dict[str, Any]) -> dict[str, Any]:
    """Return ``data`` of files, as far as it goes with the options, with the options laid over it."""
    return _with_options(_fitted(data, _with_options({}, arguments, more)), arguments, more)


def _fitted(below: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return what of ``below`` goes with ``given``; say in one line what does not."""
    from paceline.spec import fit_under

    fitted = fit_under(below, given)
    if fitted.sentence:
        print(f"paceline: {fitted.sentence}", file=sys.stderr)
    return fitted.data


def _with_options(data: dict[str, Any], arguments: argparse.Namespace, more: dict[str, Any]) -> dict[str, Any]:
    from paceline.spec import set_field

    options = {
        "env.id": arguments.env,
        "algo.name": arguments.algo,
        "algo.batch_size": arguments.batch_size,
        "algo.minibatch_size": arguments.minibatch_size,
        "algo.num_epochs": arguments.num_epochs,
        "plan.backend": arguments.backend,
        "plan.inference": arguments.inference,
        "plan.schedule": arguments.schedule,
        "plan.device": arguments.device,
        "plan.engine": _engine(arguments.engine),
        "seed": arguments.seed,
        **more,
    }
    for name, value in options.items():
        if value is not None:
            data = set_field(data, name, value)
    for item in arguments.set:
        name, value = _assignment(item, "--set")
        data = set_field(data, name, value)
    return data


def _engine(name: str | None) -> str | None:
    """Return the plan's engine for ``--engine``: ``paceline`` is this program's own trainer on this machine.

    Raises:
        RequestError: a trainer that this version cannot drive.
    """
    if name == "rllib":
        raise RequestError("expected an engine of this version (paceline), got rllib; leave out --engine")
    return "local" if name == "paceline" else name


def _check_env_is_named(data: dict[str, Any], arguments: argparse.Namespace) -> None:
    if "env" not in data:
        command = "config show" if arguments.command == "config" else arguments.command
        raise RequestError(
            f"expected an environment, got none; name one (paceline {command} CartPole-v1) or give --config"
        )


def _plan_over_default(data: dict[str, Any]) -> Any:
    """Return the plan that suits environment, algorithm and machine, with the fields in ``data`` laid over it.

    Where runners or backend are given, the rest of the plan must not contradict them.
    """
    from paceline.machine import detect_machine
    from paceline.training.auto_config import fit_runners
    from paceline.training.resolve import default_plan

    given = data.get("plan", {})
    if not isinstance(given, dict) or "num_env_runners" in given:
        return given
    plan = default_plan(_env_id(data), detect_machine(), _algo_name(data)).model_dump(mode="json")
    return fit_runners({**plan, **given})


def resumed_data(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Return the nested data of the run in ``folder``, with what is ``given`` anew laid over it.

    The run's spec has every field filled in; those of its plan that contradict what is given are left open again.

    Raises:
        ResultsError: the folder holds no training run, or one of another algorithm.
    """
    from paceline.spec import load_yaml, merge_fields

    _check_holds_run(folder)
    stored = load_yaml(folder / "spec.yaml")
    if "base" in stored:
        raise ResultsError(
            f"expected the folder of a training run, got the sweep {folder}; run `paceline sweep --resume {folder}`"
        )
    names = [_algo_name(data) for data in (stored, given)]
    if "name" in given.get("algo", {}) and names[0] != names[1]:
        # Before their fields are joined: those of two algorithms do not go together.
        raise ResultsError(
            f"cannot resume: expected algo.name {names[0]!r} as the run has had so far, got {names[1]!r}; use another "
            f"--out for a new run"
        )
    return merge_fields(_fitted(stored, given), given)


def stored_sweep(folder: Path) -> SweepSpec:
    """Return the sweep that ``folder`` holds.

    Raises:
        ResultsError: it holds none.
    """
    from paceline.spec import SweepSpec, build_spec, load_yaml

    _check_holds_run(folder)
    stored = load_yaml(folder / "spec.yaml")
    if "base" not in stored:
        raise ResultsError(
            f"expected the folder of a sweep, got the training run {folder}; run `paceline train --resume {folder}`"
        )
    return build_spec(SweepSpec, stored, source=str(folder / "spec.yaml"))


def _check_holds_run(folder: Path) -> None:
    if not (folder / "spec.yaml").is_file():
        raise ResultsError(f"expected a folder with a paceline run to resume, got {folder}; give the --out of a run")


def refuse_two_folders(arguments: argparse.Namespace) -> None:
    """Refuse ``--resume DIR`` together with another ``--out``.

    Raises:
        RequestError: two folders are named.
    """
    if arguments.out and Path(arguments.out) != Path(arguments.resume):
        raise RequestError(
            f"expected one folder, got --resume {arguments.resume} and --out {arguments.out}; leave out --out to "
            f"continue the run where it lies"
        )


def _env_id(data: dict[str, Any]) -> str:
    env = data.get("env")
    return str(env.get("id", "")) if isinstance(env, dict) else ""


def _algo_name(data: dict[str, Any]) -> str:
    algo = data.get("algo")
    return str(algo.get("name", "ppo")) if isinstance(algo, dict) else "ppo"


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise RequestError(f"expected whole numbers separated by commas after {option}, got {text!r}") from None


def _assignment(item: str, option: str) -> tuple[str, Any]:
    from paceline.spec import parse_value

    name, equals, value = item.partition("=")
    if not equals or not name:
        raise RequestError(f"expected FIELD=VALUE after {option}, got {item!r}; write for example algo.num_epochs=5")
    return name.strip(), parse_value(value)


def _bytes(gib: float | None) -> int | None:
    if gib is not None and not math.isfinite(gib):
        raise RequestError(f"expected a finite number after --max-memory-gib, got {gib}; write for example 8")
    return None if gib is None else int(gib * 2**30)
