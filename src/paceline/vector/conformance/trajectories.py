"""Checks that data are those of plain environments: every space, every autoreset mode, both ways to step."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from paceline.vector.conformance.backend import NEXT, SAME, BackendUnderTest, Case
from paceline.vector.conformance.equality import copied, flattened, require, require_same
from paceline.vector.conformance.probe import ReusingEnv
from paceline.vector.conformance.twin import Twin


class TrajectoryChecks(BackendUnderTest):
    """Observations, rewards, ends, resets, final observations and infos."""

    def test_data_are_those_of_plain_environments(self, case: Case) -> None:
        """Step by both calls, through ends of episodes, from every kind of seed; compare every part of every row."""
        seeds = list(range(3, 3 + self.num_envs))
        with self.twin(case.env, autoreset_mode=case.mode) as twin:
            require_spaces(twin)
            options = {"level": 2} if self.runs_own_envs else None
            twin.reset(seed=seeds, options=options)
            for _ in range(self.num_steps):
                twin.step()
                twin.begin_anew()
            twin.reset(seed=17)
            for _ in range(self.num_steps):
                twin.send()
                twin.receive()
                twin.begin_anew()
            twin.reset()
            for k in range(self.num_steps):
                if k % 2:
                    twin.step()
                else:
                    twin.send()
                    twin.receive()
                twin.begin_anew()
            require(
                sum(twin.ends) > 0,
                f"episodes of {case.env} end within {self.num_steps} steps, else nothing is shown; raise num_steps",
            )

    def test_it_is_a_vector_environment_of_gymnasium(self) -> None:
        """Look at the attributes that wrappers and training code read."""
        with self.shared_twin(autoreset_mode=SAME) as twin:
            require_gymnasium_face(twin)

    def test_one_environment_is_a_vector_too(self) -> None:
        """Compare a vector of one, with infos of last steps only."""
        with self.twin(num_envs=1, autoreset_mode=SAME, infos="final") as twin:
            twin.reset(seed=4)
            for _ in range(self.num_steps):
                twin.step()
            twin.send([0])
            require(twin.receive().tolist() == [0], "recv: the only environment is environment 0")

    def test_infos_of_last_steps_only(self) -> None:
        """Compare infos where only those of an episode's last step are collected, in lockstep and first-ready."""
        with self.twin(autoreset_mode=NEXT, infos="final", batch_size=2) as twin:
            twin.reset(seed=1)
            for _ in range(self.num_steps):
                twin.step()
                twin.send([0, 1, 3])
                while len(twin.under_way):
                    twin.receive()

    def test_environments_may_keep_and_reuse_arrays(self) -> None:
        """Run an environment that keeps its last action and returns the same array and dict every time."""
        if not self.runs_own_envs:
            return
        with self.twin(ReusingEnv, autoreset_mode=SAME) as twin:
            twin.reset(seed=1)
            for _ in range(4):
                twin.step()
                twin.step()
                twin.send([0, 1, 3])
                twin.receive()

    def test_copies_are_the_callers(self) -> None:
        """Hold what ``step`` and ``reset`` returned while environments go on, and write into it."""
        with self.shared_twin(autoreset_mode=SAME) as twin:
            actions = twin.actions
            observations, _ = twin.venv.reset(seed=2)
            held = [(observations, copied(observations))]
            for k in range(self.num_steps):
                steps = np.full(self.num_envs, k)
                observations, rewards, terminated, truncated, infos = twin.venv.step(actions.batch(steps, twin.all_ids))
                parts = (observations, rewards, terminated, truncated)
                held.append((parts, copied(parts)))
                infos["noted by a wrapper"] = k
            for place, (parts, then) in enumerate(held):
                require_same(then, parts, f"copy=True: what step {place} returned, several steps later")
            arrays = [array for parts, _ in held for array in flattened(parts)]
            for array in arrays:
                array[...] = 0  # raises where it is read-only
            *_, infos = twin.venv.step(actions.batch(np.zeros(self.num_envs, np.int64), twin.all_ids))
            require("noted by a wrapper" not in infos, "infos that a caller wrote into do not come back")
            twin.reset(seed=2)
            twin.step()

    def test_views_live_until_the_next_call(self) -> None:
        """Read views as late as the contract allows; ``copy=False``, and no infos, leave the data as they are."""
        with self.twin(autoreset_mode=SAME, copy=False, infos="none") as twin:
            twin.reset(seed=2)
            seen = []
            for _ in range(self.num_steps):
                twin.step()
                actions = twin.actions.batch(twin.steps, twin.all_ids)
                twin.venv.send(actions)
                twin.mark_sent(twin.all_ids)
                batch, ids = twin.venv.recv()
                seen.append(flattened(batch.observations)[0])
                then = copied(tuple(batch[:6]))
                twin.venv.statistics()
                twin.venv.busy_ns()
                if self.runs_own_envs:
                    twin.venv.get_attr("metadata")
                require_same(then, tuple(batch[:6]), "recv: views are valid until send, recv, reset, step or close")
                twin.account(batch, ids)
            shared = all(np.shares_memory(seen[0], other) for other in seen)
            require(shared, "recv: observations of all environments are views of one place, not copies")


def require_spaces(twin: Twin) -> None:
    """Require the autoreset mode, and the spaces of one environment and of a batch."""
    venv, env = twin.venv, twin.references[0].env
    mode = venv.metadata["autoreset_mode"]
    require(mode is venv.autoreset_mode, f"metadata['autoreset_mode'] is {venv.autoreset_mode}, not {mode}")
    for name in ("observation_space", "action_space"):
        single = getattr(env, name)
        require(getattr(venv, f"single_{name}") == single, f"single_{name} is {single}")
        batched = batch_space(single, len(twin.all_ids))
        require(getattr(venv, name) == batched, f"{name} is batch_space(single_{name}, num_envs), {batched}")


def require_gymnasium_face(twin: Twin) -> None:
    """Require what anyone expects of a ``gymnasium.vector.VectorEnv``."""
    venv, env = twin.venv, twin.references[0].env
    num_envs = len(twin.all_ids)
    require(isinstance(venv, gymnasium.vector.VectorEnv), "it is a gymnasium.vector.VectorEnv")
    require(venv.num_envs == num_envs, f"num_envs is {num_envs}, not {venv.num_envs}")
    require(venv.batch_size == num_envs, f"batch_size is num_envs unless chosen otherwise, not {venv.batch_size}")
    rest = {key: value for key, value in venv.metadata.items() if key != "autoreset_mode"}
    require(rest == env.metadata, f"metadata is the environment's, {env.metadata}, with autoreset_mode, not {rest}")
    require("autoreset_mode" not in type(env.unwrapped).metadata, "the environment class's metadata is left alone")
    require(venv.render_mode == env.render_mode, f"render_mode is {env.render_mode}, not {venv.render_mode}")
    require(venv.unwrapped is venv, "unwrapped is the vector environment itself")
    require(bool(venv.backend), "backend names the execution")
