"""What a MuJoCo task is beside its physics: start states, observations, rewards, ends and infos, in batched NumPy.

Each task mirrors one environment class of Gymnasium, down to the order of its floating-point operations, so that equal
physics give equal observations and rewards. Fields of ``MjData`` come as arrays with the environment axis first,
``[B, ...]``; what a task reads is listed in :attr:`Task.fields`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Fields = Mapping[str, Floats]
"""Arrays ``[B, ...]`` of ``MjData`` fields by name: ``qpos``, ``qvel``, ``ctrl`` and the task's own."""
Columns = dict[str, NDArray[Any]]
"""Infos of B environments by key, ``[B]`` or ``[B, k]``, in the order in which Gymnasium names them."""

_NOTHING: Floats = np.empty(0)


@dataclass(frozen=True)
class Model:
    """What a task needs to know of the ``MjModel``.

    Attributes:
        nq, nv: sizes of ``qpos`` and ``qvel``.
        timestep: seconds of one physics step.
        frame_skip: physics steps in one environment step.
        init_qpos: start position before noise, ``[nq]``.
        init_qvel: start velocity before noise, ``[nv]``.
        body_mass: kilograms, ``[nbody]``.
        body_ids: indices of bodies by name.
    """

    nq: int
    nv: int
    timestep: float
    frame_skip: int
    init_qpos: Floats
    init_qvel: Floats
    body_mass: Floats
    body_ids: Mapping[str, int]

    @property
    def dt(self) -> float:
        """Seconds of one environment step."""
        return self.timestep * self.frame_skip


@dataclass(frozen=True)
class Verdict:
    """What a step was worth.

    Attributes:
        rewards: ``[B]``.
        terminated: bool ``[B]``, or None where the task never terminates.
        terms: arrays that went into the reward, for :meth:`Task.step_infos`.
    """

    rewards: NDArray[Any]
    terminated: NDArray[np.bool_] | None = None
    terms: Columns = field(default_factory=dict)


class Task(ABC):
    """One of Gymnasium's MuJoCo tasks over B environments.

    Args:
        model: sizes and constants of the model.
        options: every keyword argument of Gymnasium's class, defaults included.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    """Fields of ``MjData`` that are read beside ``qpos``, ``qvel`` and ``ctrl``."""
    contact_forces: ClassVar[bool] = False
    """Whether ``cfrc_ext`` is among them, which MuJoCo computes only on request (``mj_rnePostConstraint``)."""

    def __init__(self, model: Model, options: Mapping[str, Any]) -> None:
        self.model = model
        self.options = options

    @abstractmethod
    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return the start ``qpos`` ``[nq]`` and ``qvel`` ``[nv]`` of one episode, drawn as Gymnasium draws them."""

    @abstractmethod
    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations into ``out`` ``[B, n]``."""

    def mark(self, data: Fields) -> Floats:
        """Return a copy of what the reward compares with after the step: a position, or nothing (an empty array)."""
        return _NOTHING

    @abstractmethod
    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return what the step that led to ``data`` was worth.

        Args:
            data: fields after the step.
            before: what :meth:`mark` returned before it.
            actions: ``[B, nu]``, in the action space's dtype, as Gymnasium's environments get them.
        """

    @abstractmethod
    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        return {}

    def uniform_noise(self, rng: np.random.Generator, size: int) -> Floats:
        """Return noise of one environment, uniform in plus or minus ``reset_noise_scale``, ``[size]``."""
        scale = self.options["reset_noise_scale"]
        return rng.uniform(low=-scale, high=scale, size=size)

    def normal_noise(self, rng: np.random.Generator, size: int) -> Floats:
        """Return noise of one environment, normal with deviation ``reset_noise_scale``, ``[size]``."""
        noise: Floats = self.options["reset_noise_scale"] * rng.standard_normal(size)
        return noise


def control_cost(weight: float, actions: NDArray[Any]) -> NDArray[Any]:
    """Return ``weight * |a|^2``, ``[B]``, in the actions' own precision as Gymnasium does."""
    cost: NDArray[Any] = weight * np.sum(np.square(actions), axis=1)
    return cost


def norm(vectors: Floats) -> Floats:
    """Return the Euclidean norms of ``[B, k]``, ``[B]``: row by row the dot product that ``np.linalg.norm`` takes."""
    norms: Floats = np.sqrt(np.vecdot(vectors, vectors))
    return norms


def write_state(data: Fields, skip: int, out: Floats, *, clip: float | None = None) -> int:
    """Write ``qpos`` without its first ``skip`` columns, then ``qvel`` (clipped); return how many columns that is."""
    qpos, qvel = data["qpos"], data["qvel"]
    split: int = qpos.shape[1] - skip
    end: int = split + qvel.shape[1]
    out[:, :split] = qpos[:, skip:]
    if clip is None:
        out[:, split:end] = qvel
    else:
        np.clip(qvel, -clip, clip, out=out[:, split:end])
    return end
