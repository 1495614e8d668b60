"""One piece of work at a time, on a thread of its own or on the caller's, whichever is free to begin it.

``send`` must start a step, so that the caller's own work overlaps with it; but a hand-over to another thread costs as
much as a dozen environment steps. So work is put up for both: the thread begins it as soon as the caller lets it run
(waits, or computes outside the interpreter), and a caller that asks for the result before anybody has begun does the
work itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter_ns
from typing import Generic, TypeVar

T = TypeVar("T")

_CALLER_IS_QUICKER = 8
"""After so many pieces in a row that the caller did itself, the thread is no longer woken for each."""
_LOOK_AGAIN = 64
"""But for one piece in so many."""


class _Job(Generic[T]):
    """A piece of work and what became of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: T | None = None
        self._error: BaseException | None = None
        self.submitted_ns = perf_counter_ns()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Dispatcher(Generic[T]):
    """Does work in the order in which it is submitted, never two pieces at once, for one caller.

    The thread starts with the first work. It is a daemon and holds no reference to the dispatcher's owner between two
    pieces of work, so that a forgotten owner is collected. A caller that has always been quicker than the thread, time
    after time, is not slowed by waking it; now and then it is woken nevertheless, to see whether that has changed.

    Args:
        has_thread: whether there is a thread at all; without, the caller does everything when it asks for the result.

    Attributes:
        latency_ns: nanoseconds between submission and beginning, added up.
    """

    def __init__(self, *, has_thread: bool = True) -> None:
        self._has_thread = has_thread
        self._todo: deque[_Job[T]] = deque()
        self._done: SimpleQueue[_Job[T]] = SimpleQueue()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self._num_submitted = 0
        self._done_by_caller = 0
        self.latency_ns = 0

    def submit(self, work: Callable[[], T]) -> None:
        """Put work up."""
        if not self._has_thread:
            self._todo.append(_Job(work))
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="paceline-native", daemon=True)
            self._thread.start()
        self._todo.append(_Job(work))
        self._num_submitted += 1
        if self._done_by_caller < _CALLER_IS_QUICKER or self._num_submitted % _LOOK_AGAIN == 0:
            self._wake.put(True)

    def next_result(self) -> T:
        """Return the result of the next piece of work, which this thread does if nobody has begun it.

        Raises:
            BaseException: what the work raised.
        """
        if self._done.empty():
            if self._busy.acquire(blocking=False):
                try:
                    if self._done.empty():
                        return self._do_it()
                finally:
                    self._busy.release()
            else:
                self._wake.put(True)  # the thread may be about to rest, and not have been woken for this piece
        job = self._done.get()
        self._done_by_caller = 0
        return job.result()

    def clear(self) -> None:
        """Forget work that has not begun, and results that were not asked for; wait for what is being done."""
        self._todo.clear()
        with self._busy:
            while not self._done.empty():
                self._done.get()

    def close(self, timeout: float | None = None) -> bool:
        """Let the thread end after what it is doing; return whether it has, within ``timeout`` seconds."""
        self._todo.clear()
        if self._thread is None:
            return True
        self._wake.put(False)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _do_it(self) -> T:
        job = self._todo.popleft()
        self._done_by_caller += 1
        self._run(job)
        if self._todo and self._has_thread:
            self._wake.put(True)
        return job.result()

    def _serve(self) -> None:
        while self._wake.get():
            if not self._busy.acquire(blocking=False):
                continue  # the caller was quicker, and wakes this thread if there is more
            try:
                job = self._todo.popleft()
                self._run(job)
                self._done.put(job)
                del job
            except IndexError:
                pass
            finally:
                self._busy.release()

    def _run(self, job: _Job[T]) -> None:
        self.latency_ns += perf_counter_ns() - job.submitted_ns
        job.run()
