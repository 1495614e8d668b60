"""One thin function per command."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.cli.request import (
    AUTO,
    bench_data,
    refuse_two_folders,
    resumed_data,
    run_data,
    stored_sweep,
    sweep_data,
    tune_data,
)
from paceline.cli.stopped import ALL_SAVED, what_training_saved
from paceline.errors import RequestError

if TYPE_CHECKING:
    from paceline.report.write import ReportPaths
    from paceline.spec import RunSpec
    from paceline.training.evaluation import Evaluation
    from paceline.training.policy import Policy


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
    from paceline.spec import RunSpec, build_spec
    from paceline.training.progress import display_for
    from paceline.training.run import train

    data = run_data(arguments)
    if arguments.resume:
        refuse_two_folders(arguments)
        data = resumed_data(Path(arguments.resume), data)
    spec = build_spec(RunSpec, data, source="train")
    if arguments.plan == AUTO:
        from paceline.cli.tuned_plan import with_tuned_plan

        spec = with_tuned_plan(spec, arguments)
    elif arguments.config == AUTO:
        _say_auto(spec)
    out = Path(arguments.resume or arguments.out or default_out(spec.env.id, spec.algo.name))
    with _reporting(out, _print_train_report, what_training_saved):
        train(
            spec,
            out=out,
            resume=bool(arguments.resume),
            display=display_for(Console()),
            command=_command(arguments),
            wandb=arguments.wandb,
            trace=arguments.trace,
        )
    return 0


def run_config(arguments: argparse.Namespace) -> int:
    """Show a whole run with every open field filled in; nothing is started."""
    from paceline.machine import detect_machine
    from paceline.spec import RunSpec, build_spec, dump_yaml
    from paceline.training.auto_config import describe_auto
    from paceline.training.resolve import check_batch_fits, resolve_spec

    spec = resolve_spec(build_spec(RunSpec, run_data(arguments), source="config show"))
    check_batch_fits(spec)
    spec = spec.model_copy(update={"plan": spec.plan.model_copy(update={"backend": spec.plan.resolved_backend})})
    if arguments.json:
        print(json.dumps(spec.model_dump(mode="json"), indent=1))
        return 0
    if arguments.config == AUTO:
        print(f"# {describe_auto(spec, detect_machine())}")
    print(dump_yaml(spec), end="")
    return 0


def run_sweep(arguments: argparse.Namespace) -> int:
    """Measure a grid of plans, one fresh process per trial; report which is fastest and why."""
    from paceline.measure.store import default_out
    from paceline.spec import SweepSpec, build_spec
    from paceline.sweep.runner import sweep

    if isinstance(arguments.resume, str):
        refuse_two_folders(arguments)
        arguments.out = arguments.resume
    if arguments.resume and not arguments.out:
        raise RequestError("expected the folder of the sweep to resume, got none; give --resume DIR")
    if arguments.resume and not (arguments.env or arguments.config):
        spec = stored_sweep(Path(arguments.out))
    else:
        spec = build_spec(SweepSpec, sweep_data(arguments), source="sweep")
    out = Path(arguments.out or default_out(spec.base.env.id, "sweep"))
    with _reporting(out, _print_report):
        sweep(spec, out, resume=bool(arguments.resume), dry_run=arguments.dry_run, command=_command(arguments))
    return 0


def run_tune(arguments: argparse.Namespace) -> int:
    """Find the plan that trains fastest on this machine, say why and how sure that is."""
    from paceline.machine import set_math_threads

    set_math_threads(1)  # before NumPy loads: a tuner's small matrices must not take the cores of what it measures
    from paceline.measure.store import default_out
    from paceline.spec import build_spec
    from paceline.tuner.display import make_display
    from paceline.tuner.spec import TuneSpec
    from paceline.tuner.tune import tune

    spec = build_spec(TuneSpec, tune_data(arguments), source="tune")
    out = Path(arguments.out or default_out(spec.base.env.id, "tune"))
    with _reporting(out, _print_report):
        found = tune(
            spec, out, display=make_display(), command=_command(arguments), again=arguments.again, trace=arguments.trace
        )
    return 1 if found.tune.decision.stopped == "nothing" else 0  # no plan could be run


def run_verify(arguments: argparse.Namespace) -> int:
    """Measure a tuning's answer again: is its plan as fast as then, and does it still win."""
    from paceline.machine import set_math_threads

    set_math_threads(1)
    from paceline.measure.result import dump_json
    from paceline.measure.verify_result import VerifyRecord
    from paceline.report.verify_text import render_verify_text
    from paceline.tuner.verify import verify

    folder, stream = Path(arguments.folder), sys.stderr if arguments.json else sys.stdout

    def show(record: VerifyRecord) -> None:
        text = dump_json(record, indent=1) + "\n" if arguments.json else "\n" + render_verify_text(record, folder)
        with suppress(BrokenPipeError):
            print(text, end="", flush=True)

    verify(folder, minutes=arguments.minutes, on_line=lambda line: print(line, file=stream, flush=True), on_record=show)
    return 0


