"""Environments in runner processes, with everything that moves in every step in shared memory.

A step costs one wake-up per runner and one back, however many environments each holds: actions, observations, rewards
and flags are written where the other side reads them. Nothing is pickled, unless an environment returns infos and the
caller wants them.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Sequence
from itertools import pairwise
from time import monotonic
from typing import Any

import cloudpickle
import numpy as np
from gymnasium.vector import AutoresetMode

from paceline.envs import EnvFactory
from paceline.errors import EnvContractError, EnvTimeoutError, PacelineError, RunnerDiedError
from paceline.vector.arrays import IDLE, Layout
from paceline.vector.batched import BatchedVecEnv, Mask
from paceline.vector.group import InfoLevel, plain_action
from paceline.vector.infos import InfoColumns, InfoRecord
from paceline.vector.launch import DoneWaiter, RunnerProcess, end_all
from paceline.vector.memory import create_block, grow_block
from paceline.vector.placement import CorePlacement, spread_cores, usable_cores
from paceline.vector.protocol import Built, CallRequest, MapMemory, ResetRequest, SetAttrRequest, Setup
from paceline.vector.serial import spread_values
from paceline.vector.spaces import take_row
from paceline.vector.wakeup import CLOSE, DONE, STEP

_CLOSE_GRACE_S = 3.0
_LEAST_STARTUP_S = 120.0


class ShmVecEnv(BatchedVecEnv):
    """N environments in R runner processes over shared memory.

    Runners die with this process, whatever happens to it; a runner that dies, hangs or meets a broken environment is
    reported with environment, seed and last action, and the others are ended.

    Args:
        factory: builds one environment per call.
        num_envs: N; need not be a multiple of R.
        num_env_runners: R, 1 to N.
        autoreset_mode: Gymnasium's autoreset mode.
        infos: which infos to collect; everything but ``none`` costs a message from each runner that has some.
        copy: whether ``reset`` and ``step`` return copies rather than views.
        step_timeout_s: longest time for a step or reset of all environments; None waits for ever.
        runner_threads: threads of the math libraries in each runner.
        runner_cores: cores of each runner, for good (an empty list: any core); None: disjoint sets while the machine is
            quiet, see :mod:`paceline.vector.placement`.

    Raises:
        UnsupportedSpaceError: a space has no fixed-size array form.
        ResourceError: no room for the shared memory, or no more processes.
        EnvError: an environment cannot be built, or a runner died.
    """

    def __init__(
        self,
        factory: EnvFactory,
        num_envs: int,
        num_env_runners: int,
        *,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        infos: InfoLevel = "all",
        copy: bool = True,
        step_timeout_s: float | None = None,
        runner_threads: int = 1,
        runner_cores: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(num_envs, autoreset_mode, infos, copy)
        self.num_env_runners = num_env_runners
        self._timeout_s = step_timeout_s
        self._runners: list[RunnerProcess] = []
        memory_fd = create_block()
        # Ends the runners when this object is forgotten, or at the end of the program, without close().
        self._finalizer = weakref.finalize(self, _end_runners, self._runners, os.getpid())
        try:
            cores = runner_cores or spread_cores(num_env_runners)
            for slot, envs in enumerate(partition(num_envs, num_env_runners)):
                self._runners.append(
                    RunnerProcess(slot, envs, memory_fd=memory_fd, threads=runner_threads, cores=cores[slot])
                )
            self._set_up(factory, memory_fd)
        except BaseException:
            self._release()
            raise
        finally:
            os.close(memory_fd)
        self._waiter = DoneWaiter(self._runners)
        self._wake_fds = [runner.wake_fd for runner in self._runners]
        self._slots = range(num_env_runners)
        self._placement: CorePlacement | None = None
        if runner_cores is None and all(cores) and num_env_runners > 1 and hasattr(os, "sched_setaffinity"):
            self._placement = CorePlacement(self.runner_pids(), cores, usable_cores())

    def _set_up(self, factory: EnvFactory, memory_fd: int) -> None:
        """Have every runner build its environments at the same time, then agree on the memory."""
        deadline = None if self._timeout_s is None else monotonic() + max(self._timeout_s, _LEAST_STARTUP_S)
        payload = cloudpickle.dumps(factory)
        count = len(self._runners)
        for runner in self._runners:
            setup = Setup(
                list(sys.path), payload, runner.envs.start, len(runner.envs), runner.slot, self.num_envs, count,
                self.autoreset_mode, self.infos_level,
            )  # fmt: skip
            runner.post(setup)
        answers: list[Built] = [runner.receive(deadline) for runner in self._runners]
        first = answers[0]
        for runner, built in zip(self._runners, answers, strict=True):
            if (built.observation_space, built.action_space) != (first.observation_space, first.action_space):
                raise EnvContractError(
                    f"expected every environment to have the spaces of the first, {first.observation_space} and "
                    f"{first.action_space}, got {built.observation_space} and {built.action_space}; build equal ones",
                    env_index=runner.envs.start,
                )
        layout = Layout(first.observation_space, first.action_space, self.num_envs, count, self.autoreset_mode)
        arrays = layout.arrays_over(grow_block(memory_fd, layout.nbytes))
        arrays.cursors.fill(IDLE)
        for runner in self._runners:
            runner.post(MapMemory())
        for runner in self._runners:
            runner.receive(deadline)
        self._adopt(first.observation_space, first.action_space, arrays, first.metadata, first.render_mode)
        self.spec = first.spec

    def runner_pids(self) -> tuple[int, ...]:
        """Return the process ids of the runners."""
        return tuple(runner.pid for runner in self._runners)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute, and return the results."""
        self._check_usable(pending=False, call="call")
        answers = self._ask([CallRequest(name, args, kwargs)] * len(self._runners))
        return tuple(result for answer in answers for result in answer)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list or tuple of N."""
        self._check_usable(pending=False, call="set_attr")
        spread = spread_values(values, self.num_envs)
        self._ask([SetAttrRequest(name, [spread[i] for i in runner.envs]) for runner in self._runners])

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
        grace_s = 0.0 if terminate or self._failure is not None else _CLOSE_GRACE_S if timeout is None else timeout
        _end_runners(self._runners, os.getpid(), grace_s)
        self._finalizer.detach()

    def _start_step(self) -> None:
        write = os.write
        for fd in self._wake_fds:
            write(fd, STEP)

    def _finish_step(self) -> list[InfoRecord] | list[InfoColumns]:
        deadline = None if self._timeout_s is None else monotonic() + self._timeout_s
        wait = self._waiter.wait
        messages: list[InfoColumns | list[InfoRecord]] = []
        failure: PacelineError | None = None
        for slot in self._slots:
            try:
                if wait(slot, deadline) != DONE:
                    messages.append(self._runners[slot].receive())  # it is there, or on its way
            except (RunnerDiedError, EnvTimeoutError) as error:
                raise self._located(error) from None
            except PacelineError as error:
                failure = failure or error  # of several broken environments, the first is told
        if failure is not None:
            raise failure
        placement = self._placement
        if placement is not None and monotonic() >= placement.next_check_s:
            placement.check()
        columns = [message for message in messages if isinstance(message, InfoColumns)]
        if len(columns) == len(messages):
            return columns
        return [
            record
            for message in messages
            for record in (message.records() if isinstance(message, InfoColumns) else message)
        ]

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        requests = []
        for runner in self._runners:
            rows = slice(runner.envs.start, runner.envs.stop)
            requests.append(ResetRequest(seeds[rows], options, None if mask is None else mask[rows].tolist()))
        deadline = None if self._timeout_s is None else monotonic() + self._timeout_s
        answers = self._ask(requests, deadline)
        return [record for answer in answers for record in answer]

    def _ask(self, requests: Sequence[Any], deadline: float | None = None) -> list[Any]:
        for runner, request in zip(self._runners, requests, strict=True):
            runner.request(request)
        answers = []
        failure: PacelineError | None = None
        for runner in self._runners:
            try:
                answers.append(runner.receive(deadline))
            except (RunnerDiedError, EnvTimeoutError) as error:
                located = self._located(error)
                self._fail(located)
                raise located from None
            except PacelineError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answers

    def _located(self, error: RunnerDiedError | EnvTimeoutError) -> PacelineError:
        """Say at which environment a runner died or hangs: its cursor in shared memory tells."""
        cursors: list[int] = self._arrays.cursors.tolist()
        dead = isinstance(error, RunnerDiedError)
        stuck = [cursors[runner.slot] for runner in self._runners if cursors[runner.slot] != IDLE]
        if dead:
            stuck = [cursors[r.slot] for r in self._runners if r.is_dead() and cursors[r.slot] != IDLE]
        if not stuck:
            return error
        index = stuck[0]
        message = str(error)
        if not dead:
            message = (
                f"expected a step or reset of all environments within step_timeout_s {self._timeout_s}, but an "
                f"environment has not returned; raise step_timeout_s, or find out what it waits for"
            )
        return type(error)(
            message,
            env_index=index,
            seed=self.env_seeds[index],
            action=plain_action(take_row(self._arrays.actions, index)) if self._was_reset else None,
        )

    def _release(self) -> None:
        _end_runners(self._runners, os.getpid(), 0.0)


def partition(num_envs: int, num_parts: int) -> list[range]:
    """Divide environments 0 to N - 1 into consecutive parts whose sizes differ by at most one."""
    bounds = np.linspace(0, num_envs, num_parts + 1).round().astype(int).tolist()
    return [range(start, stop) for start, stop in pairwise(bounds)]


def _end_runners(runners: list[RunnerProcess], owner_pid: int, grace_s: float = _CLOSE_GRACE_S) -> None:
    """End ``runners``, unless this is a fork of the process that owns them."""
    if os.getpid() != owner_pid:
        return
    for runner in runners:
        if grace_s > 0 and not runner._ended and not runner.is_dead():
            os.write(runner.wake_fd, CLOSE)
    end_all(runners, grace_s)
