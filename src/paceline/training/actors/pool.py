"""The learner's side of the actors: starting them, asking for fragments, replacing those that die or hang."""

from __future__ import annotations

import os
import select
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from paceline.errors import EnvRaisedError, EnvTimeoutError, PacelineError, ResourceError, RunnerDiedError
from paceline.rollout.fragments import Fragment, FragmentLayout, FragmentMemory
from paceline.spec import RunSpec
from paceline.training.actors.messages import BeginWork, Begun, BuildEnvs, Built, Compiled, Replaced
from paceline.vector.faults import replacement_seed
from paceline.vector.runners.ending import CLOSE_GRACE_S, Descriptor, end_runners
from paceline.vector.runners.launch import Launcher, RunnerProcess, make_launcher, modules_to_preload
from paceline.vector.runners.memory import create_block, grow_block
from paceline.vector.runners.placement import CorePlacement, spread_cores, usable_cores
from paceline.vector.runners.readiness import Readiness, RunnerEnded
from paceline.vector.runners.wakeup import num_done, step_some

ACTOR_ENTRY = "paceline.training.actors.actor:main"
_STARTUP_S = 300.0
_LOOK_EVERY_S = 1.0
_LOOK_AT_BEGINNERS_S = 0.05
_ANSWER_S = 1.0


@dataclass(frozen=True)
class _Stage:
    """What a new actor does, and until when it may, in monotonic seconds."""

    does: Literal["build its environments", "compile", "reset its environments"]
    until_s: float


