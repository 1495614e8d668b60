"""Arms and poles: tasks that read positions of bodies, sites and constraint forces as well as the state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.vector.native.task import Columns, Fields, Floats, Task, Verdict, norm


class InvertedPendulum(Task):
    """InvertedPendulum-v5: keep a pole on a cart upright."""

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.uniform_noise(rng, model.nv)

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        np.concatenate((data["qpos"], data["qvel"]), axis=1, out=out)

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        qpos, qvel = data["qpos"], data["qvel"]
        finite = np.isfinite(qpos).all(axis=1) & np.isfinite(qvel).all(axis=1)
        terminated = ~finite | (np.abs(qpos[:, 1]) > 0.2)
        return Verdict((~terminated).astype(np.int64), terminated)

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        return {"reward_survive": verdict.rewards}


class InvertedDoublePendulum(Task):
    """InvertedDoublePendulum-v5: keep two linked poles on a cart upright."""

    fields = ("site_xpos", "qfrc_constraint")

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = model.init_qpos + self.uniform_noise(rng, model.nq)
        return qpos, model.init_qvel + self.normal_noise(rng, model.nv)

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        qpos = data["qpos"]
        angles = np.ascontiguousarray(qpos[:, 1:])
        poles = angles.shape[1]
        out[:, :1] = qpos[:, :1]
        out[:, 1 : 1 + poles] = np.sin(angles)
        out[:, 1 + poles : 1 + 2 * poles] = np.cos(angles)
        np.clip(data["qvel"], -10, 10, out=out[:, 1 + 2 * poles : -1])
        np.clip(data["qfrc_constraint"][:, :1], -10, 10, out=out[:, -1:])

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        tip, qvel = data["site_xpos"][:, 0], data["qvel"]
        x, y = tip[:, 0], tip[:, 2]
        terminated: NDArray[np.bool_] = y <= 1
        # Gymnasium squares scalars with pow(), which rounds differently now and then: hence equal to 1e-14 only.
        distance = 0.01 * np.square(x) + np.square(y - 2)
        velocity = 0.001 * np.square(qvel[:, 1]) + 0.005 * np.square(qvel[:, 2])
        alive = self.options["healthy_reward"] * (~terminated).astype(np.int64)
        return Verdict(
            alive - distance - velocity, terminated, {"alive": alive, "distance": distance, "velocity": velocity}
        )

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        terms = verdict.terms
        return {
            "reward_survive": terms["alive"],
            "distance_penalty": -terms["distance"],
            "velocity_penalty": -terms["velocity"],
        }


class Reacher(Task):
    """Reacher-v5: bring the tip of a two-link arm to a target."""

    fields = ("xpos",)

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        qpos = rng.uniform(low=-0.1, high=0.1, size=model.nq) + model.init_qpos
        while True:
            goal = rng.uniform(low=-0.2, high=0.2, size=2)
            if np.linalg.norm(goal) < 0.2:
                break
        qpos[-2:] = goal
        qvel = model.init_qvel + rng.uniform(low=-0.005, high=0.005, size=model.nv)
        qvel[-2:] = 0
        return qpos, qvel

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        qpos, rest = data["qpos"], 4 + data["qpos"].shape[1] - 2
        theta = np.ascontiguousarray(qpos[:, :2])
        out[:, :2] = np.cos(theta)
        out[:, 2:4] = np.sin(theta)
        out[:, 4:rest] = qpos[:, 2:]
        out[:, rest : rest + 2] = data["qvel"][:, :2]
        out[:, rest + 2 :] = self._reach(data)[:, :2]

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        dist = -norm(self._reach(data)) * self.options["reward_dist_weight"]
        ctrl = -np.square(actions).sum(axis=1) * self.options["reward_control_weight"]
        return Verdict(dist + ctrl, terms={"reward_dist": dist, "reward_ctrl": ctrl})

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        return dict(verdict.terms)

    def _reach(self, data: Fields) -> Floats:
        return between(data, self.model.body_ids["fingertip"], self.model.body_ids["target"])


class Pusher(Task):
    """Pusher-v5: push a cylinder to a goal with the tip of an arm."""

    fields = ("xpos",)

    def draw_state(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw as Gymnasium's ``reset_model`` does."""
        model = self.model
        while True:
            cylinder = np.concatenate([rng.uniform(low=-0.3, high=0, size=1), rng.uniform(low=-0.2, high=0.2, size=1)])
            if np.linalg.norm(cylinder) > 0.17:
                break
        qpos = model.init_qpos.copy()
        qpos[-4:-2] = cylinder
        qpos[-2:] = 0  # the goal
        qvel = model.init_qvel + rng.uniform(low=-0.005, high=0.005, size=model.nv)
        qvel[-4:] = 0
        return qpos, qvel

    def observe(self, data: Fields, out: Floats) -> None:
        """Write the observations."""
        bodies = self.model.body_ids
        out[:, :7] = data["qpos"][:, :7]
        out[:, 7:14] = data["qvel"][:, :7]
        for k, name in enumerate(("tips_arm", "object", "goal")):
            out[:, 14 + 3 * k : 17 + 3 * k] = data["xpos"][:, bodies[name]]

    def judge(self, data: Fields, before: Floats, actions: NDArray[Any]) -> Verdict:
        """Return reward and end of the step."""
        bodies, options = self.model.body_ids, self.options
        near = -norm(between(data, bodies["object"], bodies["tips_arm"])) * options["reward_near_weight"]
        dist = -norm(between(data, bodies["object"], bodies["goal"])) * options["reward_dist_weight"]
        ctrl = -np.square(actions).sum(axis=1) * options["reward_control_weight"]
        return Verdict(dist + ctrl + near, terms={"reward_dist": dist, "reward_ctrl": ctrl, "reward_near": near})

    def step_infos(self, data: Fields, verdict: Verdict) -> Columns:
        """Return the infos of a step."""
        return dict(verdict.terms)


def between(data: Fields, body: int, other: int) -> Floats:
    """Return the vectors from ``other`` to ``body`` in metres, ``[B, 3]``."""
    xpos = data["xpos"]
    difference: Floats = xpos[:, body] - xpos[:, other]
    return difference
