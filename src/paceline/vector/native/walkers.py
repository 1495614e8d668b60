"""Planar bodies that move along x, and whose tasks read nothing but the state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.vector.native.task import Columns, Fields, Floats, Task, Verdict, control_cost, norm, write_state


class _ForwardTask(Task):
    """A reward for the speed along x; the first coordinate of ``qpos`` is x."""

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        write_state(data, int(self.options["exclude_current_positions_from_observation"]), out)

    def mark(self, data: Fields) -> Floats:
        """Return the position before the step."""
        return data["qpos"][:, 0].copy()

    def _forward(self, data: Fields, before: Floats) -> tuple[Floats, Floats]:
        """Return speed along x and the reward for it, ``[B]``."""
        x_velocity: Floats = (data["qpos"][:, 0] - before) / self.model.dt
        return x_velocity, self.options["forward_reward_weight"] * x_velocity


class HalfCheetah(_ForwardTask):
    """HalfCheetah-v5."""

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.normal_noise(rng, model.nv)

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        x_velocity, forward = self._forward(data, before)
        cost = control_cost(self.options["ctrl_cost_weight"], actions)
        return Verdict(forward - cost, terms={"x_velocity": x_velocity, "forward": forward, "ctrl": cost})

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            "x_position": data["qpos"][:, 0].copy(),
            "x_velocity": terms["x_velocity"],
            "reward_forward": terms["forward"],
            "reward_ctrl": -terms["ctrl"],
        }

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        return {"x_position": data["qpos"][:, 0].copy()}


class Walker2d(_ForwardTask):
    """Walker2d-v5: healthy while torso height and angle are within their ranges."""

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.uniform_noise(rng, model.nv)

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        write_state(data, int(self.options["exclude_current_positions_from_observation"]), out, clip=10.0)

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        x_velocity, forward = self._forward(data, before)
        healthy = self._is_healthy(data)
        survive = healthy * self.options["healthy_reward"]
        cost = control_cost(self.options["ctrl_cost_weight"], actions)
        return Verdict(
            forward + survive - cost,
            ~healthy if self.options["terminate_when_unhealthy"] else None,
            {"x_velocity": x_velocity, "forward": forward, "ctrl": cost, "survive": survive},
        )

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            **self.reset_infos(data),
            "x_velocity": terms["x_velocity"],
            "reward_forward": terms["forward"],
            "reward_ctrl": -terms["ctrl"],
            "reward_survive": terms["survive"],
        }

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        qpos = data["qpos"]
        return {"x_position": qpos[:, 0].copy(), "z_distance_from_origin": qpos[:, 1] - self.model.init_qpos[1]}

    def _is_healthy(self, data: Fields) -> NDArray[np.bool_]:
        qpos = data["qpos"]
        return _within(qpos[:, 1], self.options["healthy_z_range"]) & _within(
            qpos[:, 2], self.options["healthy_angle_range"]
        )


class Hopper(Walker2d):
    """Hopper-v5: healthy while, besides, every other coordinate and speed is within ``healthy_state_range``."""

    def _is_healthy(self, data: Fields) -> NDArray[np.bool_]:
        bounds = self.options["healthy_state_range"]
        in_range = _within(data["qpos"][:, 2:], bounds).all(axis=1) & _within(data["qvel"], bounds).all(axis=1)
        return in_range & super()._is_healthy(data)


class Swimmer(_ForwardTask):
    """Swimmer-v5: moves in a plane, rewarded along x."""

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.uniform_noise(rng, model.nv)

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        write_state(data, 2 * int(self.options["exclude_current_positions_from_observation"]), out)

    def mark(self, data: Fields) -> Floats:
        """Return the position before the step."""
        return data["qpos"][:, :2].copy()

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        velocity = (data["qpos"][:, :2] - before) / self.model.dt
        forward = self.options["forward_reward_weight"] * velocity[:, 0]
        cost = control_cost(self.options["ctrl_cost_weight"], actions)
        return Verdict(forward - cost, terms={"velocity": velocity, "forward": forward, "ctrl": cost})

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            **self.reset_infos(data),
            "x_velocity": terms["velocity"][:, 0],
            "y_velocity": terms["velocity"][:, 1],
            "reward_forward": terms["forward"],
            "reward_ctrl": -terms["ctrl"],
        }

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        return plane_infos(data)


def plane_infos(data: Fields) -> Columns:
    """Return x, y and the distance from the origin of bodies whose ``qpos`` begins with x and y."""
    qpos = data["qpos"]
    return {
        "x_position": qpos[:, 0].copy(),
        "y_position": qpos[:, 1].copy(),
        "distance_from_origin": norm(qpos[:, :2]),
    }


def _within(values: Floats, bounds: tuple[float, float]) -> NDArray[np.bool_]:
    low, high = bounds
    inside: NDArray[np.bool_] = (low < values) & (values < high)
    return inside
