"""The learner's side of the actors: starting them, asking for fragments, replacing those that die or hang."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.errors import EnvError, EnvTimeoutError, PacelineError, RunnerDiedError
from paceline.rollout.fragments import Fragment, FragmentLayout, FragmentMemory
from paceline.spec import RunSpec
from paceline.training.actors.messages import BeginWork, BuildEnvs, Built
from paceline.vector.faults import replacement_seed
from paceline.vector.runners.ending import CLOSE_GRACE_S, Descriptor, end_runners
from paceline.vector.runners.launch import RunnerProcess, make_launcher, modules_to_preload
from paceline.vector.runners.memory import create_block, grow_block
from paceline.vector.runners.placement import CorePlacement, spread_cores, usable_cores
from paceline.vector.runners.readiness import Readiness, RunnerEnded
from paceline.vector.runners.wakeup import num_done, step_some

ACTOR_ENTRY = "paceline.training.actors.actor:main"
_STARTUP_S = 300.0
_LOOK_EVERY_S = 1.0


class ActorPool:
    """R actors with E environments each.

    Each fragment is asked for (:meth:`ask`), and told of when it is complete (:meth:`wait`); it stays as it is until
    its actor is asked for as many as it has slots. Actors die with this process, whatever happens to it.

    Args:
        spec: the run; its plan has at least one runner.
        step_timeout_s: longest time for a step of an actor's environments.

    Attributes:
        observation_space: of one environment.
        action_space: of one environment.
        max_episode_steps: of one environment, or None.
        env_steps: real steps that each environment has taken, as far as fragments have told, int64 ``[R * E]``.
        num_restarts: environments and actors that were replaced.

    Raises:
        ResourceError: no processes or no memory.
        EnvError: an environment cannot be built, or an actor died.
    """

    def __init__(self, spec: RunSpec, *, step_timeout_s: float) -> None:
        plan = spec.plan
        self._spec = spec
        self._step_timeout_s = step_timeout_s
        self.num_actors = plan.num_env_runners
        self.num_envs_each = plan.num_envs_per_env_runner
        self.env_steps: NDArray[np.int64] = np.zeros(plan.num_envs, np.int64)
        self.num_restarts = 0
        self._runners: list[RunnerProcess] = []
        self._memory_owner = Descriptor()
        self._finalizer = weakref.finalize(self, end_runners, self._runners, self._memory_owner, os.getpid(), False)
        self._readiness: Readiness | None = None
        self._events: list[str] = []
        self._memory_owner.fd = create_block()
        self._cores = spread_cores(self.num_actors, one_each=plan.pin_cores)
        self._roams = not plan.pin_cores and self.num_actors > 1 and all(self._cores)
        self._placement: CorePlacement | None = None
        self._launcher = make_launcher(
            None, self.num_actors, threads=plan.runner_threads, preload=modules_to_preload(spec.env.id),
            entry=ACTOR_ENTRY,
        )  # fmt: skip
        try:
            for slot in range(self.num_actors):
                self._runners.append(self._start(slot))
            deadline = monotonic() + _STARTUP_S
            built: list[Built] = [runner.receive(deadline) for runner in self._runners]
        except BaseException:
            self.close()
            raise
        self.observation_space: gymnasium.Space[Any] = built[0].observation_space
        self.action_space: gymnasium.Space[Any] = built[0].action_space
        self.max_episode_steps = built[0].max_episode_steps

    def _start(self, slot: int) -> RunnerProcess:
        envs = self._envs_of(slot)
        runner = RunnerProcess(
            slot, envs, memory_fd=self._memory_owner.fd, cores=self._cores[slot], launcher=self._launcher
        )
        runner.post(BuildEnvs(list(sys.path), self._spec, slot, envs.start, len(envs)))
        return runner

    def _envs_of(self, slot: int) -> range:
        return range(slot * self.num_envs_each, (slot + 1) * self.num_envs_each)

    def begin(
        self, spec: RunSpec, layout: FragmentLayout, seeds: Sequence[int], *, takes_gradients: bool
    ) -> FragmentMemory:
        """Have all actors map the memory, compile and reset; :meth:`wait_until_begun` waits for them.

        Args:
            spec: the run, with everything filled in.
            layout: sizes of the memory.
            seeds: of the environments, ``[R * E]``.
            takes_gradients: fragments come with gradients.

        Raises:
            ResourceError: no room for the memory.
        """
        self._spec = spec
        self._layout = layout
        self._takes_gradients = takes_gradients
        self._seeds = list(seeds)
        self._map = grow_block(self._memory_owner.fd, layout.nbytes)
        self.memory = layout.over(self._map)
        self._asked = [0] * self.num_actors
        self._next_slot = [0] * self.num_actors
        self._seen_steps = self.memory.steps.copy()
        self._seen_at = [monotonic()] * self.num_actors
        for runner in self._runners:
            runner.post(self._begin_work(runner.slot))
        return self.memory

    def _begin_work(self, slot: int) -> BeginWork:
        envs = self._envs_of(slot)
        rows = slice(envs.start, envs.stop)
        return BeginWork(
            self._spec,
            self._layout,
            self._seeds[rows],
            self.env_steps[rows].tolist(),
            self._takes_gradients,
            self._next_slot[slot],
        )

    def wait_until_begun(self) -> None:
        """Wait until all actors can be asked for fragments.

        Raises:
            PacelineError: one broke.
        """
        deadline = monotonic() + _STARTUP_S
        for runner in self._runners:
            runner.receive(deadline)
        self._watch()

    def _watch(self) -> None:
        if self._readiness is not None:
            self._readiness.close()
        self._readiness = Readiness(self._runners, "park")
        if self._roams:
            self._placement = CorePlacement(self.runner_pids(), self._cores, usable_cores())

    def runner_pids(self) -> tuple[int, ...]:
        """Return the process ids of the actors."""
        return tuple(runner.pid for runner in self._runners)

    def ask(self, slot: int, count: int = 1) -> None:
        """Ask an actor for fragments; it has slots for as many as were asked for and not taken yet."""
        if not self._asked[slot]:
            self._seen_at[slot] = monotonic()
        self._asked[slot] += count
        with suppress(BrokenPipeError):  # it is dead, as the next wait tells
            os.write(self._runners[slot].wake_fd, step_some(count))

    def wait(self) -> list[tuple[int, Fragment]]:
        """Wait until a fragment is complete, or more; return all that are, with the index of their actor.

        What an actor that died or hangs had not finished is dropped; another takes its place and is asked for as many.

        Raises:
            EnvError: one replacement too many.
        """
        assert self._readiness is not None
        if self._placement is not None and monotonic() >= self._placement.next_check_s:
            self._placement.check()
        while True:
            try:
                signals = self._readiness.wait_any(_LOOK_EVERY_S)
            except RunnerEnded as ended:
                self._replace(ended.slot, self._why_it_ended(ended.slot))
                continue
            found = []
            for slot, value in signals:
                for _ in range(num_done(value)[0]):
                    found.append((slot, self._take(slot)))
            if found:
                return found
            self._look_for_hangs()

    def _take(self, slot: int) -> Fragment:
        fragments = self.memory.slots[slot]
        fragment = fragments[self._next_slot[slot] % len(fragments)]
        self._next_slot[slot] += 1
        self._asked[slot] -= 1
        self._seen_at[slot] = monotonic()
        envs = self._envs_of(slot)
        self.env_steps[envs.start : envs.stop] = fragment.env_steps
        if fragment.num_replaced:
            self.num_restarts += fragment.num_replaced
            self._events.append(
                f"runner {slot} replaced {_environments(fragment.num_replaced)} that broke (replacement "
                f"{self.num_restarts} of at most {self._spec.max_restarts})"
            )
        return fragment

    def take_events(self) -> tuple[str, ...]:
        """Return what happened since the last call that a person should hear of."""
        events, self._events = self._events, []
        return tuple(events)

    def _look_for_hangs(self) -> None:
        now = monotonic()
        for slot in range(self.num_actors):
            steps = int(self.memory.steps[slot])
            if steps != self._seen_steps[slot] or not self._asked[slot]:
                self._seen_steps[slot], self._seen_at[slot] = steps, now
            elif now - self._seen_at[slot] > self._step_timeout_s:
                envs = self._envs_of(slot)
                self._replace(
                    slot,
                    EnvTimeoutError(
                        f"expected a step or reset of the environments of runner {slot} within step_timeout_s "
                        f"{self._step_timeout_s:g}, but one has not returned; raise step_timeout_s, or find out what "
                        f"it waits for",
                        env_index=envs.start if len(envs) == 1 else None,
                    ),
                )

    def _why_it_ended(self, slot: int) -> PacelineError:
        """Return the error that an actor reported before its end, or the one that tells how it ended."""
        try:
            self._runners[slot].receive(monotonic() + 1.0)
        except PacelineError as error:
            return error
        return self._runners[slot].obituary()

    def _replace(self, slot: int, error: PacelineError) -> None:
        """Start another actor in the place of one that is lost.

        Raises:
            PacelineError: ``error``, if it is no fault of one actor, or one too many.
        """
        lost = isinstance(error, RunnerDiedError | EnvTimeoutError)
        if not lost or not isinstance(error, EnvError) or self.num_restarts >= self._spec.max_restarts:
            raise error
        self.num_restarts += 1
        why = "it did not return from a step" if isinstance(error, EnvTimeoutError) else "it died"
        self._events.append(
            f"runner {slot} was replaced because {why} (replacement {self.num_restarts} of at most "
            f"{self._spec.max_restarts}): {error.args[0]}"
        )
        old = self._runners[slot]
        old.process.kill()
        old.end(monotonic() + CLOSE_GRACE_S)
        envs = self._envs_of(slot)
        for i in envs:
            self._seeds[i] = replacement_seed(self._seeds[i], self.num_restarts, i)
        runner = self._start(slot)
        self._runners[slot] = runner
        deadline = monotonic() + _STARTUP_S
        runner.receive(deadline)
        runner.post(self._begin_work(slot))
        runner.receive(deadline)
        asked, self._asked[slot] = self._asked[slot], 0
        self._watch()
        self.ask(slot, asked)

    def close(self) -> None:
        """End the actors. Idempotent."""
        end_runners(self._runners, self._memory_owner, os.getpid(), False, CLOSE_GRACE_S)
        self._launcher.close()
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None
        self._finalizer.detach()


def _environments(count: int) -> str:
    return "an environment" if count == 1 else f"{count} environments"
