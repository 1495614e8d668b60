"""A measured window: step until it is long enough, count what were real steps, say where the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from paceline.bench.cases import MIN_BATCHES, PATIENCE
from paceline.measure.bench_result import STRAGGLER, WAKEUP
from paceline.measure.ledger import ENV_STEP, TRANSFER, UNATTRIBUTED
from paceline.vector.base import VecEnv

Stepper = Callable[[int], int]
"""Steps so many batches and returns how many environment steps these were."""

_LOOKS = 50
"""The clock is read about so many times a window: often enough to end it in time, too seldom to be felt."""
_PRIME_NS = 5_000_000
_SLOW_BATCH_NS = 50_000_000
"""A batch that takes longer than this is not run for the caches' sake alone."""


@dataclass(frozen=True)
class Window:
    """What one window saw.

    Attributes:
        num_env_steps: real steps.
        num_batches: vector steps, or batches of ``recv``.
        wall_ns: how long it took.
    """

    num_env_steps: int
    num_batches: int
    wall_ns: int


def run_window(step: Stepper, seconds: float, *, clock_ns: Callable[[], int] = perf_counter_ns) -> Window:
    """Step for ``seconds``, longer (up to :data:`PATIENCE` times) until there are :data:`MIN_BATCHES` batches.

    At least one batch is run, however long it takes.
    """
    least_ns = round(seconds * 1e9)
    steps = batches = 0
    chunk = 1
    begin_ns = clock_ns()
    while True:
        steps += step(chunk)
        batches += chunk
        wall_ns = clock_ns() - begin_ns
        if wall_ns >= least_ns and (batches >= MIN_BATCHES or wall_ns >= PATIENCE * least_ns):
            return Window(steps, batches, max(wall_ns, 1))
        chunk = max(1, int(batches * least_ns / (_LOOKS * max(wall_ns, 1))))
        chunk = min(chunk, max(1, batches))  # a guess from a few quick batches must not overshoot


