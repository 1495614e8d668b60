"""Watches what a run's processes hold, so that it ends with a checkpoint rather than by the kernel's hand."""

from __future__ import annotations

from paceline.errors import OutOfMemoryError
from paceline.isolation.memory import size_text
from paceline.measure.result import ResourceUse

WARN_FROM = 0.80
"""Share of the machine's (or its container's) memory limit from which a run warns."""
STOP_FROM = 0.95
"""Share from which it stops, while there is room left to save."""


class MemoryWatch:
    """Compares a run's memory with the limit after every iteration; warns once."""

    def __init__(self) -> None:
        self._warned = False

    def look(self, use: ResourceUse) -> str:
        """Return a warning, or an empty string.

        Resident memory counts shared pages in every process, so it only says where there is no danger; beyond that
        the proportional set size counts, where the kernel tells it.

        Raises:
            OutOfMemoryError: hardly anything is left.
        """
        limit = use.memory_limit_bytes
        if use.rss_bytes < WARN_FROM * limit:
            return ""
        held = use.rss_bytes if use.pss_bytes is None else use.pss_bytes
        if held >= STOP_FROM * limit:
            raise OutOfMemoryError(
                f"stopped at {STOP_FROM:.0%} of the memory limit: expected to stay below {size_text(limit)}, got "
                f"{size_text(held)} in {use.num_processes} processes; use fewer environments or a smaller "
                f"algo.batch_size, then go on with --resume"
            )
        if held < WARN_FROM * limit or self._warned:
            return ""
        self._warned = True
        return (
            f"memory: {size_text(held)} of {size_text(limit)} are in use ({held / limit:.0%}); the run will be saved "
            f"and stopped at {STOP_FROM:.0%}"
        )
