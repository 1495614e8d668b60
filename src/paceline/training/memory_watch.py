"""Watches what a run's processes hold, so that it ends with a checkpoint rather than by the kernel's hand."""

from __future__ import annotations

from paceline.errors import OutOfMemoryError
from paceline.isolation.memory import size_text
from paceline.measure.monitor import PSS_MATTERS_FROM
from paceline.measure.result import ResourceUse

WARN_FROM = PSS_MATTERS_FROM
"""Share of the machine's (or its container's) memory limit from which a run warns."""
STOP_FROM = 0.95
"""Share from which it stops, while there is room left to save."""
ROOM_TO_SAVE_BYTES = 4 * 2**30
"""Room that is enough on any machine: with so much left to anybody no run stops because others hold the rest."""


class MemoryWatch:
    """Compares, after every iteration, a run's memory with the limit and what is left to anybody; warns once."""

    def __init__(self) -> None:
        self._warned = False

    def look(self, use: ResourceUse) -> str:
        """Return a warning, or an empty string.

        Resident memory counts shared pages in every process, so it only says where there is no danger; beyond that
        the proportional set size counts, where the kernel tells it. Neither knows of others on the machine: a run also
        stops when hardly anything is left to anybody.

        Raises:
            OutOfMemoryError: hardly anything is left.
        """
        limit, left = use.memory_limit_bytes, use.memory_available_bytes
        held = use.rss_bytes
        if held >= WARN_FROM * limit and use.pss_bytes is not None:
            held = use.pss_bytes
        needed = min((1 - STOP_FROM) * limit, ROOM_TO_SAVE_BYTES)
        if held >= STOP_FROM * limit:
            raise OutOfMemoryError(
                f"stopped at {STOP_FROM:.0%} of the memory limit: expected to stay below {size_text(limit)}, got "
                f"{size_text(held)} in {use.num_processes} processes; use fewer environments or a smaller "
                f"algo.batch_size, then go on with --resume"
            )
        if left is not None and left < needed:
            raise OutOfMemoryError(
                f"stopped for want of memory: expected {size_text(needed)} to be left on the machine or in its "
                f"container, got {size_text(left)} beside this run's {size_text(held)}; end what else holds memory, "
                f"or use fewer environments, then go on with --resume"
            )
        if self._warned:
            return ""
        if held >= WARN_FROM * limit:
            warning = (
                f"memory: {size_text(held)} of {size_text(limit)} are in use ({held / limit:.0%}); the run will be "
                f"saved and stopped at {STOP_FROM:.0%}"
            )
        elif left is not None and left < 2 * needed:
            warning = (
                f"memory: {size_text(left)} of {size_text(limit)} are left, this run holds {size_text(held)}; it will "
                f"be saved and stopped when less than {size_text(needed)} is left"
            )
        else:
            return ""
        self._warned = True
        return warning
