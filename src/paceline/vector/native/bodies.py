"""Bodies in three dimensions, whose tasks read contact forces and inertias: Ant, Humanoid, HumanoidStandup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.vector.native.task import Columns, Fields, Floats, Model, Task, Verdict, control_cost, write_state
from paceline.vector.native.walkers import plane_infos


class Ant(Task):
    """Ant-v5."""

    fields = ("xpos", "cfrc_ext")
    contact_forces = True

    def __init__(self, model: Model, options: Mapping[str, Any]) -> None:
        super().__init__(model, options)
        body = options["main_body"]
        self._body = model.body_ids[body] if isinstance(body, str) else int(body)

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.normal_noise(rng, model.nv)

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        end = write_state(data, 2 * int(self.options["exclude_current_positions_from_observation"]), out)
        if self.options["include_cfrc_ext_in_observation"]:
            out[:, end:] = self._contact_forces(data)[:, 6:]  # without those on the world

    def mark(self, data: Fields) -> Floats:
        """Return the position before the step."""
        return data["xpos"][:, self._body, :2].copy()

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        options = self.options
        velocity = (data["xpos"][:, self._body, :2] - before) / self.model.dt
        forward = velocity[:, 0] * options["forward_reward_weight"]
        healthy = self._is_healthy(data)
        survive = healthy * options["healthy_reward"]
        ctrl = control_cost(options["ctrl_cost_weight"], actions)
        contact = options["contact_cost_weight"] * np.sum(np.square(self._contact_forces(data)), axis=1)
        return Verdict(
            forward + survive - (ctrl + contact),
            ~healthy if options["terminate_when_unhealthy"] else None,
            {"velocity": velocity, "forward": forward, "ctrl": ctrl, "contact": contact, "survive": survive},
        )

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            **plane_infos(data),
            "x_velocity": terms["velocity"][:, 0],
            "y_velocity": terms["velocity"][:, 1],
            "reward_forward": terms["forward"],
            "reward_ctrl": -terms["ctrl"],
            "reward_contact": -terms["contact"],
            "reward_survive": terms["survive"],
        }

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        return plane_infos(data)

    def _contact_forces(self, data: Fields) -> Floats:
        """Return forces and torques on each body, clipped, ``[B, nbody * 6]``."""
        forces = data["cfrc_ext"]
        low, high = self.options["contact_force_range"]
        return np.clip(forces.reshape(len(forces), -1), low, high)

    def _is_healthy(self, data: Fields) -> NDArray[np.bool_]:
        qpos = data["qpos"]
        low, high = self.options["healthy_z_range"]
        finite = np.isfinite(qpos).all(axis=1) & np.isfinite(data["qvel"]).all(axis=1)
        healthy: NDArray[np.bool_] = finite & (low <= qpos[:, 2]) & (qpos[:, 2] <= high)
        return healthy


class _HumanoidTask(Task):
    """What Humanoid and HumanoidStandup see."""

    fields = ("xipos", "cinert", "cvel", "qfrc_actuator", "cfrc_ext", "ten_length", "ten_velocity")
    contact_forces = True

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.uniform_noise(rng, model.nv)

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        begin = write_state(data, 2 * int(self.options["exclude_current_positions_from_observation"]), out)
        # World body and free joint are left out.
        for name, skip in (("cinert", 10), ("cvel", 6), ("qfrc_actuator", 6), ("cfrc_ext", 6)):
            if self.options[f"include_{name}_in_observation"] is True:
                values = data[name].reshape(len(out), -1)[:, skip:]
                end = begin + values.shape[1]
                out[:, begin:end] = values
                begin = end

    def _tendons(self, data: Fields) -> Columns:
        return {"tendon_length": data["ten_length"].copy(), "tendon_velocity": data["ten_velocity"].copy()}


class Humanoid(_HumanoidTask):
    """Humanoid-v5."""

    def mark(self, data: Fields) -> Floats:
        """Return the position before the step."""
        return self._mass_center(data)

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        options = self.options
        velocity = (self._mass_center(data) - before) / self.model.dt
        forward = options["forward_reward_weight"] * velocity[:, 0]
        low, high = options["healthy_z_range"]
        height = data["qpos"][:, 2]
        healthy = (low < height) & (height < high)
        survive = healthy * options["healthy_reward"]
        ctrl = control_cost(options["ctrl_cost_weight"], data["ctrl"])
        contact = np.clip(options["contact_cost_weight"] * squared_forces(data), *options["contact_cost_range"])
        return Verdict(
            forward + survive - (ctrl + contact),
            ~healthy if options["terminate_when_unhealthy"] else None,
            {"velocity": velocity, "forward": forward, "ctrl": ctrl, "contact": contact, "survive": survive},
        )

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            **self.reset_infos(data),
            "x_velocity": terms["velocity"][:, 0],
            "y_velocity": terms["velocity"][:, 1],
            "reward_survive": terms["survive"],
            "reward_forward": terms["forward"],
            "reward_ctrl": -terms["ctrl"],
            "reward_contact": -terms["contact"],
        }

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        plane = plane_infos(data)
        distance = plane.pop("distance_from_origin")
        return {**plane, **self._tendons(data), "distance_from_origin": distance}

    def _mass_center(self, data: Fields) -> Floats:
        """Return x and y of the centre of mass, ``[B, 2]``."""
        mass = self.model.body_mass
        centre: Floats = (np.einsum("b,nbj->nj", mass, data["xipos"]) / mass.sum())[:, :2]
        return centre


class HumanoidStandup(_HumanoidTask):
    """HumanoidStandup-v5: never terminates."""

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        options = self.options
        up = (data["qpos"][:, 2] - 0) / self.model.timestep
        ctrl = control_cost(options["ctrl_cost_weight"], data["ctrl"])
        impact = np.clip(options["impact_cost_weight"] * squared_forces(data), *options["impact_cost_range"])
        return Verdict(up - ctrl - impact + 1, terms={"up": up, "ctrl": ctrl, "impact": impact})

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            **self.reset_infos(data),
            "reward_linup": terms["up"],
            "reward_quadctrl": -terms["ctrl"],
            "reward_impact": -terms["impact"],
        }

    def reset_infos(self, data: Fields) -> Columns:
        """Return the infos of a reset."""
        qpos = data["qpos"]
        return {
            "x_position": qpos[:, 0].copy(),
            "y_position": qpos[:, 1].copy(),
            "z_distance_from_origin": qpos[:, 2] - self.model.init_qpos[2],
            **self._tendons(data),
        }


def squared_forces(data: Fields) -> Floats:
    """Return the sum of all squared contact forces and torques, ``[B]``."""
    forces = data["cfrc_ext"]
    total: Floats = np.square(forces.reshape(len(forces), -1)).sum(axis=1)
    return total
