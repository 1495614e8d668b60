"""What the failures of some plans tell of others.

Where a plan ran out of memory, all that are expected to hold as much are ruled out. Where two plans of a kind, or of
two kinds of a backend, failed alike, those are that are as large or larger, in every way in which size may be the
cause: environments in a process, runners, environments in all. A way is out of the question once a plan that is as
large has been measured. So a limit of the environment (four to a process, two licences) costs a few failures, and so
does a backend that does not work at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from paceline.spec import Plan
from paceline.tuner.arena import Failed
from paceline.tuner.candidates import Candidate
from paceline.tuner.space import envs_in_process

_ALIKE = 2
"""So many alike failures are no accident."""
_HOPELESS = 3
"""After so many, with nothing of the backend measured, its smallest plan is tried before any other."""

_SIZES: Mapping[str, Callable[[Plan], int]] = {
    "environments in a process": envs_in_process,
    "runners": lambda plan: plan.num_env_runners,
    "environments": lambda plan: plan.num_envs,
}


def ruled_out(
    candidates: Sequence[Candidate], failures: Mapping[int, Failed], measured: Collection[int]
) -> dict[int, str]:
    """Return the plans that failures rule out, and why; those that failed or were measured are not among them.

    Args:
        candidates: all plans.
        failures: of all that failed so far.
        measured: plans that were measured; those among them that failed later do not count as working.
    """
    rest = [index for index in range(len(candidates)) if index not in measured and index not in failures]
    found: dict[int, str] = {}
    alike: dict[tuple[str, str, str], list[int]] = {}
    for index, failed in failures.items():
        if failed.outcome == "oom":
            found |= _as_heavy(candidates, index, rest)
        else:
            backend = candidates[index].kind[0]
            alike.setdefault((backend, failed.outcome, failed.error_type), []).append(index)
    for (backend, outcome, error_type), failed_alike in alike.items():
        if len(failed_alike) >= _ALIKE:
            kinds = {candidates[index].kind for index in failed_alike}
            kin = [
                index
                for index, candidate in enumerate(candidates)
                if (candidate.kind in kinds if len(kinds) == 1 else candidate.kind[0] == backend)
            ]
            worked = [index for index in kin if index in measured and index not in failures]
            names = " and ".join(candidates[index].name for index in failed_alike[:2])
            why = f"{names} failed alike ({error_type or outcome})"
            family = "the same kind" if len(kinds) == 1 else "the same backend"
            found |= _as_large(candidates, failed_alike, worked, sorted({*kin} & {*rest}), why, family)
    return found


def _as_heavy(candidates: Sequence[Candidate], index: int, rest: Sequence[int]) -> dict[int, str]:
    one = candidates[index]
    why = f"{one.name} ran out of memory, and this is expected to hold as much"
    return {other: why for other in rest if candidates[other].memory_bytes >= one.memory_bytes}


def _as_large(
    candidates: Sequence[Candidate],
    alike: Sequence[int],
    worked: Sequence[int],
    rest: Sequence[int],
    why: str,
    family: str,
) -> dict[int, str]:
    limits = _limits([candidates[index].plan for index in alike], [candidates[index].plan for index in worked])
    found = {}
    for index in rest:
        if limits and all(_SIZES[name](candidates[index].plan) >= limit for name, limit in limits.items()):
            found[index] = f"{why}, and this has as many {' and '.join(limits)}"
    left = [index for index in rest if index not in found]
    if not worked and len(alike) >= _HOPELESS and left:
        smallest = min(left, key=lambda index: candidates[index].plan.num_envs)
        found |= {index: f"{why}, and nothing of {family} has worked" for index in left if index != smallest}
    return found


def _limits(failed: Sequence[Plan], worked: Sequence[Plan]) -> dict[str, int]:
    """Return from which size on plans failed, for each size that may be the cause."""
    found = {}
    for name, size in _SIZES.items():
        limit = min(map(size, failed))
        if all(size(plan) < limit for plan in worked):
            found[name] = limit
    return found
