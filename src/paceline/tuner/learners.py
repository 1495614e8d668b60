"""What the learner computes with: threads and device, as axes of a tuning."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.machine import Machine
from paceline.spec import RunSpec
from paceline.tuner.candidates import Pruned
from paceline.tuner.spec import TuneSpec

_THREADS_GAIN = 0.5
"""With k times the threads an update is assumed to be k^0.5 times as fast; the race finds out."""


@dataclass(frozen=True)
class LearnerKind:
    """A number of threads and a device.

    Attributes:
        threads: of the learner's mathematics.
        device: ``auto``, ``cpu`` or ``gpu``.
        mark: what it adds to the name of a plan; empty for that of the run itself.
        speed: of an update, as assumed, in units of that of the run itself.
    """

    threads: int
    device: str
    mark: str
    speed: float

    def applied(self, run: RunSpec) -> RunSpec:
        """Return ``run`` with this learner."""
        plan = run.plan.model_copy(update={"learner_threads": self.threads, "device": self.device})
        return run.model_copy(update={"plan": plan})


def learner_kinds(spec: TuneSpec, base: RunSpec, machine: Machine) -> tuple[list[LearnerKind], list[Pruned]]:
    """Return the learners that plans are tried with, that of the run first, and those that cannot be.

    Without being asked, one thread is tried beside all cores where those are what the run would take (images).

    Args:
        spec: with the axes ``learner_threads`` and ``devices``.
        base: the run with every field filled in.
        machine: what it runs on.
    """
    own = base.plan.learner_threads or 1
    asked = spec.learner_threads or ((own, 1) if spec.base.plan.learner_threads is None else (own,))
    found: list[LearnerKind] = []
    pruned: list[Pruned] = []
    for device in dict.fromkeys(spec.devices or (base.plan.device,)):
        if device == "gpu" and not machine.gpus:
            pruned.append(Pruned("device gpu", machine.gpu_note or "no GPU was found on this machine"))
            continue
        for threads in dict.fromkeys(asked):
            if spec.max_cores is not None and threads > spec.max_cores:
                continue
            marks = [f"{threads} thread{'s' if threads > 1 else ''}"] if threads != own else []
            marks += [device] if device != base.plan.device else []
            mark = "".join(f" {one}" for one in marks)
            found.append(LearnerKind(threads, device, mark, (threads / own) ** _THREADS_GAIN))
    return found, pruned
