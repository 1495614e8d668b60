"""The command line: one thin function per command. Imports of what a command needs happen inside it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from paceline._version import __version__
from paceline.errors import PacelineError, RequestError

_EPILOG = """\
examples:
  paceline doctor
  paceline train CartPole-v1 --total-steps 150000 --out runs/cartpole
  paceline sweep HalfCheetah-v5 --num-env-runners 0,1,2 --num-envs-per-env-runner 1,4,16 --out runs/sweep
  paceline report runs/sweep
  paceline evaluate runs/cartpole --episodes 100

ENV is a Gymnasium id (HalfCheetah-v5), package.module:Id-v0, package.module:callable or a synthetic environment
(synthetic:busy?us=100). `paceline COMMAND --help` explains a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 bad request, 130 stopped by the user."""
    arguments = build_parser().parse_args(argv)
    if arguments.command is None:
        build_parser().print_help()
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(arguments.run(arguments))
    except PacelineError as error:
        return _fail(error, debug=arguments.debug)
    except KeyboardInterrupt:
        print("stopped; everything so far is saved", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is wrong. Keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if arguments.debug:
            raise
        print(
            f"paceline: error: {type(error).__name__}: {error}; this is a bug in paceline, run again with --debug for "
            f"the traceback",
            file=sys.stderr,
        )
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="paceline",
        description="Trains reinforcement-learning agents as fast as a machine allows, and proves it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"paceline {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_doctor(commands)
    _add_train(commands)
    _add_sweep(commands)
    _add_report(commands)
    _add_evaluate(commands)
    return parser


def run_doctor(arguments: argparse.Namespace) -> int:
    """Say what machine this is and what would slow or break a run on it."""
    from paceline.doctor import doctor_json, exit_status, render_doctor, run_checks
    from paceline.machine import detect_machine

    machine = detect_machine()
    checks = run_checks(machine)
    print((doctor_json if arguments.json else render_doctor)(machine, checks).rstrip("\n"))
    return exit_status(checks)


def run_train(arguments: argparse.Namespace) -> int:
    """Train an agent; leave results, report and checkpoints in a folder."""
    from rich.console import Console

    from paceline.measure.store import default_out
    from paceline.report.write import write_report
    from paceline.spec import RunSpec, build_spec
    from paceline.training.progress import display_for
    from paceline.training.run import train

    data = _run_data(arguments)
    if arguments.resume:
        data = _resumed_data(Path(arguments.resume), data)
    spec = build_spec(RunSpec, data, source="train")
    out = Path(arguments.resume or arguments.out or default_out(spec.env.id, spec.algo.name))
    try:
        train(spec, out=out, resume=bool(arguments.resume), display=display_for(Console()))
    finally:
        if (out / "results.json").is_file():
            paths = write_report(out)
            print(f"\n{paths.verdict}\n\nreport      {paths.text}\ndashboard   {paths.picture}\npage        {paths.page}")
            print(f"checkpoints {out / 'checkpoints'}\nnext        paceline evaluate {out} --episodes 100")
    return 0


def run_sweep(arguments: argparse.Namespace) -> int:
    """Measure a grid of plans, one fresh process per trial; report which is fastest and why."""
    from paceline.measure.store import default_out
    from paceline.report.write import write_report
    from paceline.spec import SweepSpec, build_spec
    from paceline.sweep.runner import sweep

    data = _run_data(arguments, with_budget=False)
    axes: dict[str, list[Any]] = {}
    for field, text in (
        ("plan.num_env_runners", arguments.num_env_runners),
        ("plan.num_envs_per_env_runner", arguments.num_envs_per_env_runner),
    ):
        if text is not None:
            axes[field] = _numbers(field.removeprefix("plan."), text)
    for item in arguments.axis:
        name, values = _assignment(item, "--axis")
        axes[name] = values if isinstance(values, list) else [values]
    options: dict[str, Any] = {"iterations": arguments.iterations, "repeats": arguments.repeats}
    for name, value in (
        ("warmup_iterations", arguments.warmup_iterations),
        ("trial_timeout_s", arguments.trial_timeout_s),
        ("trial_memory_bytes", None if arguments.trial_memory_gib is None else int(arguments.trial_memory_gib * 2**30)),
    ):
        if value is not None:
            options[name] = value
    spec = build_spec(SweepSpec, {"base": data, "axes": axes, **options}, source="sweep")
    resumed = arguments.resume if isinstance(arguments.resume, str) else None
    out = Path(arguments.out or resumed or default_out(spec.base.env.id, "sweep"))
    try:
        sweep(spec, out, resume=bool(arguments.resume), dry_run=arguments.dry_run, command=_command())
    finally:
        if not arguments.dry_run and (out / "results.json").is_file():
            _print_report(write_report(out))
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    """Analyse a folder of results again and write its report; nothing is measured."""
    from paceline.report.write import write_report

    _print_report(write_report(Path(arguments.folder)))
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Play whole episodes with a trained policy."""
    from paceline.analysis.stats import estimate_mean
    from paceline.spec import Plan
    from paceline.training.evaluation import evaluate
    from paceline.training.policy import Policy, find_checkpoint
    from paceline.training.runtime import set_up_jax

    if arguments.episodes < 1:
        raise RequestError(f"expected at least one episode, got --episodes {arguments.episodes}")
    folder = Path(arguments.folder)
    checkpoint = find_checkpoint(folder, arguments.checkpoint)
    set_up_jax(Plan(learner_threads=1, device="cpu"))
    policy = Policy.load(checkpoint.path, seed=arguments.seed)
    found = evaluate(
        policy, num_episodes=arguments.episodes, seed=arguments.seed, deterministic=not arguments.sampled
    )
    mean = estimate_mean(found.returns.tolist())
    interval = None if mean.interval is None else [mean.interval.low, mean.interval.high]
    if arguments.json:
        shown = {
            "checkpoint": str(checkpoint.path),
            "episodes": arguments.episodes,
            "deterministic": not arguments.sampled,
            "return_mean": mean.value,
            "return_ci95": interval,
            "returns": found.returns.tolist(),
            "lengths": found.lengths.tolist(),
        }
        print(json.dumps(shown, indent=1))
        return 0
    between = "" if interval is None else f" (95 % interval {interval[0]:,.1f} to {interval[1]:,.1f})"
    print(f"mean return {mean.value:,.1f}{between} over {arguments.episodes} episodes of {policy.spec.env.id}")
    print(
        f"lowest {found.returns.min():,.1f}, median {sorted(found.returns)[len(found.returns) // 2]:,.1f}, highest "
        f"{found.returns.max():,.1f}; mean length {found.lengths.mean():,.1f} steps; "
        f"{'sampled' if arguments.sampled else 'most probable'} actions; checkpoint {checkpoint.path}"
    )
    return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, and whose commands all know ``--debug``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        self.set_defaults(debug=False) if self.prog == "paceline" else None

    def error(self, message: str) -> NoReturn:
        print(f"paceline: error: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def _command_parser(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], epilog: str
) -> argparse.ArgumentParser:
    text = (run.__doc__ or "").strip()
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def _add_doctor(commands: Any) -> None:
    parser = _command_parser(commands, "doctor", run_doctor, "examples:\n  paceline doctor\n  paceline doctor --json")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_train(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "train",
        run_train,
        "examples:\n"
        "  paceline train CartPole-v1 --total-steps 150000\n"
        "  paceline train HalfCheetah-v5 --num-env-runners 2 --num-envs-per-env-runner 8 --minutes 10\n"
        "  paceline train HalfCheetah-v5 --set algo.learning_rate=1e-3 --set algo.num_epochs=5\n"
        "  paceline train --config run.yaml --seed 3 --out runs/seed3\n"
        "  paceline train --resume runs/seed3",
    )
    _add_run_options(parser)
    parser.add_argument("--num-env-runners", type=int, metavar="R", help="runner processes; 0: the learner's process")
    parser.add_argument("--num-envs-per-env-runner", type=int, metavar="E", help="environments in each")
    parser.add_argument("--plan", metavar="FILE", help="YAML file with a plan")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--total-steps", type=int, metavar="N", help="environment steps (default 1000000)")
    budget.add_argument("--minutes", type=float, metavar="M", help="minutes, compilation not counted")
    parser.add_argument("--resume", metavar="DIR", help="continue the run in this folder")


