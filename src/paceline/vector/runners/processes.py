"""What backends with runner processes share: starting them, talking to them, and replacing those that break."""

from __future__ import annotations

import os
import sys
import weakref
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from time import monotonic
from typing import Any

import cloudpickle
import numpy as np

from paceline.envs import EnvFactory
from paceline.errors import EnvContractError, EnvError, EnvTimeoutError, PacelineError, PlanError, RunnerDiedError
from paceline.vector.arrays import IDLE, Layout, VecArrays
from paceline.vector.batched import BatchedVecEnv, Mask, VecOptions
from paceline.vector.env_list import spread_values
from paceline.vector.faults import Fault, replacement_seed
from paceline.vector.infos import InfoRecord
from paceline.vector.runners.ending import CLOSE_GRACE_S, Descriptor, end_runners
from paceline.vector.runners.launch import Launcher, RunnerProcess, StartMethod, make_launcher, modules_to_preload
from paceline.vector.runners.memory_watch import MemoryWatch
from paceline.vector.runners.patience import Waiting, choose_waiting
from paceline.vector.runners.placement import CorePlacement, spread_cores, usable_core_time, usable_cores
from paceline.vector.runners.protocol import (
    Built,
    CallRequest,
    MapMemory,
    ResetAnswer,
    ResetRequest,
    SetAttrRequest,
    Setup,
    StepMessage,
)
from paceline.vector.spaces import map_tree

_LEAST_STARTUP_S = 120.0
_WATCH_EVERY_S = 1.0


@dataclass(frozen=True)
class ProcessOptions:
    """What backends with runner processes are told alike.

    Attributes:
        step_timeout_s: longest time for a step or reset of all environments; None waits for ever.
        runner_threads: threads of the math libraries in each runner.
        runner_cores: cores of each runner, for good (an empty list: any core); None: disjoint sets while the machine is
            quiet, see :mod:`paceline.vector.runners.placement`.
        memory_limit_bytes: what all runners together may use; None: 80 % of the machine's memory, or of its limit, or
            less where others use memory already, see :mod:`paceline.vector.runners.memory_watch`.
        start_method: ``spawn`` (a new interpreter each), ``forkserver``, or None for what is quicker.
    """

    step_timeout_s: float | None = None
    runner_threads: int = 1
    runner_cores: Sequence[Sequence[int]] | None = None
    memory_limit_bytes: int | None = None
    start_method: StartMethod | None = None


