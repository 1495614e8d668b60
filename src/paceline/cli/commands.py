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

from paceline.cli.request import bench_data, refuse_two_folders, resumed_data, run_data, stored_sweep, sweep_data
from paceline.errors import RequestError

if TYPE_CHECKING:
    from paceline.report.write import ReportPaths


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
    out = Path(arguments.resume or arguments.out or default_out(spec.env.id, spec.algo.name))
    with _reporting(out, _print_train_report):
        train(spec, out=out, resume=bool(arguments.resume), display=display_for(Console()), command=_command(arguments))
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
    from statistics import median

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
    found = evaluate(policy, num_episodes=arguments.episodes, seed=arguments.seed, deterministic=not arguments.sampled)
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
    print(f"mean return {mean.value:,.1f}{between} over {_episodes(arguments.episodes)} of {policy.spec.env.id}")
    print(
        f"lowest {found.returns.min():,.1f}, median {median(found.returns):,.1f}, highest "
        f"{found.returns.max():,.1f}; mean length {found.lengths.mean():,.1f} steps; "
        f"{'sampled' if arguments.sampled else 'most probable'} actions; checkpoint {checkpoint.path}"
    )
    return 0


@contextmanager
def _reporting(out: Path, show: Callable[[ReportPaths], None]) -> Iterator[None]:
    """Report on what the body leaves in ``out``, even if it was stopped or broke; never on what lay there before.

    A report that fails then must not hide why the run ended.
    """
    before = _version_of(out)
    try:
        yield
    except BaseException:
        if _version_of(out) != before:
            try:
                _report(out, show)
            except Exception as error:
                print(f"paceline: the report could not be written: {error}", file=sys.stderr)
        raise
    if _version_of(out) != before:
        _report(out, show)


def _report(out: Path, show: Callable[[ReportPaths], None]) -> None:
    # Matplotlib takes a second to import: here, not before the first iteration.
    from paceline.report.write import write_report

    paths = write_report(out)
    with suppress(BrokenPipeError):  # everything is on disk; nobody has to read this
        show(paths)


def _version_of(out: Path) -> tuple[int, int] | None:
    try:
        status = (out / "results.json").stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _print_train_report(paths: ReportPaths) -> None:
    out = paths.text.parent
    print(f"\n{paths.verdict}\n\nreport      {paths.text}\ndashboard   {paths.picture}\npage        {paths.page}")
    if (out / "checkpoints").is_dir():
        print(
            f"checkpoints {out / 'checkpoints'}\nnext        paceline evaluate {shlex.quote(str(out))} --episodes 100"
        )
    sys.stdout.flush()


def _print_report(paths: ReportPaths) -> None:
    print(paths.text.read_text(encoding="utf-8"))
    print(f"report    {paths.text}\ndashboard {paths.picture}\npage      {paths.page}")
    if paths.plan is not None:
        print(f"plan      {paths.plan}   (paceline train ENV --plan {shlex.quote(str(paths.plan))})")
    sys.stdout.flush()


def _print_results(paths: ReportPaths) -> None:
    print((paths.text.parent / "results.json").read_text(encoding="utf-8"), end="", flush=True)


def _episodes(count: int) -> str:
    return "1 episode" if count == 1 else f"{count} episodes"


def _command(arguments: argparse.Namespace) -> str:
    words: list[str] = arguments.words
    return shlex.join(["paceline", *words])
