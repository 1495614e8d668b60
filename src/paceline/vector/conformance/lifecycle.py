"""Checks of closing, of broken environments, and of ``statistics()``."""

from __future__ import annotations

from typing import Any

import numpy as np

from paceline.errors import EnvRaisedError
from paceline.vector.conformance.backend import SAME, BackendUnderTest
from paceline.vector.conformance.equality import copied, require, require_refused, require_same
from paceline.vector.statistics import VecStatistics


class LifecycleChecks(BackendUnderTest):
    """What happens at the end, what happens when an environment breaks, what can be known about it."""

    def test_close_can_come_at_any_time_and_twice(self) -> None:
        """Close before a reset, while steps are under way, again; then use it."""
        with self.opened() as venv:
            venv.close()
            require_refused("reset: after close", venv.reset)
        with self.twin(copy=True) as twin:
            venv = twin.venv
            observations, _ = venv.reset(seed=1)
            then = copied(observations)
            actions = twin.actions.batch(twin.steps, twin.all_ids)
            venv.send(actions)
            venv.close()
            venv.close()
            require(venv.closed, "closed is true after close")
            require_same(then, observations, "copy=True: observations outlive the vector environment")
            uses: dict[str, Any] = {
                "reset": venv.reset,
                "step": lambda: venv.step(actions),
                "send": lambda: venv.send(actions),
                "recv": venv.recv,
                "call": lambda: venv.call("render"),
                "get_attr": lambda: venv.get_attr("spec"),
                "set_attr": lambda: venv.set_attr("spec", None),
                "render": venv.render,
            }
            for name, use in uses.items():
                require_refused(f"{name}: after close", use)

    def test_statistics_add_up(self) -> None:
        """Count batches and steps by hand, in lockstep and first-ready."""
        with self.shared_twin(autoreset_mode=SAME, batch_size=2) as twin:
            venv, n = twin.venv, len(twin.all_ids)
            twin.reset(seed=1)
            fresh = venv.statistics()
            require(fresh.batches == fresh.env_steps == 0, "statistics begin with a reset of all environments")
            busy = venv.busy_ns()
            require(
                busy.shape == (max(venv.num_env_runners, 1),) and busy.dtype == np.int64,
                f"busy_ns is int64 [max(R, 1)], not {busy.dtype} {busy.shape}",
            )
            for _ in range(self.num_steps):
                twin.step()
            lockstep = venv.statistics()
            self._require_consistent(lockstep, n)
            require(lockstep.batches == self.num_steps, f"batches: {self.num_steps}, not {lockstep.batches}")
            require(lockstep.sampling_skew == 0.0, "sampling_skew is 0 where all are stepped alike")
            twin.send()
            batches = self.num_steps
            for _ in range(self.num_steps):
                twin.send(twin.receive())
                batches += 1
            while len(twin.under_way):
                twin.receive()
                batches += 1
            seen, steps = venv.statistics(), twin.steps
            self._require_consistent(seen, n)
            require(seen.batches == batches, f"batches: {batches}, not {seen.batches}")
            require_same(steps, seen.steps_of_env, "steps_of_env: rows that each environment returned")
            skew = (steps.max() - steps.min()) / steps.mean()
            require(abs(seen.sampling_skew - skew) < 1e-12, "sampling_skew is (most - fewest) / mean")
            fill = steps.sum() / (2 * batches)
            require(abs(seen.batch_fill - fill) < 1e-12, f"batch_fill is rows per batch / batch_size, {fill}")
            require(
                sum(runner.env_steps for runner in seen.runners) == steps.sum(),
                "runners have taken the steps that were returned, once all are drained",
            )
            require(bool((venv.busy_ns() >= busy).all()), "busy_ns never falls")
            require(seen.wall_s >= lockstep.wall_s and seen.wait_s >= lockstep.wait_s, "times never fall")
            twin.reset(seed=1)
            require(venv.statistics().env_steps == 0, "a reset of all environments begins the statistics anew")

    def _require_consistent(self, seen: VecStatistics, num_envs: int) -> None:
        times = (seen.wall_s, seen.wait_s, seen.overhead_s, seen.straggler_s, seen.batch_fill, seen.sampling_skew)
        require(all(value >= 0.0 for value in times), f"no time or share is negative: {seen}")
        require(seen.wait_s + seen.overhead_s <= seen.wall_s + 1e-6, f"waiting and overhead fit into the wall: {seen}")
        require(seen.steps_of_env.shape == (num_envs,), "steps_of_env has an entry for each environment")
        require(seen.env_steps == seen.steps_of_env.sum(), f"env_steps is the sum of steps_of_env: {seen}")
        require(seen.restarts == 0, "no environment was replaced")
        for runner in seen.runners:
            values = (runner.busy_s, runner.env_step_us, runner.wait_s, runner.wakeup_latency_us)
            require(all(value >= 0.0 for value in values), f"no time of a runner is negative: {runner}")
            require(runner.busy_s <= seen.wall_s + 1e-6, f"a runner is not busy for longer than the wall: {runner}")
        if seen.runners:
            require(
                sum(runner.num_envs for runner in seen.runners) == num_envs,
                "runners share out the environments, no more and no fewer",
            )

    def test_a_broken_environment_is_named(self) -> None:
        """Let one environment raise; the error says which, with which seed, in which step, after which action."""
        if not self.runs_own_envs:
            return
        env = "synthetic:faulty?fault=raise&at=3&only_seed=7"
        with self.opened(env) as venv:
            n = venv.num_envs
            culprit = n - 2
            venv.reset(seed=[7 if k == culprit else k + 100 for k in range(n)])
            actions = np.arange(n, dtype=np.int64) % 2
            venv.step(actions)
            venv.send(actions[[culprit]], [culprit])  # one step more than the others
            venv.recv()
            try:
                venv.step(actions)
            except EnvRaisedError as error:
                told = (error.env_index, error.seed, error.step, error.action)
                expected = (culprit, 7, 3, int(actions[culprit]))
                require(told == expected, f"the error names env, seed, step and last action: {expected}, not {told}")
                require("RuntimeError" in error.original_traceback, "the error carries the original traceback")
            else:
                raise AssertionError("an environment that raises ends the vector environment with EnvRaisedError")
            require_refused("step: after an environment broke", venv.step, actions)
