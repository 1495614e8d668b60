"""A case's process, seen from the bench: how it is started, and what a case may take."""

from __future__ import annotations

from collections.abc import Callable

from paceline.bench.cases import PROFILE, RUN_CASE, Case
from paceline.bench.spec import BenchSpec
from paceline.isolation.conversation import Conversation, Watch
from paceline.machine import thread_environment


def watch_case(timeout_s: float, memory_bytes: int, should_stop: Callable[[], bool]) -> Watch:
    """Return what the answers of a case are bounded by."""
    return Watch(
        timeout_s,
        memory_bytes,
        should_stop,
        whose="the bench's",
        wait_longer="see whether the environment waits for something, or give it longer (--case-timeout-s)",
    )


def start_case(case: Case, spec: BenchSpec, watch: Watch) -> Conversation:
    """Start the process of ``case``."""
    request = {
        "task": RUN_CASE,
        "env": spec.env.model_dump(mode="json"),
        "backend": case.backend,
        "num_envs": case.num_envs,
        "num_env_runners": case.num_env_runners,
        "actions": spec.actions,
        "path": spec.path,
        "batch_size": spec.batch_size,
        "infos": spec.infos,
        "seed": spec.seed,
    }
    return Conversation(request, watch, thread_environment(1))


def start_profile(spec: BenchSpec, watch: Watch) -> Conversation:
    """Start the process that looks at one environment by itself."""
    request = {
        "task": PROFILE,
        "env": spec.env.model_dump(mode="json"),
        "actions": spec.actions,
        "seconds": max(0.5, spec.seconds),
        "seed": spec.seed,
    }
    return Conversation(request, watch, thread_environment(1))
