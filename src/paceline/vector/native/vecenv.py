"""The backend ``native``: N environments stepped as one, by C threads or in batched NumPy."""

from __future__ import annotations

import weakref
from functools import partial
from time import perf_counter_ns
from typing import Any, NoReturn

import numpy as np

from paceline.envs import EnvFactory
from paceline.errors import PlanError, RequestError
from paceline.vector.arrays import IDLE, Layout, VecArrays
from paceline.vector.batched import BatchedVecEnv, Mask, VecOptions
from paceline.vector.infos import InfoRecord, Infos
from paceline.vector.native.classic_simulation import ClassicSimulation
from paceline.vector.native.dispatch import Dispatcher
from paceline.vector.native.simulation import Simulation
from paceline.vector.native.stepper import Stepper
from paceline.vector.native.support import choose, load_classic, load_task
from paceline.vector.selection import EnvIds, Selection
from paceline.vector.spaces import check_supported

_CLOSE_GRACE_S = 3.0
_Step = tuple[EnvIds | None, Infos]


class NativeVecEnv(BatchedVecEnv):
    """N environments stepped by R threads, with no Python per environment on the way.

    Gymnasium's MuJoCo tasks (v5) are stepped by the ``mujoco`` package, with Gymnasium's own data, bit for bit but for
    the reward of one of them (:class:`~paceline.vector.native.mujoco_simulation.MujocoSimulation` says which); its
    classic-control tasks by NumPy, bit for bit, in the calling thread. Other ids are EnvPool's, where that is installed
    and has them: another implementation, with a random stream of its own, whose data are equal in distribution at best.
    ``backend_reason`` says which of the three it is.

    A step of all environments is one call. With ``batch_size < num_envs`` they are stepped in parts of ``batch_size``,
    in the order in which they were sent. There are no environment objects: ``call``, ``get_attr``, ``set_attr`` and
    ``render`` are refused.

    Args:
        factory: names the environment.
        num_envs: N.
        num_threads: R, 1 to N; 1 where NumPy steps.
        options: what every backend is told alike.

    Raises:
        PlanError: the environment cannot be run natively; the sentence says why, and names backends that can.
        EnvError: the environment cannot be built.
    """

    backend = "native"

    def __init__(self, factory: EnvFactory, num_envs: int, num_threads: int, options: VecOptions) -> None:
        super().__init__(num_envs, options)
        self.num_env_runners = num_threads
        simulation = make_simulation(factory, num_envs, num_threads, options)
        self._simulation = simulation
        self.backend_reason = simulation.reason
        spaces = simulation.observation_space, simulation.action_space
        check_supported(spaces[0], "observation")
        check_supported(spaces[1], "action")
        layout = Layout(*spaces, num_envs, num_threads, options.autoreset_mode)
        arrays = layout.arrays_over(np.zeros(layout.nbytes, np.uint8))
        arrays.cursors.fill(IDLE)
        self._adopt(*spaces, arrays, dict(simulation.metadata), None)
        self.spec = simulation.spec
        self._stepper = Stepper(simulation, arrays, num_envs, options)
        self._shares = _Shares(arrays, num_threads)
        self._dispatcher: Dispatcher[_Step] = Dispatcher(has_thread=not simulation.in_calling_thread)
        self._work = partial(_step, self._stepper, self._shares, self._dispatcher)
        self._finalizer = weakref.finalize(self, _end, self._dispatcher, simulation)

    def runner_pids(self) -> tuple[int, ...]:
        """Return nothing: runners are threads of this process."""
        return ()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Refuse: there are no environment objects.

        Raises:
            RequestError: always.
        """
        self._refuse(f"call of {name!r}")

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Refuse: there are no environment objects.

        Raises:
            RequestError: always.
        """
        self._refuse(f"get_attr of {name!r}")

    def set_attr(self, name: str, values: Any) -> None:
        """Refuse: there are no environment objects.

        Raises:
            RequestError: always.
        """
        self._refuse(f"set_attr of {name!r}")

    def render(self) -> tuple[Any, ...] | None:
        """Refuse: there are no environment objects.

        Raises:
            RequestError: always.
        """
        self._refuse("render")

    def close_extras(self, timeout: float | None = None, **kwargs: Any) -> None:
        """End the threads and free the simulation.

        Args:
            timeout: seconds to wait for a step that is under way (default 3).
            **kwargs: ignored.
        """
        if hasattr(self, "_finalizer") and self._finalizer.detach():
            self._flight.clear()
            _end(self._dispatcher, self._simulation, _CLOSE_GRACE_S if timeout is None else timeout)

    def _slot_sizes(self) -> list[int]:
        num_threads = self.num_env_runners
        return [self.num_envs * (k + 1) // num_threads - self.num_envs * k // num_threads for k in range(num_threads)]

    def _start(self, chosen: Selection | None) -> None:
        self._arrays.sent_ns.fill(perf_counter_ns())
        if chosen is None:
            self._dispatcher.submit(self._work)
            return
        for begin in range(0, len(chosen), self.batch_size):
            self._dispatcher.submit(partial(self._work, chosen.ids[begin : begin + self.batch_size]))

    def _finish_all(self) -> Infos:
        _, infos = self._dispatcher.next_result()
        self._take_faults()
        return infos

    def _finish_some(self, wanted: Selection | None) -> tuple[list[int], Infos]:
        ids, infos = self._dispatcher.next_result()
        self._take_faults()
        assert ids is not None  # only a step of all that is finished as one has none
        return ids.tolist(), infos

    def _reset_envs(
        self, seeds: list[int | None], options: dict[str, Any] | None, mask: Mask | None
    ) -> list[InfoRecord]:
        if mask is None:
            self._dispatcher.clear()
        else:
            self._drain()  # the simulation does one thing at a time
        chosen = self._flight.everyone.ids if mask is None else np.flatnonzero(mask)
        return self._stepper.reset(chosen, [seeds[index] for index in chosen.tolist()], options)

    def _release(self) -> None:
        self._dispatcher.clear()

    def _take_faults(self) -> None:
        if self._stepper.faults:
            faults, self._stepper.faults = self._stepper.faults, []
            self._took_faults(faults)

    def _refuse(self, what: str) -> NoReturn:
        self._check_alive(what)
        raise RequestError(
            f"expected a backend that has environment objects, got {what} with backend native, whose environments are "
            f"rows of arrays; use backend serial, thread or shm"
        )


class _Shares:
    """Books steps to the R threads in equal shares: who of a pool did what is not to be known.

    Args:
        arrays: arrays of the vector.
        num_threads: R.
    """

    def __init__(self, arrays: VecArrays, num_threads: int) -> None:
        self._arrays = arrays
        self._num_envs = len(arrays.rewards)
        self._slots = np.arange(num_threads + 1)
        self._total = 0

    def book(self, begin_ns: int, env_ids: EnvIds | None, latency_ns: int) -> None:
        """Note that a step of ``env_ids`` (None: all) that began at ``begin_ns`` is over."""
        arrays, end_ns = self._arrays, perf_counter_ns()
        self._total += self._num_envs if env_ids is None else len(env_ids)
        ends = self._total * self._slots // (len(self._slots) - 1)
        np.subtract(ends[1:], ends[:-1], out=arrays.env_steps)
        np.add(arrays.busy_ns, end_ns - begin_ns, out=arrays.busy_ns)
        arrays.finished_ns.fill(end_ns)
        np.add(arrays.wakeups, 1, out=arrays.wakeups)
        arrays.wake_latency_ns.fill(latency_ns)


def make_simulation(factory: EnvFactory, num_envs: int, num_threads: int, options: VecOptions) -> Simulation:
    """Make the simulation of an environment.

    Raises:
        PlanError: it cannot be run natively.
        EnvError: it cannot be built.
    """
    choice = choose(factory)
    if isinstance(choice, str):
        raise PlanError(choice)
    if choice.engine == "envpool":
        from paceline.vector.native.envpool import EnvpoolSimulation  # loads EnvPool: seconds, and JAX

        return EnvpoolSimulation(choice.name, factory.kwargs, num_envs, num_threads, options)
    template = factory()
    try:
        if choice.engine == "classic":
            return ClassicSimulation(template, load_classic(choice), num_envs, num_threads)
        from paceline.vector.native.mujoco_simulation import MujocoSimulation  # loads MuJoCo

        return MujocoSimulation(template, load_task(choice), num_envs, num_threads)
    finally:
        template.close()


def _step(stepper: Stepper, shares: _Shares, dispatcher: Dispatcher[_Step], env_ids: EnvIds | None = None) -> _Step:
    begin_ns = perf_counter_ns()
    infos = stepper.step(env_ids)
    shares.book(begin_ns, env_ids, dispatcher.latency_ns)
    return env_ids, infos


def _end(dispatcher: Dispatcher[_Step], simulation: Simulation, timeout: float = _CLOSE_GRACE_S) -> None:
    if dispatcher.close(timeout):  # else a step is under way for good, and the simulation with it
        simulation.close()