def _add_sweep(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "sweep",
        run_sweep,
        "examples:\n"
        "  paceline sweep HalfCheetah-v5 --num-env-runners 0,1,2 --num-envs-per-env-runner 1,4,16 --iterations 5\n"
        "  paceline sweep CartPole-v1 --num-env-runners 0,2 --num-envs-per-env-runner 8 --repeats 3 --dry-run\n"
        "  paceline sweep HalfCheetah-v5 --num-env-runners 2 --axis algo.num_epochs=[5,10] --axis plan.learner_threads=[1,2]",
    )
    _add_run_options(parser)
    parser.add_argument("--num-env-runners", metavar="R,R,..", help="numbers of runner processes, e.g. 0,1,2")
    parser.add_argument("--num-envs-per-env-runner", metavar="E,E,..", help="environments in each, e.g. 1,4,16")
    parser.add_argument(
        "--axis", action="append", default=[], metavar="FIELD=[A,B]", help="any other spec field as an axis"
    )
    parser.add_argument("--iterations", type=int, default=5, help="measured iterations per trial (default 5)")
    parser.add_argument("--warmup-iterations", type=int, help="iterations before them, not counted (default 1)")
    parser.add_argument("--repeats", type=int, default=1, help="how often each trial is run (default 1)")
    parser.add_argument("--trial-timeout-s", type=float, help="seconds after which a trial is stopped (default 900)")
    parser.add_argument("--trial-memory-gib", type=float, help="memory at which a trial is stopped")
    parser.add_argument("--dry-run", action="store_true", help="show the trials and the expected time, start nothing")
    parser.add_argument(
        "--resume", nargs="?", const=True, metavar="DIR", help="run only what is missing in --out (or in DIR)"
    )