def run_bench(arguments: argparse.Namespace) -> int:
    """Measure environments alone, without a learner: which execution steps them fastest."""
    from paceline.bench.display import make_display
    from paceline.bench.runner import bench
    from paceline.bench.spec import BenchSpec
    from paceline.measure.store import default_out
    from paceline.spec import build_spec

    spec = build_spec(BenchSpec, bench_data(arguments), source="bench")
    out = Path(arguments.out or default_out(spec.env.id, "bench"))
    display = make_display(sys.stderr if arguments.json else None)  # standard output is for the results alone
    with _reporting(out, _print_results if arguments.json else _print_report):
        bench(spec, out, display=display, command=_command(arguments))
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    """Analyse a folder of results again and write its report; nothing is measured."""
    from paceline.report.write import write_report

    _print_report(write_report(Path(arguments.folder)))
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare training runs: learning curves, speed, and which learns better, over their seeds."""
    from paceline.analysis.standings import compare_runs
    from paceline.measure.store import default_compare_out
    from paceline.measure.trained_run import find_run_folders, load_trained_run

    folders, left_out = find_run_folders([Path(folder) for folder in arguments.folders])
    if len(folders) < 2:
        raise RequestError(
            f"expected two training runs or more, got {len(folders)} ({', '.join(map(str, folders))}); give the --out "
            f"folders of `paceline train`, or folders of such folders"
        )
    names = arguments.names.split(",") if arguments.names is not None else ()
    found = compare_runs(
        [load_trained_run(folder) for folder in folders], names=names, left_out=[str(folder) for folder in left_out]
    )

    from paceline.report.write import write_comparison  # imports matplotlib, which no bad request has to wait for

    paths = write_comparison(Path(arguments.out) if arguments.out else default_compare_out(), found)
    if arguments.json:
        from paceline.measure.result import dump_json
        from paceline.report.compare_view import comparison_data

        print(dump_json(comparison_data(found), indent=1))
        return 0
    print(paths.text.read_text(encoding="utf-8"))
    print(f"text      {paths.text}\npicture   {paths.picture}\npage      {paths.page}")
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Play whole episodes with a trained policy."""
    from paceline.spec import Plan
    from paceline.training.evaluation import evaluate
    from paceline.training.policy import Policy, find_checkpoint
    from paceline.training.runtime import set_up_jax

    for option, value, least in (
        ("--episodes", arguments.episodes, 1),
        ("--num-envs", arguments.num_envs, 1),
        ("--num-env-runners", arguments.num_env_runners, 0),
    ):
        if value < least:
            what = "at least one episode" if option == "--episodes" else f"{least} or more after {option}"
            raise RequestError(f"expected {what}, got {option} {value}; ask for more")
    folder = Path(arguments.folder)
    checkpoint = find_checkpoint(folder, arguments.checkpoint)
    set_up_jax(Plan(learner_threads=1, device="cpu"))
    policy = Policy.load(checkpoint.path, seed=arguments.seed)
    if arguments.video:
        from paceline.training.video import check_can_film

        check_can_film(policy.spec.env, Path(arguments.video))
    found = evaluate(
        policy,
        num_episodes=arguments.episodes,
        num_envs=arguments.num_envs,
        num_env_runners=arguments.num_env_runners,
        seed=arguments.seed,
        deterministic=not arguments.sampled,
    )
    films = _film(policy, arguments) if arguments.video else []
    _print_evaluation(found, arguments, policy.spec.env.id, checkpoint.path, films)
    return 0


