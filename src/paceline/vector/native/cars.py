"""Gymnasium's classic-control tasks in which something drives: CartPole, MountainCar, MountainCarContinuous."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.utils import maybe_parse_reset_bounds
from numpy.typing import NDArray

from paceline.vector.native.classic_task import (
    ClassicTask,
    Floats,
    Observations,
    ResetOptions,
    Verdict,
    cosines,
    refuse_actions,
)


class CartPole(ClassicTask):
    """``CartPole``: the state is position and velocity of the cart, angle and angular velocity of the pole."""

    size = 4
    gravity, pole_mass, total_mass, half_length = 9.8, 0.1, 0.1 + 1.0, 0.5
    pole_moment = 0.1 * 0.5
    forces = np.array([-10.0, 10.0])
    tau = 0.02
    """Seconds of a step."""
    limits = np.array([[2.4], [12 * 2 * math.pi / 360]])
    """Of position and angle."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._sutton_barto = bool(options["sutton_barto_reward"])

    def draw_state(self, rng: np.random.Generator, reset_options: ResetOptions) -> Floats:
        """Draw all four from one interval."""
        low, high = maybe_parse_reset_bounds(reset_options, -0.05, 0.05)
        return rng.uniform(low=low, high=high, size=(4,))

    def errors(self, actions: NDArray[Any]) -> dict[int, Exception]:
        """Refuse all but 0 and 1."""
        return refuse_actions(actions, 2)

    def move(self, state: Floats, actions: NDArray[Any]) -> Verdict:
        """Euler's method: positions move with the velocities before the step."""
        cos, sin = np.cos(state[2]), np.sin(state[2])
        push = self.forces.take(actions)
        push = (push + self.pole_moment * np.square(state[3]) * sin) / self.total_mass
        change = np.empty_like(state)
        change[::2] = state[1::2]
        inertia = self.half_length * (4.0 / 3.0 - self.pole_mass * np.square(cos) / self.total_mass)
        turning = np.divide(self.gravity * sin - cos * push, inertia, out=change[3])
        np.subtract(push, self.pole_moment * turning * cos / self.total_mass, out=change[1])
        change *= self.tau
        state += change
        beyond = np.abs(state[::2]) > self.limits
        terminated = beyond[0] | beyond[1]
        return Verdict(np.where(terminated, -1.0, 0.0) if self._sutton_barto else 1.0, terminated)

    def observe(self, state: Floats, out: Observations) -> None:
        """All of the state."""
        out[:] = state.T


class MountainCar(ClassicTask):
    """``MountainCar``: the state is position and velocity."""

    size = 2
    lowest, highest, fastest = -1.2, 0.6, 0.07
    goal = 0.5
    force, gravity = 0.001, 0.0025

    def draw_state(self, rng: np.random.Generator, reset_options: ResetOptions) -> Floats:
        """Draw the position; the car stands."""
        low, high = maybe_parse_reset_bounds(reset_options, -0.6, -0.4)
        return np.array([rng.uniform(low=low, high=high), 0.0])

    def errors(self, actions: NDArray[Any]) -> dict[int, Exception]:
        """Refuse all but 0, 1 and 2."""
        return refuse_actions(actions, 3)

    def move(self, state: Floats, actions: NDArray[Any]) -> Verdict:
        """Push, roll, and stop dead at the wall on the left."""
        position, velocity = state
        velocity += (actions - 1) * self.force + cosines(3 * position) * (-self.gravity)
        np.clip(velocity, -self.fastest, self.fastest, out=velocity)
        position += velocity
        np.clip(position, self.lowest, self.highest, out=position)
        velocity[(position == self.lowest) & (velocity < 0)] = 0.0
        return Verdict(-1.0, (position >= self.goal) & (velocity >= self.options["goal_velocity"]))

    def observe(self, state: Floats, out: Observations) -> None:
        """All of the state."""
        out[:] = state.T


class MountainCarContinuous(ClassicTask):
    """``MountainCarContinuous``: the state is position, velocity, and whether the episode has yet to take a step.

    Gymnasium keeps the state in double precision until the first step, and in single precision from then on.
    """

    size = 3
    lowest, highest, fastest = -1.2, 0.6, 0.07
    goal = 0.45
    power, slope = 0.0015, 0.0025

    def draw_state(self, rng: np.random.Generator, reset_options: ResetOptions) -> Floats:
        """Draw the position; the car stands."""
        low, high = maybe_parse_reset_bounds(reset_options, -0.6, -0.4)
        return np.array([rng.uniform(low=low, high=high), 0.0, 1.0])

    def move(self, state: Floats, actions: NDArray[Any]) -> Verdict:
        """Push, roll, and stop dead at the wall on the left; the reward charges for the push that was asked for."""
        asked = actions[:, 0]
        fresh = state[2] > 0
        if fresh.all():
            reached = self._roll(state, asked, np.float64)
        elif fresh.any():
            reached = np.empty(len(asked), np.bool_)
            for rows, dtype in ((fresh, np.float64), (~fresh, np.float32)):
                part = state[:, rows]
                reached[rows] = self._roll(part, asked[rows], dtype)
                state[:, rows] = part
        else:
            reached = self._roll(state, asked, np.float32)
        charges = np.array([math.pow(push, 2) * 0.1 for push in asked.tolist()])
        return Verdict(np.where(reached, 100.0, 0.0) - charges, reached)

    def observe(self, state: Floats, out: Observations) -> None:
        """Position and velocity."""
        out[:] = state[:2].T

    def _roll(self, state: Floats, asked: NDArray[np.float32], dtype: type[np.floating[Any]]) -> NDArray[np.bool_]:
        """Advance environments that compute in ``dtype``; return which have reached the goal.

        A push within the bounds is a float32 and makes the sum with the slope's pull one; a push that was cut to a
        bound is a Python number, and the sum is in double precision until it meets the velocity.
        """
        position, velocity = state[0].astype(dtype), state[1].astype(dtype)
        pull = self.slope * cosines(3 * position)
        gain = (asked * self.power - pull.astype(np.float32)).astype(np.float64)
        for cut, bound in ((asked < -1.0, -1.0), (asked > 1.0, 1.0)):
            gain[cut] = bound * self.power - pull[cut]
        velocity += gain.astype(dtype)
        goal_velocity = self.options["goal_velocity"]
        too_fast, too_fast_back = velocity > self.fastest, velocity < -self.fastest
        velocity[too_fast], velocity[too_fast_back] = self.fastest, -self.fastest
        position += velocity
        position[position > self.highest] = self.highest
        position[position < self.lowest] = self.lowest
        velocity[(position == self.lowest) & (velocity < 0)] = 0.0
        quick = velocity >= goal_velocity
        quick[too_fast], quick[too_fast_back] = self.fastest >= goal_velocity, -self.fastest >= goal_velocity
        state[0], state[1] = position.astype(np.float32), velocity.astype(np.float32)
        state[2] = 0.0
        reached: NDArray[np.bool_] = (position >= self.goal) & quick
        return reached
