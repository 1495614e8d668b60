"""A trained policy, loaded from a run's folder, that acts on raw observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.agent import Agent, PolicyState
from paceline.envs import make_env
from paceline.errors import RequestError, ResultsError, SpecError
from paceline.spec import RunSpec, build_spec
from paceline.training.checkpoint import Checkpoint, CheckpointStore, load_checkpoint
from paceline.training.export import policy_arrays, write_numpy
from paceline.training.learner import make_agent


class Policy:
    """A policy and the spaces that it acts in.

    Args:
        agent: networks and distribution.
        state: parameters and observation statistics.
        spec: the run that it comes from.
        seed: seed of sampled actions.
    """

    def __init__(self, agent: Agent, state: PolicyState, spec: RunSpec, *, seed: int = 0) -> None:
        self.agent = agent
        self.state = state
        self.spec = spec
        self._key = jax.random.key(seed)
        self._mode = jax.jit(agent.act_deterministic)
        self._sample = jax.jit(agent.act_sampled)

    @classmethod
    def load(cls, folder: str | Path, *, which: str = "best", seed: int = 0) -> Self:
        """Load a policy.

        Args:
            folder: the ``--out`` folder of a training run, or one checkpoint's folder.
            which: ``best`` or ``last`` checkpoint of the run.
            seed: seed of sampled actions.

        Raises:
            ResultsError: there is no readable checkpoint, or it does not fit its own spec.
            EnvNotFoundError: the run's environment cannot be built here.
        """
        checkpoint = find_checkpoint(Path(folder), which)
        try:
            spec = build_spec(RunSpec, checkpoint.meta.get("spec", {}), source=str(checkpoint.path))
        except SpecError as error:
            raise ResultsError(f"{error}; the checkpoint is of another version of paceline") from None
        env = make_env(spec.env)
        try:
            agent = make_agent(spec, env.observation_space, env.action_space)
        finally:
            env.close()
        template = {"policy": agent.init(jax.random.key(0))}
        arrays = {name: array for name, array in checkpoint.arrays.items() if name.startswith("policy/")}
        state = Checkpoint(checkpoint.path, checkpoint.meta, arrays).restore(template)["policy"]
        return cls(agent, state, spec, seed=seed)

    def act(self, obs: Any, *, deterministic: bool = True) -> NDArray[Any]:
        """Return the action for one observation of the environment, in the form that ``env.step`` takes.

        Raises:
            RequestError: ``obs`` is not an observation of the environment that the policy was trained in.
        """
        batched = _batch_of_one(self.agent.observation_space, obs)
        action: NDArray[Any] = self.act_batch(batched, deterministic=deterministic)[0]
        return action

    def act_batch(self, observations: Any, *, deterministic: bool = True) -> NDArray[Any]:
        """Return actions ``[N, ..]`` for observations ``[N, ..]``, in the form that a vector environment takes."""
        observations = jax.tree.map(_as_float32, observations)
        if deterministic:
            actions = self._mode(self.state, observations)
        else:
            self._key, key = jax.random.split(self._key)
            actions = self._sample(self.state, key, observations)
        return self.agent.distribution.to_env(np.asarray(actions))

    def export(self, path: str | Path) -> Path:
        """Write the policy as plain NumPy arrays, see :mod:`paceline.training.export`, and return the file's path.

        Args:
            path: the ``.npz`` to write; one that is there is replaced.

        Raises:
            OutputError: it cannot be written.
        """
        return write_numpy(policy_arrays(self.agent, self.state, self.spec), Path(path))


def find_checkpoint(folder: Path, which: str) -> Checkpoint:
    """Return the ``best`` or ``last`` checkpoint below a run's folder, or the checkpoint that ``folder`` itself is.

    Raises:
        ResultsError: there is none.
    """
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such folder; give the --out folder of `paceline train`")
    if (folder / "checkpoint.json").is_file():
        return load_checkpoint(folder)
    store = CheckpointStore(folder / "checkpoints")
    return store.last() if which == "last" else store.best()


def _batch_of_one(space: gymnasium.Space[Any], obs: Any, name: str = "observation") -> Any:
    """Return ``obs`` with a leading axis of 1 in every leaf; lists and numbers are taken for arrays."""
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping) or set(obs) != set(space.spaces):
            raise RequestError(
                f"expected {name} to be a mapping with the keys {', '.join(space.spaces)}, got {obs!r:.60}; pass what "
                f"reset or step returned"
            )
        return {key: _batch_of_one(inner, obs[key], f"{name}[{key!r}]") for key, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(obs, Sequence) or len(obs) != len(space.spaces):
            raise RequestError(
                f"expected {name} to be a tuple of {len(space.spaces)}, got {obs!r:.60}; pass what reset or step "
                f"returned"
            )
        pairs = zip(space.spaces, obs, strict=True)
        return tuple(_batch_of_one(inner, item, f"{name}[{index}]") for index, (inner, item) in enumerate(pairs))
    array = np.asarray(obs)
    if array.shape != space.shape or array.dtype.kind not in "biuf":
        raise RequestError(
            f"expected {name} of shape {space.shape}, got {array.dtype} of shape {array.shape}; pass what reset or "
            f"step returned"
        )
    return array[None]


def _as_float32(leaf: Any) -> NDArray[Any]:
    # As the rollout buffer stores them, so that acting here is acting there.
    array = np.asarray(leaf)
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