_FILMS = 3
"""Episodes that ``--video`` films."""


def _film(policy: Policy, arguments: argparse.Namespace) -> list[Path]:
    """Film episodes; what goes wrong here is told, and does not cost the evaluation."""
    from paceline.training.video import film

    count = min(_FILMS, arguments.episodes)
    try:
        return film(
            policy,
            Path(arguments.video),
            num_episodes=count,
            seed=arguments.seed,
            deterministic=not arguments.sampled,
        )
    except Exception as error:
        print(f"paceline: no video could be made: {type(error).__name__}: {error}", file=sys.stderr)
        return []


def _print_evaluation(
    found: Evaluation, arguments: argparse.Namespace, env_id: str, checkpoint: Path, films: list[Path]
) -> None:
    from statistics import median

    from paceline.analysis.stats import estimate_mean

    mean = estimate_mean(found.returns.tolist())
    interval = None if mean.interval is None else [mean.interval.low, mean.interval.high]
    if arguments.json:
        shown = {
            "checkpoint": str(checkpoint),
            "episodes": arguments.episodes,
            "deterministic": not arguments.sampled,
            "num_envs": arguments.num_envs,
            "num_env_runners": arguments.num_env_runners,
            "seed": arguments.seed,
            "return_mean": mean.value,
            "return_ci95": interval,
            "returns": found.returns.tolist(),
            "lengths": found.lengths.tolist(),
            "videos": [str(path) for path in films],
        }
        print(json.dumps(shown, indent=1))
        return
    between = "" if interval is None else f" (95 % interval {interval[0]:,.1f} to {interval[1]:,.1f})"
    print(f"mean return {mean.value:,.1f}{between} over {_episodes(arguments.episodes)} of {env_id}")
    print(
        f"lowest {found.returns.min():,.1f}, median {median(found.returns):,.1f}, highest "
        f"{found.returns.max():,.1f}; mean length {found.lengths.mean():,.1f} steps; "
        f"{'sampled' if arguments.sampled else 'most probable'} actions; checkpoint {checkpoint}"
    )
    if films:
        print(f"videos of {_episodes(len(films))}: {films[0].parent}")


def run_export(arguments: argparse.Namespace) -> int:
    """Write a measured plan for another program to run, or a trained policy as plain arrays."""
    if arguments.to == "numpy":
        return _export_policy(arguments)
    from paceline.report.export import export_text, how_to_run

    if arguments.checkpoint is not None:
        raise RequestError(
            f"expected --checkpoint with --to numpy, which exports a policy, got it with --to {arguments.to}; leave it "
            f"out"
        )
    text = export_text(Path(arguments.folder), arguments.to)
    if arguments.out is None:
        print(text, end="")
        return 0
    from paceline.measure.store import write_atomically

    write_atomically(Path(arguments.out), text.encode(), advice="give another --out")
    print(f"wrote {arguments.out}   ({how_to_run(arguments.to, shlex.quote(arguments.out))})")
    return 0


