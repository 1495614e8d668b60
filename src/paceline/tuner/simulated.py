"""A simulated arena: machines and environments of known cost, to study the race without a machine.

A plan's true speed follows from phase costs that the predicting model does not know: it is given others, that are off
by factors of their own for each kind of plan. On top of that comes what real machines do: every process is a little
faster or slower than its twins, slices are noisy, neighbours come in bursts, the clock rate drifts and is throttled at
some moment, and some plans run out of memory or break. Time is a number that opening and measuring move forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paceline.spec import Plan
from paceline.tuner.arena import Failed, Measured, Opened
from paceline.tuner.candidates import Candidate


@dataclass(frozen=True)
class World:
    """One machine with one environment and one algorithm; all times in microseconds.

    Attributes:
        cores: usable cores.
        env_us: CPU time of a step.
        wait_us: what a step waits besides, for something outside.
        cv: spread of a step.
        infer_us: acting, for however many environments.
        infer_each_us: acting, for each of them.
        wake_us: from the learner to a runner and back.
        update_us: an update, by step of its batch.
        batch_size: steps of an update.
        native_gain: how many times faster native code steps this environment; 0: there is none.
        env_bytes: memory of one environment.
        memory_bytes: of the machine.
    """

    cores: int
    env_us: float
    wait_us: float
    cv: float
    infer_us: float
    infer_each_us: float
    wake_us: float
    update_us: float
    batch_size: int
    native_gain: float
    env_bytes: float
    memory_bytes: float

    def sps(self, plan: Plan) -> float:
        """Return the true steps per second of a plan."""
        runners, each = plan.num_env_runners, plan.num_envs_per_env_runner
        width, step_us = plan.num_envs, self.env_us + self.wait_us
        if runners == 0:
            step = self.infer_us + width * (self.infer_each_us + step_us)
        elif plan.resolved_backend == "native":
            busy = width * self.env_us / self.native_gain
            step = self.infer_us + width * self.infer_each_us + busy / min(runners, self.cores) + 0.5 * self.wake_us
        else:
            computing = max(each, width / self.cores) * self.env_us * (1.0 + 0.03 * math.log2(runners + 1))
            straggler = self.cv * step_us * math.sqrt(each) * math.sqrt(2 * math.log(runners + 1))
            if plan.inference == "runner":
                acting = (self.infer_us + each * self.infer_each_us) * max(1.0, runners / self.cores)
                step = acting + computing + each * self.wait_us + 0.3 * straggler
            else:
                stepping = self.wake_us * (1 + 0.2 * runners) + computing + each * self.wait_us + straggler
                acting = self.infer_us + width * self.infer_each_us
                step = acting + stepping
                if plan.schedule == "pipelined":
                    step = max(acting + self.infer_us, stepping) + self.wake_us
        per_step_us = step / width + self.update_us
        return 1e6 / per_step_us


@dataclass(frozen=True)
class Troubles:
    """What else a machine does; standard deviations are of log SPS.

    Attributes:
        noise: from slice to slice of a second; longer ones have less.
        process: from process to process.
        drift: of a slow walk.
        throttle_at_s: when the clock rate falls; None: never.
        throttle: to which share of it.
        burst_chance: that a slice is disturbed.
        burst: by how much, at most.
        broken: kinds of plans that cannot be started.
    """

    noise: float = 0.02
    process: float = 0.01
    drift: float = 0.03
    throttle_at_s: float | None = None
    throttle: float = 0.8
    burst_chance: float = 0.03
    burst: float = 0.4
    broken: frozenset[tuple[str, str, str]] = frozenset()


class SimulatedArena:
    """An arena in no time.

    Args:
        candidates: the plans.
        true_sps: what each really gives, ``[n]``.
        troubles: what else happens.
        memory_bytes: what fits.
        seed: of everything random.

    Attributes:
        processes: number of each process that is alive -> its plan, and by how much it differs from its twins.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        true_sps: Sequence[float],
        troubles: Troubles,
        *,
        memory_bytes: float = math.inf,
        seed: int = 0,
    ) -> None:
        self._candidates = candidates
        self._log_sps = np.log(true_sps)
        self._troubles = troubles
        self._memory_bytes = memory_bytes
        self._random = np.random.default_rng(seed)
        self._now_s = 0.0
        self._drift = 0.0
        self.processes: dict[int, tuple[int, float]] = {}
        self._next = 0

    def now_s(self) -> float:
        """Return the simulated time."""
        return self._now_s

    def open(self, candidate: int) -> Opened | Failed:
        """Start a process, which takes as long as is expected of it, more or less."""
        one = self._candidates[candidate]
        self._pass(one.start_s * float(self._random.uniform(0.8, 1.3)))
        if one.kind in self._troubles.broken:
            return Failed("crash", "it cannot be pickled", "EnvError")
        if one.memory_bytes > self._memory_bytes:
            return Failed("oom", "its processes held too much")
        self._next += 1
        self.processes[self._next] = (candidate, float(self._random.normal(0.0, self._troubles.process)))
        return Opened(self._next, one.memory_bytes)

    def measure(self, process: int, seconds: float) -> Measured | Failed:
        """Measure a slice."""
        candidate, own = self.processes[process]
        iteration_s = self._candidates[candidate].iteration_s
        wall_s = iteration_s * max(1, math.ceil(seconds / iteration_s))
        noise = self._random.normal(0.0, self._troubles.noise * wall_s**-0.3)
        log_sps = self._log_sps[candidate] + own + self._drift + noise
        if self._random.random() < self._troubles.burst_chance:
            log_sps -= self._random.uniform(0.0, self._troubles.burst)
        if self._troubles.throttle_at_s is not None and self._now_s >= self._troubles.throttle_at_s:
            log_sps += math.log(self._troubles.throttle)
        begin_s = self._now_s
        self._pass(wall_s)
        return Measured(float(np.exp(log_sps)), wall_s, begin_s + wall_s / 2)

    def close(self, process: int) -> None:
        """End a process."""
        self.processes.pop(process, None)

    def end(self) -> None:
        """End all processes."""
        self.processes.clear()

    def _pass(self, seconds: float) -> None:
        self._now_s += seconds
        stay = math.exp(-seconds / 100.0)
        spread = self._troubles.drift * math.sqrt(1 - stay**2)
        self._drift = self._drift * stay + float(self._random.normal(0.0, spread))