class VecStepper:
    """Steps a vector environment as its user would.

    Args:
        venv: reset, with no step under way.
        batches: actions, each of as many rows as a batch has.
        path: ``send`` or ``step``.
    """

    def __init__(self, venv: VecEnv, batches: Sequence[Any], path: str) -> None:
        self._venv = venv
        self._batches = batches
        self._next = 0
        self._run: Stepper
        self._rows = venv.batch_size or venv.num_envs
        self._over = np.zeros(venv.num_envs, dtype=bool)
        self._counts_resets = venv.autoreset_mode is not AutoresetMode.SAME_STEP
        if self._rows < venv.num_envs:
            self._run = self._first_ready
        else:
            self._run = self._lockstep if path == "send" else self._step

    def __call__(self, count: int) -> int:
        """Step ``count`` batches and return how many rows were real steps."""
        return self._run(count)

    def begin(self, batch_ns: float = 0.0) -> None:
        """Bring caches, and what is under way, to the state of the middle of a long run.

        Args:
            batch_ns: how long a batch takes, as far as known.
        """
        if self._rows < self._venv.num_envs:
            everyone = np.arange(self._venv.num_envs)
            for first in range(0, len(everyone), self._rows):
                ids = everyone[first : first + self._rows]
                self._venv.send(_first_rows(self._batches[0], len(ids)), ids)
            self._run(-(-self._venv.num_envs // self._rows))
            return
        end_ns = perf_counter_ns() + _PRIME_NS
        while batch_ns < _SLOW_BATCH_NS and perf_counter_ns() < end_ns:
            self._run(1)

    def end(self) -> None:
        """Wait for what is under way; it counts for nothing."""
        left = self._venv.num_envs if self._rows < self._venv.num_envs else 0
        while left > 0:
            _, ids = self._venv.recv()
            left -= len(ids)

    def _lockstep(self, count: int) -> int:
        send, recv, batches = self._venv.send, self._venv.recv, self._batches
        resets = 0
        for index in range(self._next, self._next + count):
            send(batches[index % len(batches)])
            received = recv()
            if self._counts_resets:
                resets += int(received[0].reset_rows.sum())
        self._next += count
        return count * self._rows - resets

    def _first_ready(self, count: int) -> int:
        send, recv, batches = self._venv.send, self._venv.recv, self._batches
        resets = 0
        for index in range(self._next, self._next + count):
            batch, ids = recv()
            if self._counts_resets:
                resets += int(batch.reset_rows.sum())
            send(batches[index % len(batches)], ids)
        self._next += count
        return count * self._rows - resets

    def _step(self, count: int) -> int:
        step, batches = self._venv.step, self._batches
        resets = 0
        for index in range(self._next, self._next + count):
            _, _, terminated, truncated, _ = step(batches[index % len(batches)])
            if self._counts_resets:
                resets += int(self._over.sum())  # these rows were resets: their episodes had ended before
                self._over = terminated | truncated
        self._next += count
        return count * self._rows - resets


def _first_rows(tree: Any, count: int) -> Any:
    if isinstance(tree, Mapping):
        return {key: _first_rows(part, count) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_first_rows(part, count) for part in tree)
    return tree[:count]


class LoopStepper:
    """Steps environments in turn, in a bare loop: nothing that steps these environments in one thread is faster.

    Args:
        envs: freshly built.
        rows: actions of all of them, one list a step, played round and round.
        seed: of the first reset; environment i gets ``seed + i``.
    """

    def __init__(self, envs: Sequence[Any], rows: Sequence[Sequence[Any]], seed: int) -> None:
        self._envs = list(envs)
        self._rows = rows
        self._next = 0
        for index, env in enumerate(self._envs):
            env.reset(seed=seed + index)

    def __call__(self, count: int) -> int:
        """Step every environment ``count`` times."""
        envs, rows = self._envs, self._rows
        for index in range(self._next, self._next + count):
            for env, action in zip(envs, rows[index % len(rows)], strict=True):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
        self._next += count
        return count * len(envs)


@dataclass(frozen=True)
class Totals:
    """What a vector environment has counted so far, in seconds; means over its runners.

    Attributes:
        busy_s: a runner was in its environments.
        straggler_s: a runner had finished and others had not.
        wakeup_s: a runner had been signalled and had not begun.
        transfer_s: the caller copied and signalled.
    """

    busy_s: float
    straggler_s: float = 0.0
    wakeup_s: float = 0.0
    transfer_s: float = 0.0

    @classmethod
    def of(cls, venv: VecEnv) -> Totals:
        """Read the counters of ``venv``."""
        busy_s = float(venv.busy_ns().mean()) * 1e-9
        told = venv.statistics()
        waking = [runner.wakeups * runner.wakeup_latency_us * 1e-6 for runner in told.runners]
        wakeup_s = sum(waking) / len(waking) if waking and venv.num_env_runners else 0.0
        # Runners end one after the other: on average each waits for half of the time from first to last.
        return cls(busy_s, told.straggler_s / 2, wakeup_s, told.overhead_s)

    def __sub__(self, earlier: Totals) -> Totals:
        """Return what was counted since ``earlier``."""
        return Totals(
            self.busy_s - earlier.busy_s,
            self.straggler_s - earlier.straggler_s,
            self.wakeup_s - earlier.wakeup_s,
            self.transfer_s - earlier.transfer_s,
        )


def attribute(wall_s: float, spent: Totals) -> dict[str, float]:
    """Divide the wall time of a window, seen from an average runner, into phases that add up to it.

    A runner is in its environments; or it waits for the slowest, for its wake-up, or for the caller's copying; or for
    what nobody timed. The three in the middle are timed apart from each other and overlap where a runner wakes up while
    the caller signals the next one: then they are shortened in proportion.

    Args:
        wall_s: length of the window.
        spent: what was counted in it.
    """
    env_s = min(max(spent.busy_s, 0.0), wall_s)
    parts = {STRAGGLER: spent.straggler_s, WAKEUP: spent.wakeup_s, TRANSFER: spent.transfer_s}
    parts = {name: max(value, 0.0) for name, value in parts.items()}
    left_s, named_s = wall_s - env_s, sum(parts.values())
    if named_s > left_s:
        parts = {name: value * left_s / named_s for name, value in parts.items()}
    rest_s = max(0.0, wall_s - env_s - sum(parts.values()))
    return {ENV_STEP: env_s, **parts, UNATTRIBUTED: rest_s}
