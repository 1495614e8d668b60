"""A vector environment with one plain environment beside each of its own, compared at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.vector.base import EnvIds, StepBatch, VecEnv
from paceline.vector.conformance.equality import copied, flattened, mapped, require, require_same
from paceline.vector.conformance.reference import ActionTable, Env, ReferenceEnv, Row


class Twin:
    """A vector environment, and the oracle of each of its rows.

    Args:
        venv: the vector environment under test.
        envs: N plain environments, equal to its own.
        infos: which infos it was told to collect.
        tolerance: largest difference of floating-point numbers, absolute or relative.

    Attributes:
        num_terminated: episodes that have ended in a terminal state.
        num_truncated: episodes that have been cut short.
    """

    def __init__(self, venv: VecEnv, envs: Sequence[Env], infos: str = "all", tolerance: float = 0.0) -> None:
        self.venv = venv
        self.references = [ReferenceEnv(env, venv.autoreset_mode) for env in envs]
        self.actions = ActionTable(venv.single_action_space, len(envs))
        self.all_ids: EnvIds = np.arange(len(envs), dtype=np.int64)
        self.num_terminated = self.num_truncated = 0
        self._infos = infos
        self._tolerance = tolerance
        self._was_reset = False
        self._under_way = np.zeros(len(envs), np.bool_)

    @property
    def steps(self) -> NDArray[np.int64]:
        """How many steps each environment has returned, int64 ``[N]``."""
        return np.array([reference.num_steps for reference in self.references])

    @property
    def under_way(self) -> EnvIds:
        """Which environments have been sent an action and not been received, int64, ascending."""
        return self.all_ids[self._under_way]

    @property
    def over(self) -> NDArray[np.bool_]:
        """Which environments have ended and not begun anew, bool ``[N]``."""
        return np.array([reference.over for reference in self.references])

    @property
    def ends(self) -> tuple[int, int]:
        """How many episodes terminated, and how many were truncated."""
        return self.num_terminated, self.num_truncated

    def reset(self, seed: Any = None, options: dict[str, Any] | None = None, mask: Any = None) -> None:
        """Reset both and compare observations, and infos where environments were reset."""
        observations, infos = self.venv.reset(seed=seed, options=options, mask=mask)
        chosen = self.all_ids if mask is None else self.all_ids[mask]
        begun: list[tuple[int, Row]] = []
        for index in chosen.tolist():
            named = seed[index] is not None if isinstance(seed, list | tuple) else seed is not None
            own_seed = self.venv.env_seeds[index] if named or not self._was_reset else None
            reference = self.references[index]
            info = reference.reset(own_seed, options)
            begun.append((index, Row(reference.observation, 0.0, False, False, True, None, info, None)))
        self._was_reset = True
        for index in self.all_ids[~self._under_way].tolist():
            reference = self.references[index]
            row = row_of(observations, index)
            self._compare(reference.observation, row, f"reset: observation of env {index}")
        expected = self._gathered(begun, len(self.all_ids), is_reset=True)
        self._compare(expected, infos, "reset: infos")

    def step(self) -> None:
        """Step all environments by Gymnasium's call and compare everything it returns."""
        actions = self.actions.batch(self.steps, self.all_ids)
        observations, rewards, terminated, truncated, infos = self.venv.step(actions)
        self._check_dtypes(rewards, terminated, truncated)
        rows = self._advance(self.all_ids)
        for index, row in enumerate(rows):
            self._compare_row(
                row, index, index, "step",
                observation=observations, reward=rewards, terminated=terminated, truncated=truncated,
            )  # fmt: skip
        self._compare(self._gathered(list(enumerate(rows)), len(rows)), infos, "step: infos")

    def send(self, env_ids: Any = None) -> None:
        """Send environments (default: all) their next actions, and spoil the caller's arrays: they were only lent."""
        ids = self.all_ids if env_ids is None else np.asarray(env_ids, np.int64)
        actions = self.actions.batch(self.steps[ids], ids)
        before = copied(actions)
        unnamed = env_ids is None and self.venv.batch_size == len(ids)  # None means those of the last batch
        self.venv.send(actions, None if unnamed else ids)
        require_same(before, actions, "send: the caller's actions")
        others = flattened(self.actions.batch(self.steps[ids] + 1, ids))
        for lent, other in zip(flattened(actions), others, strict=True):
            lent[...] = other
        self.mark_sent(ids)

    def mark_sent(self, ids: EnvIds) -> None:
        """Note that the caller has sent environments their next actions."""
        self._under_way[ids] = True

    def receive(self, env_ids: Any = None) -> EnvIds:
        """Receive a batch, compare every row, and return which environments it holds."""
        batch, ids = self.venv.recv(env_ids)
        self.account(batch, ids)
        return ids

    def account(self, batch: StepBatch, ids: EnvIds) -> None:
        """Advance the oracle by a batch that the caller received, and compare every row."""
        self._check_batch(batch, ids)
        self._under_way[ids] = False
        rows = self._advance(ids)
        for place, (index, row) in enumerate(zip(ids.tolist(), rows, strict=True)):
            self._compare_row(
                row, index, place, "recv",
                observation=batch.observations, reward=batch.rewards, terminated=batch.terminated,
                truncated=batch.truncated, reset_row=batch.reset_rows,
            )  # fmt: skip
            if row.ended:
                final = row_of(batch.final_observations, place)
                self._compare(row.final_observation, final, f"recv: final observation of env {index}")
        self._compare(self._gathered(list(enumerate(rows)), len(rows)), batch.infos, "recv: infos")

    def begin_anew(self) -> None:
        """Reset environments at rest whose episodes are over, where nothing else does (``DISABLED`` mode)."""
        chosen = self.over & ~self._under_way
        if self.venv.autoreset_mode is AutoresetMode.DISABLED and chosen.any():
            self.reset(mask=chosen)

    def _advance(self, ids: EnvIds) -> list[Row]:
        rows = []
        for index in ids.tolist():
            reference = self.references[index]
            row = reference.step(self.actions.single(reference.num_steps, index))
            self.num_terminated += row.terminated
            self.num_truncated += row.truncated
            rows.append(row)
        return rows

    def _check_batch(self, batch: StepBatch, ids: EnvIds) -> None:
        require(
            isinstance(ids, np.ndarray) and ids.dtype == np.int64 and ids.ndim == 1,
            f"recv: env_ids are an int64 array [B], not {ids!r}",
        )
        require(bool((np.diff(ids) > 0).all()), f"recv: env_ids are ascending and distinct, not {ids.tolist()}")
        require(bool(self._under_way[ids].all()), f"recv: only what was sent comes back, not {ids.tolist()}")
        self._check_dtypes(batch.rewards, batch.terminated, batch.truncated)
        require(
            all(len(batch[k]) == len(ids) for k in (1, 2, 3, 4, 7)),
            f"recv: every part has a row for each of {ids.tolist()}",
        )
        require(not batch.restarted.any(), "recv: no row is marked restarted where no environment broke")

    def _check_dtypes(self, rewards: Any, terminated: Any, truncated: Any) -> None:
        got = rewards.dtype, terminated.dtype, truncated.dtype
        require(got == (np.float64, np.bool_, np.bool_), f"rewards are float64, flags bool, not {got}")

    def _compare_row(self, row: Row, index: int, place: int, call: str, **parts: Any) -> None:
        for name, tree in parts.items():
            expected = getattr(row, name)
            got = row_of(tree, place)
            if name != "observation":
                expected = np.asarray(expected, got.dtype)
            what = f"{call}: {name} of env {index} in its step {self.references[index].num_steps}"
            self._compare(expected, got, what)

    def _compare(self, expected: Any, got: Any, what: str) -> None:
        require_same(expected, got, what, self._tolerance)

    def _gathered(self, rows: Sequence[tuple[int, Row]], num_rows: int, *, is_reset: bool = False) -> dict[str, Any]:
        """Return Gymnasium's vector infos of ``(place, row)`` pairs, gathered by Gymnasium itself."""
        gymnasium_env = gymnasium.vector.VectorEnv[Any, Any, Any]()
        gymnasium_env.num_envs = num_rows
        infos: dict[str, Any] = {}
        for place, row in rows:
            info = row.info
            if self._infos == "none":
                continue
            if self._infos == "final" and (is_reset or row.final_info is not None or not row.ended):
                info = {}
            if row.final_info is not None:
                last = {"final_obs": row.final_observation, "final_info": row.final_info}
                infos = gymnasium_env._add_info(infos, last, place)
            infos = gymnasium_env._add_info(infos, info, place)
        return infos


def row_of(tree: Any, place: int) -> Any:
    """Return one row of every array of a tree."""
    return mapped(lambda array: array[place], tree)
