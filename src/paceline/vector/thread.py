"""Environments in threads of this process: for those that release the GIL while they compute, or wait.

Nothing is copied or pickled, and nothing is started but threads. Environments written in Python compute one at a time
whatever the number of threads; :mod:`paceline.vector.choose` measures which kind an environment is.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from paceline.envs import EnvFactory
from paceline.errors import EnvTimeoutError, PacelineError
from paceline.vector.arrays import IDLE, Layout
from paceline.vector.batched import BatchedVecEnv, Infos, Mask, VecOptions
from paceline.vector.env_list import build_envs, call_envs, set_values, spread_values
from paceline.vector.faults import Fault
from paceline.vector.flight import EnvIds
from paceline.vector.group import EnvGroup, plain_action
from paceline.vector.infos import InfoRecord
from paceline.vector.processes import partition
from paceline.vector.spaces import take_row

_CLOSE_GRACE_S = 3.0


class _Stepped(NamedTuple):
    """What a thread has to say: environments that it stepped (within the group; None: all), or an error."""

    slot: int
    indices: list[int] | None
    records: list[InfoRecord]
    faults: list[Fault]
    error: BaseException | None


class ThreadVecEnv(BatchedVecEnv):
    """N environments in R threads.

    A thread cannot be ended from outside: an environment that hangs is reported after ``step_timeout_s``, and its
    thread is left behind until the program ends.

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
        self._results: SimpleQueue[_Stepped] = SimpleQueue()
        self._queues: list[SimpleQueue[list[int] | tuple[()] | None]] = []
        self._threads = []
        for slot, group in enumerate(self._groups):
            queue: SimpleQueue[Any] = SimpleQueue()
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

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute, and return the results."""
        self._check_usable("call")
        return call_envs(self.envs, name, args, kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list or tuple of N."""
        self._check_usable("set_attr")
        set_values(self.envs, name, spread_values(values, self.num_envs))

    def render(self) -> tuple[Any, ...] | None:
        """Return what each environment renders."""
        return self.call("render")

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
        for thread, group in zip(self._threads, self._groups, strict=True):
            thread.join(max(0.0, deadline - monotonic()))
            if not thread.is_alive():  # else one of its environments hangs, and cannot be closed
                group.close()

    def _slot_sizes(self) -> list[int]:
        return [len(part) for part in self._parts]

    def _start(self, env_ids: EnvIds | None) -> None:
        if env_ids is None:
            self._arrays.sent_ns.fill(perf_counter_ns())
            for queue in self._queues:
                queue.put(None)
            return
        if self._timeout_s is not None:
            self._sent_s[env_ids] = monotonic()
        bounds = [*np.searchsorted(env_ids, self._starts).tolist(), len(env_ids)]
        for slot, queue in enumerate(self._queues):
            if bounds[slot] < bounds[slot + 1]:
                self._arrays.sent_ns[slot] = perf_counter_ns()
                queue.put((env_ids[bounds[slot] : bounds[slot + 1]] - self._starts[slot]).tolist())

    def _finish_all(self) -> Infos:
        deadline = None if self._timeout_s is None else monotonic() + self._timeout_s
        records: dict[int, list[InfoRecord]] = {}
        failures: dict[int, BaseException] = {}
        for _ in self._queues:
            done = self._next(deadline)
            records[done.slot] = done.records
            if done.error is not None:
                failures[done.slot] = done.error
            self._took_faults(done.faults)
        if failures:
            raise failures[min(failures)]
        return [record for slot in range(self.num_env_runners) for record in records[slot]]

    def _finish_some(self) -> tuple[EnvIds, Infos]:
        deadline = None
        if self._timeout_s is not None:
            under_way = self._flight.under_way(range(self.num_envs))
            deadline = float(self._sent_s[under_way].min()) + self._timeout_s
        done = self._next(deadline)
        if done.error is not None:
            raise done.error
        self._took_faults(done.faults)
        return np.asarray(done.indices, np.int64) + self._starts[done.slot], done.records

    def _next(self, deadline: float | None) -> _Stepped:
        try:
            return self._results.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            stuck = [cursor for cursor in self._arrays.cursors.tolist() if cursor != IDLE]
            index = stuck[0] if stuck else None
            raise EnvTimeoutError(
                f"expected a step or reset of all environments within step_timeout_s {self._timeout_s}, but an "
                f"environment has not returned; raise step_timeout_s, or find out what it waits for",
                env_index=index,
                seed=None if index is None else self.env_seeds[index],
                action=None if index is None else plain_action(take_row(self._arrays.actions, index)),
            ) from None

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        self._drain()  # resets run on this thread, while the others rest
        records: list[InfoRecord] = []
        for group, part in zip(self._groups, self._parts, strict=True):
            rows = slice(part.start, part.stop)
            chosen = None if mask is None else mask[rows].tolist()
            if chosen is None or any(chosen):
                records += group.reset(seeds[rows], options, chosen)
                self._took_faults(group.take_faults())
        return records

    def _release(self) -> None:
        self._finalizer()


def _work(slot: int, group: EnvGroup, queue: SimpleQueue[Any], results: SimpleQueue[_Stepped], counters: Any) -> None:
    """Step environments of the group one list after the other, each list's as they come; end at an empty tuple."""
    wakeups, latency_ns, sent_ns = counters
    while (indices := queue.get()) != ():
        wakeups[slot] += 1
        latency_ns[slot] += perf_counter_ns() - sent_ns[slot]
        chunks = [None] if indices is None else [[index] for index in indices]
        for chunk in chunks:
            records: list[InfoRecord] = []
            failure: BaseException | None = None
            try:
                records = group.step(chunk)
            except PacelineError as error:
                failure = error
            results.put(_Stepped(slot, chunk, records, group.take_faults(), failure))


def _dismiss(queues: Sequence[SimpleQueue[Any]]) -> None:
    for queue in queues:
        queue.put(())
