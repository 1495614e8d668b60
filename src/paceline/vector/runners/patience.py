"""How to wait for another process: park, or look a little longer first.

A process that parks gives its core away and is woken by the kernel; where the core fell asleep meanwhile, that takes
20 to 60 µs, which is much where a step takes 300. One that looks again and again for a while is there within 5 µs, but
holds its core. So it depends on the cores, and on how long the last waits were.
"""

from __future__ import annotations

from typing import Literal

Waiting = Literal["park", "yield", "spin"]
"""``park``: sleep at once. ``yield``: look again for a while, and let whoever wants the core have it in between.
``spin``: look again for a while, on a core that nobody else needs."""

_LONGEST_NS = 400_000
"""A wait longer than this is not worth looking out for: a wake-up is a tenth of it."""
_LEAST_NS = 60_000


def choose_waiting(num_runners: int, num_cores: float) -> Waiting:
    """Return how runners wait for their next step.

    Args:
        num_runners: R.
        num_cores: cores' worth of time that this program may use.

    Returns:
        ``spin`` if each runner and the learner have a core of their own; ``yield`` if the runners have one each, so
        that only the learner, which acts while they wait, may want it; ``park`` with more runners than cores: each
        look would take time from a runner that has something to do.
    """
    if num_runners + 1 <= num_cores:
        return "spin"
    return "yield" if num_runners <= num_cores else "park"


class Patience:
    """Decides from the last wait how long to look out in the next one.

    Args:
        waiting: how to wait; ``park`` never looks out.

    Attributes:
        looks: whether it ever looks out.
        budget_ns: how long to look before parking.
    """

    def __init__(self, waiting: Waiting) -> None:
        self.looks = waiting != "park"
        self.yields = waiting == "yield"
        self.budget_ns = 0

    def waited(self, wait_ns: int) -> None:
        """Learn from a wait; after a long one (an update of the learner, say) the next one parks."""
        if self.looks:
            self.budget_ns = max(_LEAST_NS, 2 * wait_ns) if wait_ns < _LONGEST_NS else 0