class ActorPool:
    """R actors with E environments each.

    Each fragment is asked for (:meth:`ask`), and told of when it is complete (:meth:`wait`); it stays as it is until
    its actor is asked for as many as it has slots. An actor that dies or hangs is replaced while the others go on.
    Actors die with this process, whatever happens to it.

    Args:
        spec: the run; its plan has at least one runner.
        step_timeout_s: longest time for a step or reset of an actor's environments.

    Attributes:
        observation_space: of one environment.
        action_space: of one environment.
        max_episode_steps: of one environment, or None.
        env_steps: real steps that each environment has taken, as far as fragments have told, int64 ``[R * E]``.
        num_restarts: environments and actors that were replaced; those that died with the process that had started
            them count as one.
        threads: thread settings of each actor that has begun, see :func:`paceline.machine.record_threads`.

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
        self.threads: list[dict[str, Any]] = [{}] * self.num_actors
        self._runners: list[RunnerProcess] = []
        self._memory_owner = Descriptor()
        self._finalizer = weakref.finalize(self, end_runners, self._runners, self._memory_owner, os.getpid(), False)
        self._readiness: Readiness | None = None
        self._events: list[str] = []
        self._memory_owner.fd = create_block()
        self._starting: dict[int, _Stage] = {}
        self._built: Built  # what the last one says that has built its environments; they are all alike
        self._layout: FragmentLayout | None = None
        self._seeds: list[int] = []
        self._next_look_s = 0.0
        self._cores = spread_cores(self.num_actors, one_each=plan.pin_cores, spare_one=True)
        self._roams = not plan.pin_cores and self.num_actors > 1 and all(self._cores)
        self._placement: CorePlacement | None = None
        self._launcher = self._make_launcher()
        try:
            for slot in range(self.num_actors):
                self._runners.append(self._start(slot))
            while building := [slot for slot, at in self._starting.items() if at.does == "build its environments"]:
                self._wait_for_beginners(building)
        except BaseException:
            self.close()
            raise
        self.observation_space: gymnasium.Space[Any] = self._built.observation_space
        self.action_space: gymnasium.Space[Any] = self._built.action_space
        self.max_episode_steps = self._built.max_episode_steps

    def _make_launcher(self) -> Launcher:
        plan = self._spec.plan
        return make_launcher(
            None, self.num_actors, threads=plan.runner_threads, preload=modules_to_preload(self._spec.env.id),
            entry=ACTOR_ENTRY,
        )  # fmt: skip

    def _start(self, slot: int) -> RunnerProcess:
        envs = self._envs_of(slot)
        runner = RunnerProcess(
            slot, envs, memory_fd=self._memory_owner.fd, cores=self._cores[slot], launcher=self._launcher
        )
        runner.post(BuildEnvs(list(sys.path), self._spec, slot, envs.start, len(envs)))
        self._starting[slot] = _Stage("build its environments", monotonic() + _STARTUP_S)
        return runner

    def _envs_of(self, slot: int) -> range:
        return range(slot * self.num_envs_each, (slot + 1) * self.num_envs_each)

    def begin(
        self,
        spec: RunSpec,
        layout: FragmentLayout,
        seeds: Sequence[int],
        *,
        takes_gradients: bool,
        takes_log_probs: bool,
    ) -> FragmentMemory:
        """Have all actors map the memory, compile and reset; :meth:`wait_until_begun` waits for them.

        Args:
            spec: the run, with everything filled in.
            layout: sizes of the memory.
            seeds: of the environments, ``[R * E]``.
            takes_gradients: fragments come with gradients.
            takes_log_probs: fragments come with log-probabilities.

        Raises:
            ResourceError: no room for the memory.
        """
        self._spec = spec
        self._layout = layout
        self._takes = {"takes_gradients": takes_gradients, "takes_log_probs": takes_log_probs}
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
        assert self._layout is not None
        return BeginWork(
            spec=self._spec,
            layout=self._layout,
            seeds=self._seeds[rows],
            env_steps=self.env_steps[rows].tolist(),
            num_filled=self._next_slot[slot],
            **self._takes,
        )

    def wait_until_begun(self) -> None:
        """Wait until all actors can be asked for fragments.

        Raises:
            PacelineError: one broke, or one replacement too many.
        """
        for slot in self._starting:  # the learner may have compiled for long, while nobody looked
            self._starting[slot] = _Stage("compile", monotonic() + _STARTUP_S)
        while self._starting:
            self._wait_for_beginners(list(self._starting))
        self._watch()

    def _watch(self) -> None:
        """Watch all actors that have begun."""
        if self._readiness is not None:
            self._readiness.close()
        begun = [runner for runner in self._runners if runner.slot not in self._starting]
        self._readiness = Readiness(begun, "park")
        if self._roams:
            shares = [self._cores[runner.slot] for runner in begun]
            self._placement = CorePlacement([runner.pid for runner in begun], shares, usable_cores())

    def runner_pids(self) -> tuple[int, ...]:
        """Return the process ids of the actors."""
        return tuple(runner.pid for runner in self._runners)

    def ask(self, slot: int, count: int = 1) -> None:
        """Ask an actor for fragments; it has slots for as many as were asked for and not taken yet."""
        if not self._asked[slot]:
            self._seen_at[slot] = monotonic()
        self._asked[slot] += count
        if slot not in self._starting:
            self._wake(slot, count)

    def _wake(self, slot: int, count: int) -> None:
        with suppress(BrokenPipeError):  # it is dead, as the next wait tells
            os.write(self._runners[slot].wake_fd, step_some(count))

    def wait(self) -> list[tuple[int, Fragment]]:
        """Wait until a fragment is complete, or more; return all that are, with the index of their actor.

        What an actor that died or hangs had not finished is dropped; another takes its place and is asked for as many.

        Raises:
            EnvError: one replacement too many.
        """
        assert self._readiness is not None
        while True:
            # By the clock, not only when nothing comes: the others may be quick enough to hide one that is lost.
            if monotonic() >= self._next_look_s:
                self._look()
            try:
                signals = self._readiness.wait_any(max(0.0, self._next_look_s - monotonic()))
            except RunnerEnded as ended:
                self._replace(ended.slot, self._why_it_ended(ended.slot))
                continue
            found = []
            for slot, value in signals:
                for _ in range(num_done(value)[0]):
                    found.append((slot, self._take(slot)))
            if found:
                return found

    def _look(self) -> None:
        """Look after actors that die, hang or begin, and after the cores that they share."""
        assert self._readiness is not None
        for slot in list(self._starting):
            self._help_to_begin(slot)
        for slot in self._readiness.ended():
            self._replace(slot, self._why_it_ended(slot))
        self._look_for_hangs()
        if self._placement is not None and monotonic() >= self._placement.next_check_s:
            self._placement.check()
        self._next_look_s = monotonic() + (_LOOK_AT_BEGINNERS_S if self._starting else _LOOK_EVERY_S)
        if self._placement is not None:
            self._next_look_s = min(self._next_look_s, self._placement.next_check_s)

    def _take(self, slot: int) -> Fragment:
        fragments = self.memory.slots[slot]
        fragment = fragments[self._next_slot[slot] % len(fragments)]
        self._next_slot[slot] += 1
        self._asked[slot] -= 1
        self._seen_at[slot] = monotonic()
        envs = self._envs_of(slot)
        self.env_steps[envs.start : envs.stop] = fragment.env_steps
        if fragment.num_replaced:
            self._note_replaced(slot)
        return fragment

    def _note_replaced(self, slot: int) -> None:
        """Count the environments that an actor replaced by itself.

        Raises:
            EnvRaisedError: one too many.
        """
        most = self._spec.max_restarts
        replaced: Replaced = self._runners[slot].receive(monotonic() + _ANSWER_S)
        for message in replaced.told:
            self.num_restarts += 1
            if self.num_restarts > most:
                raise EnvRaisedError(message)
            self._events.append(
                f"runner {slot} replaced an environment that broke (replacement {self.num_restarts} of at most "
                f"{most}): {message}"
            )

    def take_events(self) -> tuple[str, ...]:
        """Return what happened since the last call that a person should hear of."""
        events, self._events = self._events, []
        return tuple(events)

    def _wait_for_beginners(self, slots: Sequence[int]) -> None:
        """Wait until one of the actors that are yet to begin says something, dies or hangs, and help all of them on."""
        poller = select.poll()
        for slot in slots:
            for fd in (self._runners[slot].channel.fileno(), self._runners[slot].death_fd):
                poller.register(fd, select.POLLIN)
        left_s = min(self._starting[slot].until_s for slot in slots) - monotonic()
        poller.poll(min(max(0.0, left_s), _LOOK_EVERY_S) * 1000)
        for slot in slots:
            self._help_to_begin(slot)

    def _look_for_hangs(self) -> None:
        assert self._readiness is not None
        now = monotonic()
        # Who has said that a fragment is complete may be waiting for the learner, which had other things to do.
        at_work = {slot for slot in range(self.num_actors) if self._asked[slot]} - self._readiness.unread()
        for slot in range(self.num_actors):
            steps = int(self.memory.steps[slot])
            if steps != self._seen_steps[slot] or slot not in at_work or slot in self._starting:
                self._seen_steps[slot], self._seen_at[slot] = steps, now
            elif now - self._seen_at[slot] > self._step_timeout_s:
                self._replace(slot, self._hang(slot))

    def _hang(self, slot: int) -> EnvTimeoutError:
        envs, stage = self._envs_of(slot), self._starting.get(slot)
        if stage is not None and stage.does != "reset its environments":
            return EnvTimeoutError(f"expected runner {slot} to {stage.does} within {_STARTUP_S:g} s", env_index=None)
        return EnvTimeoutError(
            f"expected a step or reset of the environments of runner {slot} within step_timeout_s "
            f"{self._step_timeout_s:g}, but one has not returned; raise step_timeout_s, or find out what it waits for",
            env_index=envs.start if len(envs) == 1 else None,
        )

    def _why_it_ended(self, slot: int) -> PacelineError:
        """Return the error that an actor reported before its end, or the one that tells how it ended."""
        deadline = monotonic() + _ANSWER_S
        try:
            while True:  # what it said of fragments that are dropped is of no interest any more
                self._runners[slot].receive(deadline)
        except PacelineError as error:
            return self._runners[slot].obituary() if isinstance(error, EnvTimeoutError) else error

    def _replace(self, slot: int, error: PacelineError) -> None:
        """Start another actor in the place of one that is lost; it begins while the others go on.

        Raises:
            PacelineError: ``error``, if it is no fault of one actor, or one too many.
        """
        if not isinstance(error, RunnerDiedError | EnvTimeoutError):
            raise error
        old = self._runners[slot]
        fall = old.launcher.obituary() if isinstance(error, RunnerDiedError) else None
        if fall is None:
            stage = self._starting.get(slot)
            hangs = f"it did not {stage.does if stage else 'return from a step'}"
            why = "it died" if isinstance(error, RunnerDiedError) else hangs
            self._count_fault(f"runner {slot} was replaced because {why}", error)
        elif old.launcher is self._launcher:  # one fault, however many it takes along; the others come here later
            fallen = [str(runner.slot) for runner in self._runners if runner.launcher is old.launcher]
            self._count_fault(f"runners {', '.join(fallen)} were replaced because the fork server died", fall)
            self._renew_launcher()
        old.process.kill()
        old.end(monotonic() + CLOSE_GRACE_S)
        if self._layout is not None:
            for i in self._envs_of(slot):
                self._seeds[i] = replacement_seed(self._seeds[i], self.num_restarts, i)
        self._next_look_s = 0.0
        try:
            self._runners[slot] = self._start(slot)
        except ResourceError:  # what starts processes may have died as well
            self._renew_launcher()
            self._runners[slot] = self._start(slot)
        if self._readiness is not None:
            self._watch()

    def _count_fault(self, told: str, error: PacelineError) -> None:
        """Count a replacement, and tell of it; raise ``error`` if it is one too many."""
        most = self._spec.max_restarts
        if self.num_restarts >= most:
            raise error
        self.num_restarts += 1
        self._events.append(f"{told} (replacement {self.num_restarts} of at most {most}): {error.args[0]}")

    def _renew_launcher(self) -> None:
        self._launcher.close()
        self._launcher = self._make_launcher()

    def _help_to_begin(self, slot: int) -> None:
        """See how far a new actor has come; ask it for fragments once it has begun."""
        runner = self._runners[slot]
        try:
            if not runner.is_dead() and not runner.channel.poll(0):
                if monotonic() < self._starting[slot].until_s:
                    return
                raise self._hang(slot)
            answer = runner.receive(monotonic() + _ANSWER_S)
        except PacelineError as error:
            self._replace(slot, error)
            return
        if isinstance(answer, Built):
            self._built = answer
            self._starting[slot] = _Stage("compile", monotonic() + _STARTUP_S)
            if self._layout is not None:
                runner.post(self._begin_work(slot))
            return
        if isinstance(answer, Compiled):
            self._starting[slot] = _Stage("reset its environments", monotonic() + self._step_timeout_s)
            return
        begun: Begun = answer
        self.threads[slot] = begun.threads
        del self._starting[slot]
        if self._readiness is not None:
            self._watch()
        if self._asked[slot]:
            self._seen_at[slot] = monotonic()
            self._wake(slot, self._asked[slot])

    def close(self) -> None:
        """End the actors. Idempotent."""
        end_runners(self._runners, self._memory_owner, os.getpid(), False, CLOSE_GRACE_S)
        self._launcher.close()
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None
        self._finalizer.detach()
