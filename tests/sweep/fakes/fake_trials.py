"""Entry points that stand in for training: each ends in its own way. They load no JAX and take no time."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline.errors import EnvRaisedError, NonFiniteLossError, UnsupportedSpaceError
from paceline.measure.result import ExperimentConfig, IterationRecord, LedgerRecord, RunResult, Summary
from paceline.spec import RunSpec

OnIteration = Callable[[IterationRecord], None]


def record(spec: RunSpec, number: int, **fields: Any) -> IterationRecord:
    """Make an iteration whose speed follows from the plan: 1,000 SPS an environment."""
    steps = spec.algo.batch_size or 0
    sps = 1000.0 * spec.plan.num_envs
    wall_s = steps / sps
    return IterationRecord(
        iteration=number,
        wall_s=wall_s,
        num_env_steps=steps,
        sps=sps,
        total_env_steps=steps * (number + 1),
        ledger=LedgerRecord(wall_s=wall_s, phases={"env_step": wall_s, "unattributed": 0.0}),
        **fields,
    )


def finished(spec: RunSpec, records: list[IterationRecord]) -> RunResult:
    """Make the result of a run that went well."""
    wall_s = sum(item.wall_s for item in records)
    steps = sum(item.num_env_steps for item in records)
    return RunResult(
        name="whatever the entry point calls it",
        config=ExperimentConfig(num_env_runners=9, num_envs_per_env_runner=9, total_envs=81),
        outcome="ok",
        env_id=spec.env.id,
        plan=spec.plan.model_dump(mode="json"),
        algo=spec.algo.model_dump(mode="json"),
        summary=Summary(
            avg_time_per_iter_s=wall_s / len(records),
            avg_sps=steps / wall_s,
            sps_ci95=None,
            total_training_time_s=wall_s,
            num_iterations=len(records),
            num_env_steps=steps,
            batch_size=spec.algo.batch_size or 0,
            num_envs=spec.plan.num_envs,
            warmup_iterations=1,
            setup_s=0.0,
            compile_s=0.0,
            warmup_s=0.0,
        ),
        iterations=tuple(records),
        ledger=LedgerRecord(wall_s=wall_s, phases={"env_step": wall_s, "unattributed": 0.0}),
    )


def finish(spec: RunSpec, *, iterations: int, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Finish at once, noisily."""
    print('{"event": "result", "result": "an environment may print anything"}')
    records = [record(spec, number) for number in range(iterations)]
    for item in records:
        on_iteration(item)
    return finished(spec, records)


def report_surroundings(spec: RunSpec, *, name: str, repeat: int, warmup_iterations: int, **_: Any) -> RunResult:
    """Tell what the process is like."""
    result = finished(spec, [record(spec, 0)])
    facts = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "stdin": sys.stdin.read(),
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "pythonpath": os.environ.get("PYTHONPATH"),
        "jax": "jax" in sys.modules,
        "arguments": [name, repeat, warmup_iterations],
    }
    return result.model_copy(update={"threads": facts})


