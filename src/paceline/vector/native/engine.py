"""Physics of N environments at once: who steps the ``MjData``, on how many threads, and where the fields are read.

Two engines, one interface, the same numbers bit for bit:

* :class:`BatchEngine`: MuJoCo's own ``mujoco.batch`` (from 4.0): one call steps all environments on C threads. The
  state row that it keeps for each environment has the solver's warm start in it, so that trajectories are those of one
  ``MjData`` per environment. (``mujoco.rollout`` takes a warm start but returns none. Started cold, a step of
  HalfCheetah differs by up to 4e-13, which chaos makes 0.1 after 100 steps and several metres after 300.)
* :class:`DataEngine`: one ``MjData`` per environment, stepped by a few Python threads; ``mj_step`` releases the GIL.
  For tasks that read ``cfrc_ext``: Gymnasium asks for it after the step (``mj_rnePostConstraint``), from quantities of
  the integrator's last stage, which nothing in a batch can do. Serves every task where MuJoCo has no ``batch``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from paceline.vector.native.simulation import BeginFailedError, Failure
from paceline.vector.native.task import Fields, Floats

try:
    from mujoco import batch as mujoco_batch
except ImportError:  # MuJoCo before 4.0
    mujoco_batch = None

EnvIds = NDArray[np.int64]
STATE_FIELDS = ("qpos", "qvel", "ctrl")


class Engine(ABC):
    """N simulations of one model.

    Attributes:
        fields: arrays ``[N, ...]`` of ``MjData`` fields by name; they change with every call and are not to be written.
    """

    fields: dict[str, Floats]

    @abstractmethod
    def step(self, env_ids: EnvIds | None, controls: NDArray[Any], num_steps: int) -> Sequence[Failure]:
        """Advance environments by ``num_steps`` physics steps.

        Args:
            env_ids: which, ascending; None: all.
            controls: ``[B, nu]``.
            num_steps: physics steps of one environment step.

        Returns:
            Simulations in which MuJoCo raised an error, ascending; the others have stepped.
        """

    @abstractmethod
    def reset(self, env_ids: EnvIds, qpos: Floats, qvel: Floats) -> None:
        """Reset environments and put them into states ``qpos`` ``[B, nq]``, ``qvel`` ``[B, nv]``.

        Raises:
            BeginFailedError: MuJoCo raised an error in a simulation.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the threads back."""


def make_engine(
    model: mujoco.MjModel, num_envs: int, num_threads: int, fields: Sequence[str], *, contact_forces: bool
) -> Engine:
    """Return the fastest engine that computes ``fields`` as Gymnasium does.

    Args:
        model: the model; kept.
        num_envs: N.
        num_threads: threads that step, the caller's included.
        fields: fields of ``MjData`` that are read beside ``qpos``, ``qvel`` and ``ctrl``.
        contact_forces: whether ``cfrc_ext`` is among them.
    """
    if contact_forces or mujoco_batch is None:
        return DataEngine(model, num_envs, num_threads, fields, contact_forces=contact_forces)
    return BatchEngine(model, num_envs, num_threads, fields)


class BatchEngine(Engine):
    """N rows of state, stepped by ``mujoco.batch``.

    Args:
        model: the model.
        num_envs: N.
        num_threads: threads that step, the caller's included.
        fields: fields that are read beside the state.
    """

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int, fields: Sequence[str]) -> None:
        self._batch = mujoco_batch.Batch(model, num_envs, num_threads)
        self.fields = {name: self._batch.bind(name) for name in (*STATE_FIELDS, *fields)}
        self._controls = self.fields["ctrl"]
        self._derived = bool(fields)

    def step(self, env_ids: EnvIds | None, controls: NDArray[Any], num_steps: int) -> Sequence[Failure]:
        """Advance environments."""
        self._controls[slice(None) if env_ids is None else env_ids] = controls
        try:
            self._batch.step(env_ids, nstep=num_steps)
        except mujoco_batch.SimulationError as error:
            return self._failures(error)
        return ()

    def reset(self, env_ids: EnvIds, qpos: Floats, qvel: Floats) -> None:
        """Reset environments and put them into states."""
        try:
            self._batch.reset(env_ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
            self.fields["qpos"][env_ids] = qpos
            self.fields["qvel"][env_ids] = qvel
            if self._derived:  # the next step computes everything anew: only what is read now needs this
                self._batch.forward(env_ids)
        except mujoco_batch.SimulationError as error:
            raise BeginFailedError(self._failures(error)[0]) from error

    def close(self) -> None:
        """Give the threads back."""
        self.fields = {}
        del self._batch

    def _failures(self, error: Any) -> list[Failure]:
        return [_failure(index, self._batch.error(index), error) for index in sorted(error.ids.tolist())]


class DataEngine(Engine):
    """One ``MjData`` per environment and a few threads that take the next one that is due.

    Args:
        model: the model.
        num_envs: N.
        num_threads: threads that step, the caller's included.
        fields: fields that are read beside the state.
        contact_forces: whether to compute ``cfrc_ext`` after each step.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        num_threads: int,
        fields: Sequence[str],
        *,
        contact_forces: bool,
    ) -> None:
        self._model = model
        self._datas = [mujoco.MjData(model) for _ in range(num_envs)]
        self._contact_forces = contact_forces
        self._controls = [data.ctrl for data in self._datas]
        self._views = {name: [getattr(data, name) for data in self._datas] for name in ("qpos", "qvel", *fields)}
        self.fields = {name: np.stack(views) for name, views in self._views.items()}
        self.fields["ctrl"] = np.zeros((num_envs, model.nu))
        self._due: deque[int] = deque()
        self._num_steps = 1
        self._failures: list[Failure] = []
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[bool] = SimpleQueue()
        self._helpers = [
            threading.Thread(target=self._serve, name=f"paceline-mujoco-{k}", daemon=True)
            for k in range(1, min(num_threads, num_envs))
        ]
        for helper in self._helpers:
            helper.start()

    def step(self, env_ids: EnvIds | None, controls: NDArray[Any], num_steps: int) -> Sequence[Failure]:
        """Advance environments."""
        indices = range(len(self._datas)) if env_ids is None else env_ids.tolist()
        self.fields["ctrl"][slice(None) if env_ids is None else env_ids] = controls
        for index, row in zip(indices, controls, strict=True):
            self._controls[index][:] = row
        self._num_steps = num_steps
        self._due.extend(indices)
        helpers = self._helpers[: len(indices) - 1]
        for _ in helpers:
            self._calls.put(True)
        self._work()
        for _ in helpers:
            self._answers.get()
        self._gather(env_ids)
        if not self._failures:
            return ()
        failures, self._failures = sorted(self._failures, key=lambda failure: failure.env_index), []
        return failures

    def reset(self, env_ids: EnvIds, qpos: Floats, qvel: Floats) -> None:
        """Reset environments and put them into states."""
        for index, position, velocity in zip(env_ids.tolist(), qpos, qvel, strict=True):
            data = self._datas[index]
            mujoco.mj_resetData(self._model, data)
            data.qpos[:] = position
            data.qvel[:] = velocity
            try:
                mujoco.mj_forward(self._model, data)
            except Exception as error:
                raise BeginFailedError(_failure(index, str(error), error)) from error
        self.fields["ctrl"][env_ids] = 0.0
        self._gather(env_ids)

    def close(self) -> None:
        """Give the threads back."""
        for _ in self._helpers:
            self._calls.put(False)
        for helper in self._helpers:
            helper.join()
        self._helpers = []

    def _serve(self) -> None:
        while self._calls.get():
            self._work()
            self._answers.put(True)

    def _work(self) -> None:
        """Step environments that are due until there are none; a deque's ``popleft`` is atomic."""
        model, datas, due, num_steps = self._model, self._datas, self._due, self._num_steps
        while due:
            try:
                index = due.popleft()
            except IndexError:
                return
            data = datas[index]
            try:
                mujoco.mj_step(model, data, num_steps)
                if self._contact_forces:
                    mujoco.mj_rnePostConstraint(model, data)
            except Exception as error:
                self._failures.append(_failure(index, str(error), error))

    def _gather(self, env_ids: EnvIds | None) -> None:
        """Copy fields out of the ``MjData``: one concatenation per field instead of one assignment per environment."""
        for name, views in self._views.items():
            out = self.fields[name]
            if env_ids is None:
                np.concatenate(views, out=out.reshape(-1, *out.shape[2:]))
            else:
                out[env_ids] = [views[index] for index in env_ids.tolist()]


def only(fields: Fields, env_ids: EnvIds | None) -> Fields:
    """Return the rows ``env_ids`` (None: all) of every field."""
    return fields if env_ids is None else _Rows(fields, env_ids)


class _Rows(dict[str, Floats]):
    """Rows of fields, taken when they are asked for."""

    def __init__(self, fields: Fields, env_ids: EnvIds) -> None:
        super().__init__()
        self._fields = fields
        self._env_ids = env_ids

    def __missing__(self, name: str) -> Floats:
        rows = self._fields[name][self._env_ids]
        self[name] = rows
        return rows


def _failure(env_index: int, message: str, error: Exception) -> Failure:
    return Failure(env_index, f"MuJoCo raised in an environment: {message}".rstrip(": ."), error)