def _export_policy(arguments: argparse.Namespace) -> int:
    from paceline.spec import Plan
    from paceline.training.policy import Policy, find_checkpoint
    from paceline.training.runtime import set_up_jax

    if arguments.out is None:
        raise RequestError("expected --out with --to numpy, which writes a binary file; give --out policy.npz")
    checkpoint = find_checkpoint(Path(arguments.folder), arguments.checkpoint or "best")
    set_up_jax(Plan(learner_threads=1, device="cpu"))
    path = Policy.load(checkpoint.path).export(arguments.out)
    print(f"wrote {path} ({path.stat().st_size:,} bytes) from {checkpoint.path}")
    return 0


def _say_auto(spec: RunSpec) -> None:
    from paceline.machine import detect_machine
    from paceline.training.auto_config import describe_auto
    from paceline.training.resolve import resolve_spec

    with suppress(BrokenPipeError):
        print(describe_auto(resolve_spec(spec), detect_machine()), flush=True)


@contextmanager
def _reporting(
    out: Path, show: Callable[[ReportPaths], None], saved: Callable[[Path], str] | None = None
) -> Iterator[None]:
    """Report on what the body leaves in ``out``, even if it was stopped or broke; never on what lay there before.

    A report that fails then must not hide why the run ended. ``KeyboardInterrupt`` takes along what is ``saved``; where
    that is not given, whatever was measured is.
    """
    before = _version_of(out)
    try:
        yield
    except BaseException as failure:
        told = ""
        if _version_of(out) != before:
            told = ALL_SAVED
            try:
                _report(out, show)
            except Exception as error:
                print(f"paceline: the report could not be written: {error}", file=sys.stderr)
        if isinstance(failure, KeyboardInterrupt):
            if saved is not None:
                told = saved(out)
            if told:
                raise KeyboardInterrupt(told) from None
        raise
    if _version_of(out) != before:
        _report(out, show)


def _report(out: Path, show: Callable[[ReportPaths], None]) -> None:
    """Write the report; Ctrl-C waits for it, a second one does not."""
    # Matplotlib takes a second to import: here, not before the first iteration.
    from paceline.isolation.interrupts import Interrupts

    with Interrupts() as interrupts:
        from paceline.report.write import write_report

        paths = write_report(out)
        with suppress(BrokenPipeError):  # everything is on disk; nobody has to read this
            show(paths)
    if interrupts.requested:
        raise KeyboardInterrupt(ALL_SAVED)


def _version_of(out: Path) -> tuple[int, int] | None:
    try:
        status = (out / "results.json").stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _print_train_report(paths: ReportPaths) -> None:
    from paceline.measure.result import Results
    from paceline.measure.store import load_results

    out = paths.text.parent
    print(f"\n{paths.verdict}\n\nreport      {paths.text}\ndashboard   {paths.picture}\npage        {paths.page}")
    if not load_results(out, Results).experiment_info.complete:
        print(f"go on       paceline train --resume {shlex.quote(str(out))}")
    if (out / "checkpoints").is_dir():
        print(
            f"checkpoints {out / 'checkpoints'}\nnext        paceline evaluate {shlex.quote(str(out))} --episodes 100"
        )
    sys.stdout.flush()


def _print_report(paths: ReportPaths) -> None:
    print(paths.text.read_text(encoding="utf-8"))
    print(f"report    {paths.text}\ndashboard {paths.picture}")
    if paths.page is not None:
        print(f"page      {paths.page}")
    if paths.run is not None:
        print(f"run       {paths.run}   (paceline train --config {shlex.quote(str(paths.run))})")
    elif paths.plan is not None:
        print(f"plan      {paths.plan}   (paceline train ENV --plan {shlex.quote(str(paths.plan))})")
    sys.stdout.flush()


def _print_results(paths: ReportPaths) -> None:
    print((paths.text.parent / "results.json").read_text(encoding="utf-8"), end="", flush=True)


def _episodes(count: int) -> str:
    return "1 episode" if count == 1 else f"{count} episodes"


def _command(arguments: argparse.Namespace) -> str:
    words: list[str] = arguments.words
    return shlex.join(["paceline", *words])