def emit_nan_metrics(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Report figures that JSON does not have."""
    item = record(spec, 0, episode_return_mean=float("nan"), metrics={"loss": 0.5, "kl": float("inf")})
    on_iteration(item)
    return finished(spec, [item])


def raise_bug(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Fail after one iteration with an error that paceline does not know."""
    on_iteration(record(spec, 0))
    raise ZeroDivisionError("bananas\nover two lines")


def raise_env_error(spec: RunSpec, **_: Any) -> RunResult:
    """Fail at reset, with a message that differs in its numbers only."""
    raise EnvRaisedError("the environment raised KeyError in reset", env_index=spec.plan.num_envs - 1, seed=spec.seed)


def raise_env_error_with_runners(spec: RunSpec, *, iterations: int, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Fail at reset in runner processes only."""
    if spec.plan.num_env_runners:
        raise EnvRaisedError("the environment raised KeyError in reset")
    return finish(spec, iterations=iterations, on_iteration=on_iteration)


def raise_unsupported(spec: RunSpec, **_: Any) -> RunResult:
    """Refuse the request."""
    raise UnsupportedSpaceError("expected a Box of numbers, got Text; wrap the environment")


def raise_nan(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Meet NaN after two iterations."""
    on_iteration(record(spec, 0))
    on_iteration(record(spec, 1))
    raise NonFiniteLossError("expected a finite loss, got nan in update 3; lower the learning rate")


def raise_memory_error(spec: RunSpec, **_: Any) -> RunResult:
    """Ask for more than there is."""
    raise MemoryError


def raise_memory_error_of_xla(spec: RunSpec, **_: Any) -> RunResult:
    """Fail the way that XLA's allocator does."""
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99999999999 bytes")


def exit_hard(spec: RunSpec, **_: Any) -> RunResult:
    """Leave without a word to the sweep."""
    print("the simulator says goodbye", flush=True)
    os._exit(3)


def exit_softly(spec: RunSpec, **_: Any) -> RunResult:
    """Call sys.exit, as environments with a window do when it is closed."""
    sys.exit(0)


def kill_itself(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Die as the kernel's out-of-memory killer has processes die."""
    on_iteration(record(spec, 0))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def fault(spec: RunSpec, **_: Any) -> RunResult:
    """Read address 0."""
    ctypes.string_at(0)
    raise AssertionError


def hang(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Finish one iteration and never the next."""
    on_iteration(record(spec, 0))
    threading.Event().wait()
    raise AssertionError


def hang_deaf(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Hang, and do not listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return hang(spec, on_iteration=on_iteration)


def unwind_when_stopped(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Hang, and put things away when asked to stop."""
    try:
        return hang(spec, on_iteration=on_iteration)
    finally:
        Path(spec.env.kwargs["put_away"]).write_text("done")


def break_when_stopped(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Hang, and turn the request to stop into an error, as a library may that is in the middle of something."""
    try:
        return hang(spec, on_iteration=on_iteration)
    except BaseException as stopped:
        raise RuntimeError("a module could not be loaded") from stopped


def linger(spec: RunSpec, *, iterations: int, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Deliver the result, then keep the process alive with a thread that is no daemon."""
    threading.Thread(target=threading.Event().wait).start()
    return finish(spec, iterations=iterations, on_iteration=on_iteration)


def eat_memory(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Hold 300 MiB, in a child, and wait."""
    on_iteration(record(spec, 0))
    multiprocessing.get_context("spawn").Process(target=_hold, args=(300 * 2**20,), daemon=True).start()
    threading.Event().wait()
    raise AssertionError


def _hold(num_bytes: int) -> None:
    memory = bytearray(b"x") * num_bytes  # every page is written to
    threading.Event().wait()
    del memory


def leave_strays(spec: RunSpec, *, iterations: int, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Finish, and leave two processes behind: one in the group, one that made itself a session of its own."""
    near = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    far = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"], start_new_session=True)
    result = finish(spec, iterations=iterations, on_iteration=on_iteration)
    return result.model_copy(update={"threads": {"strays": [near.pid, far.pid]}})


def strays_then_hang(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Leave two processes behind, write their pids and mine to the file that the spec names, and hang."""
    near = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    far = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"], start_new_session=True)
    path = Path(spec.env.kwargs["pids"])
    path.with_suffix(".tmp").write_text(f"{os.getpid()} {near.pid} {far.pid}")
    path.with_suffix(".tmp").rename(path)
    return hang(spec, on_iteration=on_iteration)


def hang_at_third_point(spec: RunSpec, *, iterations: int, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Finish, except at the third point that runs: there leave strays and hang. A file counts the runs."""
    counter = Path(spec.env.kwargs["counter"])
    runs = len(counter.read_text().splitlines()) if counter.exists() else 0
    with counter.open("a") as file:
        file.write(f"{spec.plan.label} {spec.seed}\n")
    if runs == 2:
        return strays_then_hang(spec, on_iteration=on_iteration)
    return finish(spec, iterations=iterations, on_iteration=on_iteration)


def report_nonsense(spec: RunSpec, **_: Any) -> RunResult:
    """Return a result that lacks everything."""
    return RunResult.model_construct(message="half a result")


def report_no_time(spec: RunSpec, *, on_iteration: OnIteration, **_: Any) -> RunResult:
    """Report an iteration that took no time, then fail."""
    on_iteration(record(spec, 0).model_copy(update={"wall_s": 0.0}))
    os._exit(1)


def fill_in(run: RunSpec) -> RunSpec:
    """Resolve as the presets of continuous control would."""
    algo = run.algo
    filled = {"batch_size": algo.batch_size or 2048, "minibatch_size": algo.minibatch_size or 64}
    return run.model_copy(update={"algo": algo.model_copy(update=filled)})


def fill_in_nothing(run: RunSpec) -> RunSpec:
    """Fail to resolve: the environment refuses."""
    raise UnsupportedSpaceError("expected a Box of numbers, got Text; wrap the environment")


def fill_in_and_die(run: RunSpec) -> RunSpec:
    """Take the process along."""
    os._exit(7)


def fill_in_never(run: RunSpec) -> RunSpec:
    """Wait for a key press that never comes."""
    threading.Event().wait()
    return run
