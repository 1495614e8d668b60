"""A vector environment as Stable-Baselines3 wants it.

::

    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor
    from paceline.vector.sb3 import SB3VecEnv

    venv = paceline.make_vec("HalfCheetah-v5", 16, autoreset_mode="same_step")
    model = PPO("MlpPolicy", VecMonitor(SB3VecEnv(venv)))

Importing this module imports Stable-Baselines3 (and torch with it); nothing else in paceline does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from paceline.errors import PlanError, RequestError
from paceline.vector.base import ObsTree, StepBatch, VecEnv
from paceline.vector.spaces import copy_tree, take_row

try:
    from stable_baselines3.common.vec_env import VecEnv as SB3Base
except ImportError as missing:
    raise RequestError(
        f"expected Stable-Baselines3 to be installed, got none ({missing}); run: pip install stable-baselines3"
    ) from missing

Info = dict[str, Any]
Indices = int | Iterable[int] | None


class SB3VecEnv(SB3Base):
    """N environments behind Stable-Baselines3's interface: what its own ``DummyVecEnv`` gives, at another speed.

    Same observations, rewards (float32), dones and infos, ``terminal_observation`` and ``TimeLimit.truncated``
    included, for the same seeds and actions. Observations are copies. Where an environment broke and was replaced
    (``on_fault="restart"``), its row is truncated and its info says ``restarted``.

    Args:
        venv: made with ``autoreset_mode="same_step"``, the only mode that Stable-Baselines3 knows, and without
            ``batch_size``. ``infos="none"`` is the quickest; what wrappers of your own put into infos needs ``all``.

    Raises:
        PlanError: another autoreset mode, or first-ready batches.
    """

    def __init__(self, venv: VecEnv) -> None:
        if venv.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise PlanError(
                f"expected a vector environment whose episodes begin again in the step that ends them, as "
                f"Stable-Baselines3 wants it, got {venv.autoreset_mode.name}; make it with autoreset_mode='same_step'"
            )
        if venv.batch_size != venv.num_envs:
            raise PlanError(
                f"expected batches of all {venv.num_envs} environments, as Stable-Baselines3 wants them, got "
                f"batch_size {venv.batch_size}; leave it out"
            )
        self.venv = venv
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)

    def reset(self) -> ObsTree:
        """Reset all environments, with the seeds and options that ``seed`` and ``set_options`` gave for once.

        Raises:
            RequestError: options that differ between environments.
        """
        options = self._options[0]
        if any(other != options for other in self._options):
            raise RequestError("expected the same options for every environment, got several; set one dict for all")
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observations, infos = self.venv.reset(seed=seeds, options=options or None)
        self.reset_infos = info_rows(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return copy_tree(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Start a step of all environments; ``actions`` is ``[N, ...]``."""
        self.venv.send(actions)

    def step_wait(self) -> tuple[ObsTree, NDArray[np.float32], NDArray[np.bool_], list[Info]]:
        """Wait for the step.

        Returns:
            Observations ``[N, ...]``, rewards float32 ``[N]``, dones bool ``[N]`` and N infos.
        """
        batch, _ = self.venv.recv()
        dones = batch.terminated | batch.truncated
        return (
            copy_tree(batch.observations),
            batch.rewards.astype(np.float32),
            dones,
            self._infos(batch, np.flatnonzero(dones).tolist()),
        )

    def close(self) -> None:
        """Close the vector environment."""
        self.venv.close()

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        """Return what each environment renders (``render_mode="rgb_array"``)."""
        images: Any = self.venv.render()
        return images or [None] * self.num_envs

    def has_attr(self, attr_name: str) -> bool:
        """Return whether the environments have an attribute; False where there are no environment objects."""
        try:
            self.get_attr(attr_name)
        except (AttributeError, RequestError):
            return False
        return True

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of some environments, or of all."""
        if attr_name == "render_mode":  # asked for by the base class, and known without asking anybody
            values: Sequence[Any] = [self.venv.render_mode] * self.num_envs
        else:
            values = self.venv.get_attr(attr_name)
        return [values[index] for index in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of some environments, or of all, to one value."""
        chosen = set(self._get_indices(indices))
        if len(chosen) == self.num_envs:
            self.venv.set_attr(attr_name, [value] * self.num_envs)
            return
        values = self.venv.get_attr(attr_name)
        self.venv.set_attr(attr_name, [value if index in chosen else old for index, old in enumerate(values)])

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of every environment.

        Raises:
            RequestError: only some were chosen.
        """
        if len(set(self._get_indices(indices))) < self.num_envs:
            raise RequestError(
                f"expected a call of {method_name} in all {self.num_envs} environments, got indices {indices}; leave "
                f"them out"
            )
        return list(self.venv.call(method_name, *method_args, **method_kwargs))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """Return whether environments are wrapped in a class of that name: they may live in another process."""
        try:
            told = self.venv.call("__str__")
        except RequestError:  # no environment objects, so no wrappers
            told = ("",) * self.num_envs
        return [f"<{wrapper_class.__name__}<" in told[index] for index in self._get_indices(indices)]

    def _infos(self, batch: StepBatch, ended: list[int]) -> list[Info]:
        rows = info_rows(batch.infos, self.num_envs)
        for index, truncated in enumerate((batch.truncated & ~batch.terminated).tolist()):
            rows[index]["TimeLimit.truncated"] = truncated
        for index in ended:
            row = rows[index]
            row.pop("final_obs", None)
            final = row.pop("final_info", {})
            truncated = row.pop("TimeLimit.truncated")
            self.reset_infos[index] = row
            rows[index] = {
                **final,
                "TimeLimit.truncated": truncated,
                "terminal_observation": take_row(batch.final_observations, index),
            }
        for index in np.flatnonzero(batch.restarted).tolist():
            rows[index]["restarted"] = True
        return rows


def info_rows(infos: Info, num_envs: int) -> list[Info]:
    """Return Gymnasium's vector infos as one dict for each environment, without the keys that it does not have."""
    rows: list[Info] = [{} for _ in range(num_envs)]
    for key, column in infos.items():
        if f"_{key}" not in infos:  # a mask
            continue
        if isinstance(column, dict):
            values: Sequence[Any] = info_rows(column, num_envs)
        else:
            values = column.tolist() if isinstance(column, np.ndarray) and column.ndim == 1 else column
        for row, value, has in zip(rows, values, infos[f"_{key}"].tolist(), strict=True):
            if has:
                row[key] = value
    return rows
