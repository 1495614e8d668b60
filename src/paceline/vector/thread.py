"""Environments in threads of this process: for those that release the GIL while they compute, or wait.

Nothing is copied or pickled, and nothing is started but threads. Environments written in Python compute one at a time
whatever the number of threads; :mod:`paceline.vector.choose` measures which kind an environment is.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter_ns
from typing import Any, Literal, NamedTuple

import numpy as np

from paceline.envs import EnvFactory
from paceline.errors import EnvTimeoutError
from paceline.vector.arrays import IDLE, Layout
from paceline.vector.batched import Mask, VecOptions
from paceline.vector.env_list import build_envs
from paceline.vector.faults import Fault
from paceline.vector.group import EnvGroup
from paceline.vector.infos import InfoRecord, Infos
from paceline.vector.local import LocalVecEnv
from paceline.vector.runners.processes import partition, timeout_message
from paceline.vector.selection import Selection

_CLOSE_GRACE_S = 3.0


class _Reset(NamedTuple):
    """Told to a thread: reset the environments of its group that ``mask`` chooses."""

    seeds: list[int | None]
    options: dict[str, Any] | None
    mask: list[bool] | None


_Task = list[int] | _Reset | Literal["end"] | None
"""Told to a thread: step these of its group one by one, reset some, close them and end; None: step all of them."""


class _Done(NamedTuple):
    """What a thread has to say: environments that it stepped or reset (of its group; None: all), or an error."""

    slot: int
    indices: list[int] | None
    records: list[InfoRecord]
    faults: list[Fault]
    error: BaseException | None


class ThreadVecEnv(LocalVecEnv):
    """N environments in R threads.

    A thread cannot be ended from outside: an environment that hangs is reported after ``step_timeout_s`` (which no
    policy mends), and its thread is left behind until the program ends. Environments are built in the caller's thread;
    they are stepped, reset and closed in their own.

    Args:
        factories: N of them, each builds one environment (in this thread).
        num_threads: R, 1 to N.
        options: what every backend is told alike.
        step_timeout_s: longest time for a step or reset of all environments; None waits for ever.

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        EnvError: an environment cannot be built.
    """

    backend = "thread"

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        num_threads: int,
        options: VecOptions,
        step_timeout_s: float | None = None,
    ) -> None:
        super().__init__(len(factories), options)
        self.num_env_runners = num_threads
        self._timeout_s = step_timeout_s
        envs = build_envs(factories, first=0)
        first = envs[0]
        layout = Layout(first.observation_space, first.action_space, len(envs), num_threads, options.autoreset_mode)
        arrays = layout.arrays_over(np.zeros(layout.nbytes, np.uint8))
        arrays.cursors.fill(IDLE)
        self._parts = partition(len(envs), num_threads)
        self._starts = np.array([part.start for part in self._parts])
        self._groups = [
            EnvGroup(
                envs[part.start : part.stop], arrays, first=part.start, slot=slot,
                autoreset_mode=options.autoreset_mode, infos=options.infos,
                factories=factories[part.start : part.stop], policy=options.faults,
            )
            for slot, part in enumerate(self._parts)
        ]  # fmt: skip
        self._adopt(first.observation_space, first.action_space, arrays, dict(first.metadata), first.render_mode)
        self.spec = first.spec
        self._results: SimpleQueue[_Done] = SimpleQueue()
        self._queues: list[SimpleQueue[_Task]] = []
        self._threads: list[threading.Thread] = []
        self._hung: set[int] = set()
        for slot, group in enumerate(self._groups):
            queue: SimpleQueue[_Task] = SimpleQueue()
            counters = (arrays.wakeups.data, arrays.wake_latency_ns.data, arrays.sent_ns.data)
            thread = threading.Thread(
                target=_work, args=(slot, group, queue, self._results, counters), daemon=True,
                name=f"paceline-runner-{slot}",
            )  # fmt: skip
            thread.start()
            self._queues.append(queue)
            self._threads.append(thread)
        self._sent_s = np.zeros(len(envs))
        self._finalizer = weakref.finalize(self, _dismiss, self._queues)

    @property
    def envs(self) -> list[Any]:
        """The environments."""
        return [env for group in self._groups for env in group.envs]

    def runner_pids(self) -> tuple[int, ...]:
        """Return nothing: runners are threads of this process."""
        return ()

    def close_extras(self, timeout: float | None = None, **kwargs: Any) -> None:
        """End the threads and close the environments.

        Args:
            timeout: seconds to wait for threads that are in the middle of a step (default 3).
            **kwargs: ignored.
        """
        if not hasattr(self, "_finalizer"):
            return
        self._finalizer()
        deadline = monotonic() + (_CLOSE_GRACE_S if timeout is None else timeout)
        for slot, thread in enumerate(self._threads):
            thread.join(0.0 if slot in self._hung else max(0.0, deadline - monotonic()))
        left = [slot for slot, thread in enumerate(self._threads) if thread.is_alive() and slot not in self._hung]
        if left:
            warnings.warn(
                f"expected the threads to close their environments in time, but runner {left[0]} has not; its thread "
                f"is left behind, and its environments stay open, until the program ends",
                RuntimeWarning,
                stacklevel=2,
            )

    def _slot_sizes(self) -> list[int]:
        return [len(part) for part in self._parts]

    def _start(self, chosen: Selection | None) -> None:
        if chosen is None:
            self._arrays.sent_ns.fill(perf_counter_ns())
            for queue in self._queues:
                queue.put(None)
            return
        if self._timeout_s is not None:
            self._sent_s[chosen.rows] = monotonic()
        for slot, ids, _ in chosen.parts(self._starts):
            self._arrays.sent_ns[slot] = perf_counter_ns()
            self._queues[slot].put((ids - self._starts[slot]).tolist())

    def _finish_all(self) -> Infos:
        records = self._await_all(range(self.num_env_runners))
        return [record for slot in sorted(records) for record in records[slot]]

    def _await_all(self, slots: Iterable[int]) -> dict[int, list[InfoRecord]]:
        """Wait for one answer of each of these runners; return their infos."""
        deadline = None if self._timeout_s is None else monotonic() + self._timeout_s
        records: dict[int, list[InfoRecord]] = {}
        failures: dict[int, BaseException] = {}
        awaited = set(slots)
        while awaited:
            done = self._next(deadline, awaited)
            awaited.remove(done.slot)
            records[done.slot] = done.records
            if done.error is not None:
                failures[done.slot] = done.error
            self._took_faults(done.faults)
        if failures:
            raise failures[min(failures)]
        return records

    def _finish_some(self, wanted: Selection | None) -> tuple[list[int], Infos]:
        deadline, suspects = None, {0}
        if self._timeout_s is not None:
            under_way = self._flight.under_way(range(self.num_envs))
            oldest = int(under_way[self._sent_s[under_way].argmin()])
            deadline = float(self._sent_s[oldest]) + self._timeout_s
            suspects = {int(np.searchsorted(self._starts, oldest, side="right")) - 1}
        done = self._next(deadline, suspects)
        if done.error is not None:
            raise done.error
        self._took_faults(done.faults)
        first = self._parts[done.slot].start
        return [first + index for index in done.indices or ()], done.records

    def _next(self, deadline: float | None, suspects: set[int]) -> _Done:
        """Return what the next thread has to say.

        Args:
            deadline: monotonic seconds; None: wait for ever.
            suspects: runners of which one hangs if nothing comes in time.

        Raises:
            EnvTimeoutError: nothing came in time.
        """
        try:
            return self._results.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            self._hung |= suspects
            cursors = self._arrays.cursors[sorted(suspects)].tolist()
            index = next((cursor for cursor in cursors if cursor != IDLE), None)
            raise EnvTimeoutError(
                f"{timeout_message(self._timeout_s)}; its thread is left behind until the program ends",
                env_index=index,
                **({} if index is None else self._last_known(index)),
            ) from None

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        self._drain()  # answers to resets and steps come by the same queue
        slots = []
        for slot, part in enumerate(self._parts):
            rows = slice(part.start, part.stop)
            chosen = None if mask is None else mask[rows].tolist()
            if chosen is None or any(chosen):
                slots.append(slot)
                self._queues[slot].put(_Reset(seeds[rows], options, chosen))
        records = self._await_all(slots)
        return [record for slot in slots for record in records[slot]]

    def _release(self) -> None:
        self._finalizer()


def _work(slot: int, group: EnvGroup, queue: SimpleQueue[_Task], results: SimpleQueue[_Done], counters: Any) -> None:
    """Step environments of the group one list after the other, each list's as they come; in the end close them."""
    wakeups, latency_ns, sent_ns = counters
    while (task := queue.get()) != "end":
        if isinstance(task, _Reset):
            results.put(_do(slot, group, None, partial(group.reset, *task)))
            continue
        wakeups[slot] += 1
        latency_ns[slot] += perf_counter_ns() - sent_ns[slot]
        for chunk in [None] if task is None else [[index] for index in task]:
            results.put(_do(slot, group, chunk, partial(group.step, chunk)))
    group.close()


def _do(slot: int, group: EnvGroup, indices: list[int] | None, call: Callable[[], list[InfoRecord]]) -> _Done:
    """Return what a thread has to say of a call; a thread that ended by an error would say nothing for ever."""
    try:
        return _Done(slot, indices, call(), group.take_faults(), None)
    except BaseException as error:
        return _Done(slot, indices, [], group.take_faults(), error)


def _dismiss(queues: Sequence[SimpleQueue[_Task]]) -> None:
    for queue in queues:
        queue.put("end")
