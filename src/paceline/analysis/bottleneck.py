"""What holds a run back, read from its ledger.

The ledger is the learner process's wall clock, cut into phases that add up. A phase that takes the share p of it bounds
what its removal can give: at most 1/(1-p) times the speed (Amdahl's law with a perfect part). It is an upper bound, not
a promise: what is removed from one place often waits in another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paceline.measure.ledger import (
    CHECKPOINT,
    ENV_STEP,
    INFERENCE,
    LEARNER_UPDATE,
    LOGGING,
    OTHER,
    RUNNER_GRADIENT,
    RUNNER_WAIT,
    TRANSFER,
    UNATTRIBUTED,
)
from paceline.measure.result import LedgerRecord, ResourceUse

Bound = Literal[
    "env-bound", "IPC-bound", "inference-bound", "transfer-bound", "gradient-bound", "learner-bound",
    "memory-bound", "overhead-bound", "balanced", "unknown",
]  # fmt: skip
Processor = Literal["cpu", "gpu", "neither", "unknown"]

PHASE_LABELS: dict[str, str] = {
    ENV_STEP: "environment steps",
    RUNNER_WAIT: "waiting for runners",
    INFERENCE: "inference",
    TRANSFER: "transfer",
    RUNNER_GRADIENT: "runners' gradients",
    LEARNER_UPDATE: "learner update",
    LOGGING: "logging",
    CHECKPOINT: "checkpoints",
    OTHER: "other",
    UNATTRIBUTED: "unattributed",
}
"""The name of every phase for people."""

_BOUNDS: dict[str, Bound] = {
    ENV_STEP: "env-bound", RUNNER_WAIT: "IPC-bound", INFERENCE: "inference-bound", TRANSFER: "transfer-bound",
    RUNNER_GRADIENT: "gradient-bound", LEARNER_UPDATE: "learner-bound",
}  # fmt: skip
_WHO: dict[Bound, str] = {
    "env-bound": "Stepping the environments",
    "IPC-bound": "Waiting for the runner processes (wake-ups, stragglers)",
    "inference-bound": "Turning observations into actions",
    "transfer-bound": "Copying between environments, storage and device",
    "gradient-bound": "Taking gradients in the runners",
    "learner-bound": "The learner's update",
    "overhead-bound": "Work around the training (logging, checkpoints, bookkeeping, unattributed time)",
    "balanced": "No single phase",
}

BALANCED_BELOW = 0.35
"""Where the largest share is below this, no phase deserves the blame."""
MEMORY_BOUND_FROM = 0.9
"""From this share of the memory limit on, memory decides what else can be done."""
BUSY_FROM = 0.8
"""From this utilisation on a processor counts as busy."""


@dataclass(frozen=True, slots=True)
class PhaseShare:
    """One phase of the ledger.

    Attributes:
        phase: ledger name (``env_step`` ..; see :mod:`paceline.measure.ledger`).
        label: the name for people (``environment steps``).
        seconds: seconds per iteration.
        percent: share of wall time; the shares of a bottleneck add up to 100.
        speedup_if_removed: 1/(1-share), the upper bound of what a perfect removal of the phase would give.
    """

    phase: str
    label: str
    seconds: float
    percent: float
    speedup_if_removed: float


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What bounds a run.

    Attributes:
        verdict: the bound.
        sentences: two sentences that a person understands: what holds the run back, what removing it could give.
        shares: every phase, largest first; percents add up to 100.
        limiting_phase: ledger name of the phase behind the verdict, "" where there is none.
        speedup_if_removed: upper bound of the gain, 1/(1-share) (overhead: all its phases); 1.0 where unknown.
        advice: what to try first (one sentence).
        processor: which processor limits: ``cpu``, ``gpu``, ``neither`` or ``unknown`` (not measured).
    """

    verdict: Bound
    sentences: tuple[str, str]
    shares: tuple[PhaseShare, ...]
    limiting_phase: str
    speedup_if_removed: float
    advice: str
    processor: Processor = "unknown"


def upper_bound_speedup(share: float) -> float:
    """Return 1/(1-share): how much faster a run could be at most if a phase of that share cost nothing.

    Args:
        share: fraction of wall time; 1 gives infinity.
    """
    return math.inf if share >= 1.0 else 1.0 / (1.0 - max(share, 0.0))


def phase_shares(ledger: LedgerRecord, *, iterations: int = 1) -> tuple[PhaseShare, ...]:
    """Return the share of every phase, largest first; percents add up to 100.

    Wall time that the phases do not claim is added to ``unattributed``. Phases that claim more than the wall time
    (clock granularity, or a file of another program) are scaled to it. Empty where nothing was measured.

    Args:
        ledger: seconds per phase over ``iterations`` iterations.
        iterations: how many iterations it covers.
    """
    seconds = {name: value for name, value in ledger.phases.items() if math.isfinite(value) and value > 0.0}
    claimed = math.fsum(seconds.values())
    if math.isfinite(ledger.wall_s) and ledger.wall_s > claimed:
        seconds[UNATTRIBUTED] = seconds.get(UNATTRIBUTED, 0.0) + ledger.wall_s - claimed
    total = math.fsum(seconds.values())
    if total <= 0.0:
        return ()
    wall_s = ledger.wall_s if math.isfinite(ledger.wall_s) and ledger.wall_s > 0.0 else total
    shares = [
        PhaseShare(
            phase=name,
            label=PHASE_LABELS.get(name, name.replace("_", " ")),
            seconds=value / total * wall_s / max(iterations, 1),
            percent=100.0 * value / total,
            speedup_if_removed=upper_bound_speedup(value / total),
        )
        for name, value in seconds.items()
    ]
    return tuple(sorted(shares, key=lambda share: -share.percent))