def _add_report(commands: Any) -> None:
    parser = _command_parser(
        commands, "report", run_report, "example:\n  paceline report runs/sweep"
    )
    parser.add_argument("folder", metavar="DIR", help="the --out folder of train or sweep")
    parser.add_argument("--html", action="store_true", help="accepted for completeness: report.html is always written")


def _add_evaluate(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "evaluate",
        run_evaluate,
        "examples:\n  paceline evaluate runs/cartpole --episodes 100\n"
        "  paceline evaluate runs/cartpole/checkpoints/000000150528 --sampled --json",
    )
    parser.add_argument("folder", metavar="DIR", help="the --out folder of train, or one checkpoint's folder")
    parser.add_argument("--episodes", type=int, default=100, metavar="K", help="whole episodes to play (default 100)")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default best)")
    parser.add_argument("--sampled", action="store_true", help="sample actions instead of taking the most probable")
    parser.add_argument("--seed", type=int, default=1_000_003, help="seed of environments and sampled actions")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", nargs="?", metavar="ENV", help="environment; may be left out with --config")
    parser.add_argument("--algo", metavar="NAME", help="algorithm (default ppo)")
    parser.add_argument("--config", metavar="FILE", help="YAML file with env, algo, plan, budget, seed")
    parser.add_argument("--backend", metavar="NAME", help="auto, serial or shm")
    parser.add_argument("--inference", metavar="WHERE", help="where the policy acts: learner")
    parser.add_argument("--schedule", metavar="NAME", help="sync")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or gpu")
    parser.add_argument("--engine", metavar="NAME", help="local")
    parser.add_argument("--batch-size", type=int, metavar="B", help="steps per update, over all environments")
    parser.add_argument("--minibatch-size", type=int, metavar="M", help="steps per gradient step")
    parser.add_argument("--num-epochs", type=int, metavar="K", help="passes over the batch")
    parser.add_argument("--seed", type=int, help="seed (default 0)")
    parser.add_argument("--out", metavar="DIR", help="folder for results (default runs/<env>-<what>-<time>)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any spec field, e.g. algo.gamma=0.98"
    )


def _run_data(arguments: argparse.Namespace, *, with_budget: bool = True) -> dict[str, Any]:
    """Return a run's nested data: the config file, under the plan file, under the options, under --set."""
    from paceline.spec import load_yaml, merge_fields, set_field

    data: dict[str, Any] = load_yaml(Path(arguments.config)) if arguments.config else {}
    if getattr(arguments, "plan", None):
        loaded = load_yaml(Path(arguments.plan))
        if "plan" not in loaded:
            raise RequestError(f"{arguments.plan}: expected a key 'plan', got {', '.join(loaded)}; give a plan.yaml")
        data = merge_fields(data, {"plan": loaded["plan"]})
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
        "plan.engine": arguments.engine,
        "seed": arguments.seed,
    }
    if with_budget:
        options["plan.num_env_runners"] = arguments.num_env_runners
        options["plan.num_envs_per_env_runner"] = arguments.num_envs_per_env_runner
        if arguments.total_steps is not None:
            data["budget"] = {"total_steps": arguments.total_steps}
        if arguments.minutes is not None:
            data["budget"] = {"minutes": arguments.minutes}
    for name, value in options.items():
        if value is not None:
            data = set_field(data, name, value)
    for item in arguments.set:
        name, value = _assignment(item, "--set")
        data = set_field(data, name, value)
    if "env" not in data and not getattr(arguments, "resume", None):
        raise RequestError("expected an environment, got none; name one (paceline train CartPole-v1) or give --config")
    if with_budget and "plan" not in data and "env" in data and not arguments.resume:
        data["plan"] = _default_plan(_env_id(data))
    return data


def _default_plan(env_id: str) -> dict[str, Any]:
    from paceline.machine import detect_machine
    from paceline.training.resolve import default_plan

    return default_plan(env_id, detect_machine()).model_dump(mode="json")


def _resumed_data(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    from paceline.errors import ResultsError
    from paceline.spec import load_yaml, merge_fields

    if not (folder / "spec.yaml").is_file():
        raise ResultsError(f"expected a folder with a paceline run to resume, got {folder}; give the --out of a run")
    data = merge_fields(load_yaml(folder / "spec.yaml"), {k: v for k, v in given.items() if k != "budget"})
    if "budget" in given:
        data["budget"] = given["budget"]
    return data


def _env_id(data: dict[str, Any]) -> str:
    env = data.get("env")
    return str(env.get("id", "")) if isinstance(env, dict) else ""


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


def _print_report(paths: Any) -> None:
    print(paths.text.read_text(encoding="utf-8"))
    print(f"report    {paths.text}\ndashboard {paths.picture}\npage      {paths.page}")
    if paths.plan is not None:
        print(f"plan      {paths.plan}   (paceline train ENV --plan {paths.plan})")


def _command() -> str:
    import shlex

    return shlex.join(["paceline", *sys.argv[1:]])


def _fail(error: PacelineError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
        original = getattr(error, "original_traceback", "")
        if original:
            print(original, file=sys.stderr)
    print(f"paceline: error: {error}", file=sys.stderr)
    return error.exit_status


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
