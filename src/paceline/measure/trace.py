"""A trace of a few iterations: when the learner's process was at what, for ``ui.perfetto.dev`` and Chrome.

While it is on, a :class:`Tracer` sees every reading of the ledger's clock. The loops that read it say afterwards what
lay between two readings, so the events are the very intervals that the ledger adds up, and the loops are the same,
traced or not. Where waiting is divided among phases by what runners did meanwhile, only the sums are known: such an
interval is one event, :data:`WAITING`, and its division stands with its iteration. Of actors, begin and end of every
fragment are known; of runners that only step, how long they were busy in each rollout.

The file is that of the Trace Event Format: times in microseconds, complete events (``X``), counters (``C``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline.measure.ledger import LedgerEntry

TRACE_FILE = "trace.json"
WAITING = "waiting for runners"
MOST_EVENTS = 100_000
"""No further iteration is traced once there are so many: pages that show traces become slow."""
_PID, _LEARNER = 1, 0

Event = dict[str, Any]


@dataclass(frozen=True)
class _Span:
    name: str
    begin_ns: int
    end_ns: int
    args: Mapping[str, Any] = field(default_factory=dict)


class Tracer:
    """Keeps what happened while it was on; see :meth:`paceline.measure.ledger.Ledger.traced`.

    Attributes:
        num_events: how many there are so far.
    """

    def __init__(self) -> None:
        self._readings: list[int] = []
        self._learner: list[_Span] = []
        self._iterations: list[_Span] = []
        self._actors: dict[int, list[_Span]] = {}
        self._counters: list[tuple[str, int, float]] = []
        self._divided_ns: dict[str, int] = {}
        self._begin_ns = 0

    @property
    def num_events(self) -> int:
        """How many events there are so far."""
        return len(self._learner) + len(self._counters) + sum(map(len, self._actors.values()))

    @property
    def is_full(self) -> bool:
        """Whether no further iteration should be traced."""
        return self.num_events >= MOST_EVENTS

    def watching(self, clock_ns: Callable[[], int]) -> Callable[[], int]:
        """Return a clock that tells the time of ``clock_ns`` and keeps it."""
        keep = self._readings.append

        def read() -> int:
            now_ns = clock_ns()
            keep(now_ns)
            return now_ns

        return read

    def begin_iteration(self, begin_ns: int) -> None:
        """Begin an iteration when the ledger's interval began."""
        self._begin_ns = begin_ns
        self._readings.clear()
        self._divided_ns = {}

    def end_iteration(self, end_ns: int, num_env_steps: int, entry: LedgerEntry, cores_busy: float | None) -> None:
        """End an iteration when the ledger was cut.

        Args:
            end_ns: when that was.
            num_env_steps: real steps of the iteration.
            entry: its ledger.
            cores_busy: CPU seconds of the process tree per second; None where it is not known.
        """
        sps = num_env_steps / entry.wall_s
        args = {
            "num_env_steps": num_env_steps,
            "steps_per_s": sps,
            "ledger_s": entry.phases,
            "waiting_s": {name: 1e-9 * taken for name, taken in self._divided_ns.items()},
        }
        name = f"iteration {len(self._iterations)}"
        self._iterations.append(_Span(name, self._begin_ns, end_ns, args))
        self._counters.append(("steps per second", self._begin_ns, sps))
        if cores_busy is not None:
            self._counters.append(("cores busy", self._begin_ns, cores_busy))

    def phase(self, name: str, begin_ns: int, end_ns: int) -> None:
        """Keep an interval that belongs to one phase."""
        self._learner.append(_Span(name, begin_ns, end_ns))

    def rollout(self, between: Sequence[str], divided_ns: Mapping[str, int], busy_ns: Sequence[int]) -> None:
        """Keep a rollout.

        Args:
            between: what lay between each two of the last readings of the clock: a phase, or :data:`WAITING`.
            divided_ns: phase -> its part of the waiting.
            busy_ns: how long each runner stepped meanwhile; empty where there is none.
        """
        readings = self._readings[-len(between) - 1 :]
        self._readings.clear()
        for name, begin_ns, end_ns in zip(between, readings[:-1], readings[1:], strict=True):
            last = self._learner[-1] if self._learner else None
            if last is not None and last.name == name and last.end_ns == begin_ns:
                self._learner[-1] = _Span(name, last.begin_ns, end_ns)
            else:
                self._learner.append(_Span(name, begin_ns, end_ns))
        self._divide(divided_ns)
        wall_ns = max(readings[-1] - readings[0], 1)
        for index, taken in enumerate(busy_ns):
            self._counters.append((f"runner {index} busy", readings[0], taken / wall_ns))

    def waited(self, begin_ns: int, end_ns: int, divided_ns: Mapping[str, int]) -> None:
        """Keep an interval in which the learner waited for actors, and its division among phases."""
        self._learner.append(_Span(WAITING, begin_ns, end_ns))
        self._divide(divided_ns)

    def fragment(self, actor: int, begin_ns: int, wall_ns: int, phases_ns: Mapping[str, int]) -> None:
        """Keep a fragment of an actor, with what it took by phase."""
        args = {"phases_s": {name: 1e-9 * taken for name, taken in phases_ns.items()}}
        self._actors.setdefault(actor, []).append(_Span("fragment", begin_ns, begin_ns + wall_ns, args))

    def document(self, title: str) -> dict[str, Any]:
        """Return the trace as JSON data, events in order of time.

        Args:
            title: what was traced.
        """
        spans = {_LEARNER: [*self._iterations, *self._learner]}
        spans |= {actor + 1: found for actor, found in self._actors.items()}
        origin_ns = min((span.begin_ns for found in spans.values() for span in found), default=0)

        def at_us(time_ns: int) -> float:
            return round((time_ns - origin_ns) * 1e-3, 3)

        events: list[Event] = [
            {"ph": "X", "name": span.name, "ts": at_us(span.begin_ns), "dur": (span.end_ns - span.begin_ns) / 1000,
             "pid": _PID, "tid": track, **({"args": dict(span.args)} if span.args else {})}
            for track, found in spans.items()
            for span in found
        ]  # fmt: skip
        events += [
            {"ph": "C", "name": name, "ts": at_us(begin_ns), "pid": _PID, "args": {name: value}}
            for name, begin_ns, value in self._counters
        ]
        events.sort(key=lambda event: (event["ts"], -event.get("dur", 0.0)))
        named = {_LEARNER: "learner", **{actor + 1: f"actor {actor}" for actor in sorted(self._actors)}}
        names = [_named("process_name", title), *(_named("thread_name", name, track) for track, name in named.items())]
        return {"traceEvents": [*names, *events], "displayTimeUnit": "ms"}

    def _divide(self, divided_ns: Mapping[str, int]) -> None:
        for name, taken in divided_ns.items():
            self._divided_ns[name] = self._divided_ns.get(name, 0) + taken


def _named(what: str, name: str, track: int = _LEARNER) -> Event:
    return {"ph": "M", "name": what, "pid": _PID, "tid": track, "args": {"name": name}}
