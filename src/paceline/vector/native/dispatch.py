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
    """Does work in the order in which it is submitted, never two pieces at once.

    The thread starts with the first work. It is a daemon and holds no reference to the dispatcher's owner between two
    pieces of work, so that a forgotten owner is collected.

    Attributes:
        latency_ns: nanoseconds between submission and beginning, added up.
    """

    def __init__(self) -> None:
        self._todo: deque[_Job[T]] = deque()
        self._done: SimpleQueue[_Job[T]] = SimpleQueue()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self.latency_ns = 0

    def submit(self, work: Callable[[], T]) -> None:
        """Put work up."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="paceline-native", daemon=True)
            self._thread.start()
        self._todo.append(_Job(work))
        self._wake.put(True)

    def next_result(self) -> T:
        """Return the result of the next piece of work, which this thread does if nobody has begun it.

        Raises:
            BaseException: what the work raised.
        """
        if self._done.empty() and self._busy.acquire(blocking=False):
            try:
                if self._done.empty():
                    job = self._todo.popleft()
                    self._run(job)
                    return job.result()
            finally:
                self._busy.release()
        return self._done.get().result()

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

    def _serve(self) -> None:
        while self._wake.get():
            with self._busy:
                try:
                    job = self._todo.popleft()
                except IndexError:  # the caller was quicker
                    continue
                self._run(job)
                self._done.put(job)
                del job

    def _run(self, job: _Job[T]) -> None:
        self.latency_ns += perf_counter_ns() - job.submitted_ns
        job.run()