class ProcessVecEnv(BatchedVecEnv):
    """N environments in R runner processes.

    Runners die with this process, whatever happens to it; a runner that dies, hangs or meets a broken environment is
    reported with environment, seed and last action, and the others are ended; or it is replaced, as the options say.

    Args:
        factories: N of them, each builds one environment.
        num_env_runners: R, 1 to N; N need not be a multiple of it.
        options: what every backend is told alike.
        processes: what backends with runner processes are told alike.

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        ResourceError: no room for the shared memory, or no more processes.
        EnvError: an environment cannot be built, or a runner died.
    """

    _by_pipe = False

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        num_env_runners: int,
        options: VecOptions,
        processes: ProcessOptions,
    ) -> None:
        super().__init__(len(factories), options)
        if os.name != "posix":
            raise PlanError(
                f"expected Linux or macOS for backend {self.backend}, got {sys.platform}; use backend serial or thread"
            )
        self.num_env_runners = num_env_runners
        self.processes = processes
        self._factories = list(factories)
        self._timeout_s = processes.step_timeout_s
        self._memory_owner = Descriptor()
        self._runners: list[RunnerProcess] = []
        self._early: list[list[StepMessage]] = [[] for _ in range(num_env_runners)]
        self._waiting: Waiting = choose_waiting(num_env_runners, usable_core_time())
        self._cores = processes.runner_cores or spread_cores(num_env_runners)
        # Ends the runners when this object is forgotten, or at the end of the program, without close().
        self._finalizer = weakref.finalize(
            self, end_runners, self._runners, self._memory_owner, os.getpid(), self._by_pipe
        )
        self._memory_fd = self._create_memory()
        try:
            self._launcher = self._make_launcher()
            for slot, envs in enumerate(partition(self.num_envs, num_env_runners)):
                self._runners.append(self._start_runner(slot, envs))
            self._set_up()
        except BaseException:
            self._release()
            raise
        pins = processes.runner_cores is None and all(self._cores) and num_env_runners > 1
        self._pins = pins and hasattr(os, "sched_setaffinity")
        self._watch_runners()

    @property
    def _memory_fd(self) -> int:
        """The block of shared memory; -1 once it is closed."""
        return self._memory_owner.fd

    @_memory_fd.setter
    def _memory_fd(self, fd: int) -> None:
        self._memory_owner.fd = fd

    def _make_launcher(self) -> Launcher:
        return make_launcher(
            self.processes.start_method, self.num_env_runners, threads=self.processes.runner_threads,
            preload=modules_to_preload(self._factories[0].id),
        )  # fmt: skip

    def _start_runner(self, slot: int, envs: range) -> RunnerProcess:
        return RunnerProcess(
            slot,
            envs,
            memory_fd=self._memory_fd,
            cores=self._cores[slot],
            launcher=self._launcher,
        )

    @abstractmethod
    def _create_memory(self) -> int:
        """Return the file descriptor of a block of shared memory, still empty."""

    @abstractmethod
    def _map_memory(self, layout: Layout) -> VecArrays:
        """Return the arrays."""

    @abstractmethod
    def _start_again(self, slot: int) -> None:
        """Start what is under way, and not complete, in a runner that has been replaced."""

    def _setup_of(self, runner: RunnerProcess, lost_seeds: list[int] | None) -> Setup:
        envs = runner.envs
        lost = None
        if lost_seeds is not None and self._by_pipe:
            lost = map_tree(lambda array: array[envs.start : envs.stop], self._arrays.observations)
        lost_steps = None
        if lost_seeds is not None:
            taken = self._clock.steps_taken()
            lost_steps = [int(taken[i]) + self._flight.steps_out(i, ready=True) for i in envs]
        return Setup(
            list(sys.path), self._pickle_factories(envs), envs.start, len(envs),
            runner.slot, self.num_envs, self.num_env_runners, self.autoreset_mode, self.infos_level,
            self.options.faults, self._waiting, self._most_ready(len(envs)), self._by_pipe, lost_seeds, lost,
            lost_steps,
        )  # fmt: skip

    def _pickle_factories(self, envs: range) -> bytes:
        try:
            payload: bytes = cloudpickle.dumps(self._factories[envs.start : envs.stop])
            return payload
        except Exception as error:
            raise PlanError(
                f"expected callables that can be sent to runner processes, got {self._factories[envs.start].id}: "
                f"{type(error).__name__}: {error}; make what cannot be pickled inside the callable, or use backend "
                f"serial or thread"
            ) from error

    def _most_ready(self, runner_envs: int) -> int:
        """Return how many of its environments a runner may have ready before it says so.

        All that it was sent, where the caller waits for everyone or for those whom it names. Else its share of a batch,
        and no more than half of them, so that it has others to step while the caller acts.
        """
        if self.batch_size == self.num_envs:
            return runner_envs
        return max(1, min(self.batch_size // self.num_env_runners, runner_envs // 2))

    def _startup_deadline(self) -> float | None:
        return None if self._timeout_s is None else monotonic() + max(self._timeout_s, _LEAST_STARTUP_S)

    def _set_up(self) -> None:
        """Have every runner build its environments at the same time, then agree on the memory."""
        deadline = self._startup_deadline()
        for runner in self._runners:
            runner.post(self._setup_of(runner, None))
        answers: list[Built] = [runner.receive(deadline) for runner in self._runners]
        first = answers[0]
        for runner, built in zip(self._runners, answers, strict=True):
            if (built.observation_space, built.action_space) != (first.observation_space, first.action_space):
                raise EnvContractError(
                    f"expected every environment to have the spaces of the first, {first.observation_space} and "
                    f"{first.action_space}, got {built.observation_space} and {built.action_space}; build equal ones",
                    env_index=runner.envs.start,
                )
        layout = Layout(
            first.observation_space, first.action_space, self.num_envs, self.num_env_runners, self.autoreset_mode
        )
        arrays = self._map_memory(layout)
        arrays.cursors.fill(IDLE)
        for runner in self._runners:
            runner.post(MapMemory())
        for runner in self._runners:
            runner.receive(deadline)
        self._adopt(first.observation_space, first.action_space, arrays, first.metadata, first.render_mode)
        self.spec = first.spec

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else monotonic() + self._timeout_s

    def _watch_runners(self) -> None:
        """Begin to watch where runners run, and how much memory they use."""
        self._place_runners()
        self._memory_watch = MemoryWatch(self.runner_pids(), self.processes.memory_limit_bytes)
        self._next_watch_s = monotonic() + _WATCH_EVERY_S

    def _place_runners(self) -> None:
        self._placement: CorePlacement | None = None
        if self._pins:
            self._placement = CorePlacement(self.runner_pids(), self._cores, usable_cores())

    def _look_after(self) -> None:
        """Look after the runners once in a while, between steps: one that is replaced then has none to begin again.

        Raises:
            EnvError: the runners use too much memory.
        """
        now = monotonic()
        placement = self._placement
        if placement is not None and now >= placement.next_check_s:
            placement.check()
        if now >= self._next_watch_s:
            self._next_watch_s = now + _WATCH_EVERY_S
            slot = self._memory_watch.check()
            if slot is not None:
                envs = self._runners[slot].envs
                last_known = self._last_known(envs.start) if len(envs) == 1 else {}
                try:
                    self._mend(slot, self._memory_watch.error(slot, envs, **last_known))
                except BaseException as error:
                    self._fail(error)
                    raise

    def runner_pids(self) -> tuple[int, ...]:
        """Return the process ids of the runners."""
        return tuple(runner.pid for runner in self._runners)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute, and return the results."""
        self._check_usable("call")
        answers = self._ask(self._runners, [CallRequest(name, args, kwargs)] * len(self._runners))
        return tuple(result for answer in answers for result in answer)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list or tuple of N."""
        self._check_usable("set_attr")
        spread = spread_values(values, self.num_envs)
        requests = [SetAttrRequest(name, [spread[i] for i in runner.envs]) for runner in self._runners]
        self._ask(self._runners, requests)

    def render(self) -> tuple[Any, ...] | None:
        """Return what each environment renders."""
        return self.call("render")

    def close_extras(self, timeout: float | None = None, terminate: bool = False, **kwargs: Any) -> None:
        """End the runners.

        Args:
            timeout: seconds to wait for them to close their environments before they are killed (default 3).
            terminate: kill them at once.
            **kwargs: ignored.
        """
        if not hasattr(self, "_runners"):
            return
        grace_s = 0.0 if terminate or self._failure is not None else CLOSE_GRACE_S if timeout is None else timeout
        self._let_go(grace_s)
        self._finalizer.detach()

    def _slot_sizes(self) -> list[int]:
        return [len(runner.envs) for runner in self._runners]

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        runners, requests = [], []
        for runner in self._runners:
            rows = slice(runner.envs.start, runner.envs.stop)
            chosen = None if mask is None else mask[rows].tolist()
            if chosen is None or any(chosen):
                runners.append(runner)
                requests.append(ResetRequest(seeds[rows], options, chosen))
        answers: list[ResetAnswer] = self._ask(runners, requests)
        for answer in answers:
            self._took_faults(answer.faults)
        return [record for answer in answers for record in answer.infos]

    def _ask(self, runners: Sequence[RunnerProcess], requests: Sequence[Any]) -> list[Any]:
        """Send each runner a request and return their answers; the first error of several is raised."""
        deadline = self._deadline()
        answers = []
        failure: PacelineError | None = None
        try:
            for runner, request in zip(runners, requests, strict=True):
                self._post(runner, request)
            for runner, request in zip(runners, requests, strict=True):
                try:
                    answers.append(self._answer(runner.slot, deadline))
                except (RunnerDiedError, EnvTimeoutError) as error:
                    answers.append(self._ask_again(runner.slot, request, error))
                except PacelineError as error:
                    failure = failure or error
        except BaseException as error:  # answers that were not waited for would be taken for those of the next request
            self._fail(error)
            raise
        if failure is not None:
            raise failure
        return answers

    def _ask_again(self, slot: int, request: Any, error: RunnerDiedError | EnvTimeoutError) -> Any:
        """Replace a runner that died, or hangs in a reset, until one answers.

        A call may be what breaks the environments: a runner that hangs in one is not replaced, nor one that dies of it
        again.

        Raises:
            PacelineError: nothing is to be restarted, or too much has been; or the call is to blame.
        """
        is_reset, blames_call = isinstance(request, ResetRequest), isinstance(error, EnvTimeoutError)
        while True:
            located = self._located(slot, error)
            if blames_call and not is_reset:
                raise located from None
            culprit = self._mend(slot, located)
            blames_call = True
            if is_reset and culprit is not None:
                request = self._without_culprit(slot, request, culprit)
            self._post(self._runners[slot], request)
            try:
                return self._answer(slot, self._deadline())
            except (RunnerDiedError, EnvTimeoutError) as another:
                error = another

    def _without_culprit(self, slot: int, request: ResetRequest, culprit: int) -> ResetRequest:
        """Return a request whose seeds are those that were asked for, but for the environment that broke."""
        envs, seeds = self._runners[slot].envs, list(request.seeds)
        seeds[culprit - envs.start] = None
        known = list(self.env_seeds)
        for index, seed in zip(envs, seeds, strict=True):
            if seed is not None:
                known[index] = seed
        self.env_seeds = tuple(known)
        return replace(request, seeds=seeds)

    def _post(self, runner: RunnerProcess, request: Any) -> None:
        """Send a request in the way that the runner listens to."""
        runner.request(request)

    def _answer(self, slot: int, deadline: float | None) -> Any:
        """Return a runner's answer to a request; what it says of steps under way is kept for later."""
        while isinstance(answer := self._runners[slot].receive(deadline), StepMessage):
            self._early[slot].append(answer)
        return answer

    def _step_message(self, slot: int) -> StepMessage:
        """Return what a runner has to say of a step."""
        message: StepMessage = self._early[slot].pop(0) if self._early[slot] else self._runners[slot].receive()
        self._took_faults(message.faults)
        return message

    def _mend(self, slot: int, error: PacelineError) -> int | None:
        """Replace a runner that died, hangs or takes too much memory, with all its environments.

        Returns:
            The environment to blame; None where the runner died with the fork server, as others did.

        Raises:
            PacelineError: ``error``, if nothing is to be restarted, or too much has been; or what the new environments
                raised while they were built.
        """
        old = self._runners[slot]
        fall = old.launcher.obituary() if isinstance(error, RunnerDiedError) else None
        error = fall or error
        if not self.options.faults.restarts or not isinstance(error, EnvError):
            raise error from None
        old.process.kill()
        old.end(monotonic() + CLOSE_GRACE_S)
        envs = old.envs
        culprit = envs.start if error.env_index is None else error.env_index
        seeds = [replacement_seed(self.env_seeds[i], len(self.faults) + 1, i) for i in envs]
        if fall is None or old.launcher is self._launcher:  # else it was counted with the first that died of it
            self._took_faults([Fault.of(error, culprit, seeds[culprit - envs.start])])
        if fall is not None and old.launcher is self._launcher:
            self._launcher.close()
            self._launcher = self._make_launcher()
        known = list(self.env_seeds)
        known[envs.start : envs.stop] = seeds
        self.env_seeds = tuple(known)
        deadline = self._startup_deadline()
        runner = self._start_runner(slot, envs)
        self._runners[slot] = runner
        self._early[slot].clear()
        self._arrays.cursors[slot] = IDLE
        runner.post(self._setup_of(runner, seeds))
        runner.receive(deadline)
        runner.post(MapMemory())
        runner.receive(deadline)
        self._place_runners()
        self._memory_watch.replace(slot, runner.pid)
        self._start_again(slot)
        return culprit if fall is None else None

    def _located(self, slot: int, error: RunnerDiedError | EnvTimeoutError) -> EnvError:
        """Say at which environment a runner died or hangs: its cursor in shared memory tells."""
        envs = self._runners[slot].envs
        index = int(self._arrays.cursors[slot]) if len(envs) > 1 else envs.start
        message = str(error) if isinstance(error, RunnerDiedError) else timeout_message(self._timeout_s)
        if index == IDLE:
            return type(error)(message)
        return type(error)(message, env_index=index, **self._last_known(index))

    def _let_go(self, grace_s: float) -> None:
        """End the runners and give up the memory's descriptor."""
        end_runners(self._runners, self._memory_owner, os.getpid(), self._by_pipe, grace_s)
        if hasattr(self, "_launcher"):
            self._launcher.close()  # it may not have started a runner

    def _release(self) -> None:
        self._let_go(0.0)


def partition(num_envs: int, num_parts: int) -> list[range]:
    """Divide environments 0 to N - 1 into consecutive parts whose sizes differ by at most one."""
    bounds = np.linspace(0, num_envs, num_parts + 1).round().astype(int).tolist()
    return [range(start, stop) for start, stop in pairwise(bounds)]


def timeout_message(timeout_s: float | None) -> str:
    """Return what is told of an environment that hangs."""
    return (
        f"expected a step or reset of all environments within step_timeout_s {timeout_s}, but an environment has not "
        f"returned; raise step_timeout_s, or find out what it waits for"
    )
