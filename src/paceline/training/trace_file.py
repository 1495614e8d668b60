"""A trace of a training run's first iterations, but for the very first one, as a file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from paceline.errors import OutputError
from paceline.measure.ledger import LOGGING, Ledger, LedgerEntry
from paceline.measure.result import IterationRecord, dump_json
from paceline.measure.store import write_atomically
from paceline.measure.trace import Tracer

ITERATIONS = 3
"""So many are traced, or fewer where these fill a trace, or the run has fewer."""


class TraceFile:
    """Traces iterations 1 to :data:`ITERATIONS` of a run and writes them; the run goes on without a trace then.

    Args:
        path: the file.
        ledger: of the run.
        title: what is traced.

    Attributes:
        message: where the trace is, or why there is none; empty until that is known.
    """

    def __init__(self, path: Path, ledger: Ledger, title: str) -> None:
        self._path = path
        self._ledger = ledger
        self._title = title
        self._tracer = Tracer()
        self._tracing = ExitStack()
        self._num_traced = -1
        self.message = ""

    def next(self, record: IterationRecord) -> None:
        """Go on after an iteration; its ledger has just been cut."""
        if self.message:
            return
        if self._num_traced < 0:
            self._tracing.enter_context(self._ledger.traced(self._tracer))
        else:
            entry, use = LedgerEntry(record.ledger.wall_s, record.ledger.phases), record.resources
            cores_busy = None if use is None else use.cores_used
            self._tracer.end_iteration(self._ledger.start_ns, record.num_env_steps, entry, cores_busy)
        self._num_traced += 1
        if self._num_traced >= ITERATIONS or self._tracer.is_full:
            self.close()
        else:
            self._tracer.begin_iteration(self._ledger.start_ns)

    def close(self) -> None:
        """Write what was traced; may be called twice. A file that cannot be written does not end the run."""
        self._tracing.close()
        if self.message:
            return
        if self._num_traced < 1:
            self.message = "no trace: the run ended before its second iteration did"
            return
        try:
            with self._ledger.phase(LOGGING):
                write_atomically(self._path, dump_json(self._tracer.document(self._title)).encode())
            count = "1 iteration" if self._num_traced == 1 else f"{self._num_traced} iterations"
            self.message = f"trace of {count}: {self._path}; open it at ui.perfetto.dev"
        except OutputError as error:
            self.message = f"no trace: {error}"