def find_bottleneck(
    ledger: LedgerRecord | None,
    resources: ResourceUse | None = None,
    *,
    num_env_runners: int = 0,
    iterations: int = 1,
    out_of_memory: bool = False,
) -> Bottleneck:
    """Say what bounds a run.

    The verdict is the largest of: environment steps, waiting for runners, inference, transfer, gradients taken in
    runners, learner update, and everything else together. Memory comes first where the run ended for lack of it, or
    holds 90 % of the limit.

    Args:
        ledger: seconds per phase, None where nothing was measured.
        resources: what the process tree used, None where not measured.
        num_env_runners: R of the plan; decides the advice.
        iterations: how many iterations the ledger covers (for seconds per iteration).
        out_of_memory: the run was ended for lack of memory.
    """
    shares = phase_shares(ledger, iterations=iterations) if ledger else ()
    processor = _limiting_processor(resources)
    memory = memory_fraction(resources)
    if out_of_memory or (memory is not None and memory >= MEMORY_BOUND_FROM):
        return _memory_bound(shares, memory, processor, out_of_memory)
    if not shares:
        sentences = ("What holds this run back is unknown.", "It left no ledger of its wall time.")
        return Bottleneck("unknown", sentences, (), "", 1.0, "Run it again to measure where its time goes.", processor)
    verdict, phase, share = _largest(shares)
    seconds = math.fsum(item.seconds for item in shares)
    spent = f"{share:.0%} of the wall time, on average {share * seconds:.3g} s of each {seconds:.3g} s iteration"
    gain = upper_bound_speedup(share)
    if verdict == "balanced":
        first = f"No single phase holds this run back: the largest, {shares[0].label}, takes {spent}."
    else:
        first = f"{_WHO[verdict]} holds this run back: it takes {spent}."
    second = f"If that cost nothing, the run would be at most {_times(gain)} as fast as it is."
    return Bottleneck(
        verdict, (first, second), shares, phase, gain, _advice(verdict, num_env_runners, processor), processor
    )


def memory_fraction(resources: ResourceUse | None) -> float | None:
    """Return peak memory of the process tree / memory limit, None where unknown.

    PSS counts shared pages once and is taken where it was read; RSS counts them once per process and is an upper bound.
    """
    if resources is None or resources.memory_limit_bytes <= 0:
        return None
    return peak_memory_bytes(resources) / resources.memory_limit_bytes


def peak_memory_bytes(resources: ResourceUse) -> int:
    """Return the peak memory of the process tree in bytes: PSS where known, else RSS."""
    return resources.peak_pss_bytes or resources.pss_bytes or resources.peak_rss_bytes or resources.rss_bytes


def _memory_bound(
    shares: tuple[PhaseShare, ...], memory: float | None, processor: Processor, out_of_memory: bool
) -> Bottleneck:
    held = "more than there is" if out_of_memory or memory is None else f"{memory:.0%} of its limit"
    first = f"Memory holds this run back: it needs {held}."
    second = "Speed does not matter until it fits; fewer environments or a smaller batch need less."
    advice = "Use fewer runners or fewer envs per runner, or raise the memory limit."
    return Bottleneck("memory-bound", (first, second), shares, "", 1.0, advice, processor)


def _largest(shares: Sequence[PhaseShare]) -> tuple[Bound, str, float]:
    """Return verdict, limiting phase and its share (fraction)."""
    named = {share.phase: share.percent / 100.0 for share in shares if share.phase in _BOUNDS}
    overhead = math.fsum(share.percent for share in shares if share.phase not in _BOUNDS) / 100.0
    phase, share = max(named.items(), key=lambda item: item[1], default=("", 0.0))
    if max(overhead, share) < BALANCED_BELOW:
        return "balanced", shares[0].phase, shares[0].percent / 100.0
    if overhead > share:
        # The phase to name is the largest of the overhead's own; the share is that of all of it.
        return "overhead-bound", next(item.phase for item in shares if item.phase not in _BOUNDS), overhead
    return _BOUNDS[phase], phase, share


def _limiting_processor(resources: ResourceUse | None) -> Processor:
    if resources is None:
        return "unknown"
    gpu = max((sample.utilization_percent or 0.0 for sample in resources.gpus), default=0.0) / 100.0
    if gpu >= BUSY_FROM and gpu >= resources.cpu_utilization:
        return "gpu"
    return "cpu" if resources.cpu_utilization >= BUSY_FROM else "neither"


def _advice(verdict: Bound, num_env_runners: int, processor: Processor) -> str:
    if verdict == "env-bound":
        if processor == "cpu":
            return (
                "The cores are busy with it: a cheaper or natively vectorised environment, or more cores, would help."
            )
        more = "runners" if num_env_runners else "runner processes (num_env_runners 1 or more)"
        return f"Try more {more}: environment steps are what runners share."
    return {
        "IPC-bound": "Try more envs per runner (fewer wake-ups per step), or fewer runners than cores.",
        "inference-bound": "Try more envs per inference call, or a smaller network.",
        "transfer-bound": "Try a longer rollout or smaller observations, so that fewer bytes are copied per step.",
        "gradient-bound": "Try more runners: each takes the gradients of its own rollouts.",
        "learner-bound": "More runners will not help: try fewer epochs, larger minibatches or more learner threads.",
        "overhead-bound": "Log and save less often; if most of it is unattributed, please report it as a bug.",
    }.get(verdict, "There is no single thing to change; compare plans by sweep.")


def _times(factor: float) -> str:
    return (
        "any number of times" if math.isinf(factor) else f"{factor:.2g} times" if factor < 10 else f"{factor:.0f} times"
    )
