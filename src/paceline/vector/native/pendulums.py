"""Gymnasium's classic-control tasks in which something swings: Pendulum, Acrobot."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.utils import maybe_parse_reset_bounds, verify_number_and_cast
from numpy.typing import NDArray

from paceline.vector.native.classic_task import ClassicTask, Floats, Observations, ResetOptions, Verdict, squared

_PI = np.pi


class Pendulum(ClassicTask):
    """``Pendulum``: the state is angle and angular velocity."""

    size = 2
    fastest, strongest = 8, 2.0
    dt, mass, length = 0.05, 1.0, 1.0

    def draw_state(self, rng: np.random.Generator, reset_options: ResetOptions) -> Floats:
        """Draw both, each from an interval around 0."""
        bounds = [_PI, 1.0]
        if reset_options is not None:
            names = zip(("x_init", "y_init"), bounds, strict=True)
            bounds = [verify_number_and_cast(reset_options.get(name, default)) for name, default in names]
        high = np.array(bounds)
        return rng.uniform(low=-high, high=high)

    def move(self, state: Floats, actions: NDArray[Any]) -> Verdict:
        """Charge for what there was before the step, then swing."""
        theta, speed = state
        torque = np.clip(actions[:, 0], -self.strongest, self.strongest)
        torque_squared = np.array([value**2 for value in torque])  # scalars: powf rounds otherwise than a product
        angle = ((theta + _PI) % (2 * _PI)) - _PI
        costs = squared(angle) + 0.1 * squared(speed) + 0.001 * torque_squared
        pull = 3 * self.options["g"] / (2 * self.length) * np.sin(theta)
        speed += (pull + 3.0 / (self.mass * self.length**2) * torque) * self.dt
        np.clip(speed, -self.fastest, self.fastest, out=speed)
        theta += speed * self.dt
        return Verdict(-costs, False)

    def observe(self, state: Floats, out: Observations) -> None:
        """The angle's cosine and sine, and the angular velocity."""
        out[:, 0], out[:, 1], out[:, 2] = np.cos(state[0]), np.sin(state[0]), state[1]


class Acrobot(ClassicTask):
    """``Acrobot``: the state is the angles of both links and their angular velocities."""

    size = 4
    torques = np.array([-1.0, 0.0, 1.0])
    dt = 0.2
    fastest = (4 * _PI, 9 * _PI)
    length_1, center_1, center_2 = 1.0, 0.5, 0.5
    mass_1, mass_2, moment_1, moment_2 = 1.0, 1.0, 1.0, 1.0
    gravity = 9.8

    def draw_state(self, rng: np.random.Generator, reset_options: ResetOptions) -> Floats:
        """Draw all four from one interval, in single precision."""
        low, high = maybe_parse_reset_bounds(reset_options, -0.1, 0.1)
        return rng.uniform(low=low, high=high, size=(4,)).astype(np.float32).astype(np.float64)

    def errors(self, actions: NDArray[Any]) -> dict[int, Exception]:
        """Refuse what is no index of three torques; those from the end are."""
        wrong = np.flatnonzero((actions < -3) | (actions > 2)).tolist()
        return {row: IndexError("list index out of range") for row in wrong}

    def move(self, state: Floats, actions: NDArray[Any]) -> Verdict:
        """One step of the classic Runge-Kutta method; angles are wrapped, velocities cut."""
        torque, dt, half = self.torques[actions], self.dt, self.dt / 2.0
        k1 = self._slopes(state, torque)
        k2 = self._slopes(state + half * k1, torque)
        k3 = self._slopes(state + half * k2, torque)
        k4 = self._slopes(state + dt * k3, torque)
        state += dt / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles = state[:2]
        while (over := angles > _PI).any():
            angles[over] -= 2 * _PI
        while (under := angles < -_PI).any():
            angles[under] += 2 * _PI
        for velocity, most in zip(state[2:], self.fastest, strict=True):
            np.clip(velocity, -most, most, out=velocity)
        terminated = -np.cos(state[0]) - np.cos(state[1] + state[0]) > 1.0
        return Verdict(np.where(terminated, 0.0, -1.0), terminated)

    def observe(self, state: Floats, out: Observations) -> None:
        """The angles' cosines and sines, and the angular velocities."""
        out[:, :4:2], out[:, 1:4:2], out[:, 4:] = np.cos(state[:2]).T, np.sin(state[:2]).T, state[2:].T

    def observe_start(self, state: Floats, out: Observations) -> None:
        """The same in single precision, in which Gymnasium draws start states."""
        angles = state[:2].astype(np.float32)
        out[:, :4:2], out[:, 1:4:2], out[:, 4:] = np.cos(angles).T, np.sin(angles).T, state[2:].T

    def _slopes(self, state: Floats, torque: Floats) -> Floats:
        """Return the time derivative of ``state`` ``[4, B]``: the equations of Sutton and Barto's book."""
        m1, m2, l1, lc1, lc2 = self.mass_1, self.mass_2, self.length_1, self.center_1, self.center_2
        i1, i2, g = self.moment_1, self.moment_2, self.gravity
        theta1, theta2, dtheta1, dtheta2 = state
        cos2, sin2 = np.cos(theta2), np.sin(theta2)
        d1 = m1 * lc1**2 + m2 * (l1**2 + lc2**2 + 2 * l1 * lc2 * cos2) + i1 + i2
        d2 = m2 * (lc2**2 + l1 * lc2 * cos2) + i2
        phi2 = m2 * lc2 * g * np.cos(theta1 + theta2 - _PI / 2.0)
        phi1 = (
            -m2 * l1 * lc2 * squared(dtheta2) * sin2
            - 2 * m2 * l1 * lc2 * dtheta2 * dtheta1 * sin2
            + (m1 * lc1 + m2 * l1) * g * np.cos(theta1 - _PI / 2)
            + phi2
        )
        slopes = np.empty_like(state)
        slopes[:2] = state[2:]
        slopes[3] = (torque + d2 / d1 * phi1 - m2 * l1 * lc2 * squared(dtheta1) * sin2 - phi2) / (
            m2 * lc2**2 + i2 - squared(d2) / d1
        )
        slopes[2] = -(d2 * slopes[3] + phi1) / d1
        return slopes
