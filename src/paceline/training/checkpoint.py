"""Checkpoints: one folder each, ``state.safetensors`` and ``checkpoint.json``, that appear whole or not at all.

    checkpoints/000000016384/    written to a temporary folder beside it, synced, renamed
    checkpoints/000000032768/

The newest two and the best one are kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from paceline.errors import OutputError, ResultsError

FORMAT = "paceline.checkpoint"
FORMAT_VERSION = 1
_STATE = "state.safetensors"
_META = "checkpoint.json"
_KEEP_NEWEST = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read from disk.

    Attributes:
        path: its folder.
        meta: content of ``checkpoint.json``: ``spec``, ``total_env_steps``, ``num_updates``, ``score``, ``wall_s`` ..
        arrays: every array of the training state by name.
    """

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def restore(self, template: Any) -> Any:
        """Return ``template`` (a tree of arrays) with this checkpoint's values.

        Raises:
            ResultsError: names or shapes differ: the checkpoint is of another network, algorithm or environment.
        """
        named = _named_leaves(template)
        missing = sorted(set(named) ^ set(self.arrays))
        if missing:
            raise ResultsError(
                f"{self.path}: expected the state of this run's algorithm and network, got one that differs in "
                f"{missing[0]!r}; resume or evaluate with the spec that made it"
            )
        for name, leaf in named.items():
            if tuple(leaf.shape) != self.arrays[name].shape:
                raise ResultsError(
                    f"{self.path}: expected {name} of shape {tuple(leaf.shape)}, got {self.arrays[name].shape}; the "
                    f"checkpoint is of another network or environment"
                )
        structure = jax.tree.structure(template)
        return jax.tree.unflatten(structure, [jax.numpy.asarray(self.arrays[name]) for name in named])


class CheckpointStore:
    """The ``checkpoints`` folder of a run.

    Args:
        folder: the folder; made when the first checkpoint is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: Any, meta: dict[str, Any]) -> Path:
        """Write a checkpoint; older ones are deleted only after the new one is safe.

        Args:
            state: a tree of arrays.
            meta: JSON data with ``total_env_steps`` and ``score`` (higher is better, or None).

        Raises:
            OutputError: it could not be written; what was there before is untouched.
        """
        target = self.folder / f"{meta['total_env_steps']:012d}"
        temporary = self.folder / f".{target.name}.{os.getpid()}.tmp"
        arrays = {name: np.ascontiguousarray(leaf) for name, leaf in _named_leaves(jax.device_get(state)).items()}
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            save_file(arrays, temporary / _STATE)
            text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **meta}, indent=1)
            (temporary / _META).write_text(text + "\n", encoding="utf-8")
            for name in (_STATE, _META, "."):
                _sync(temporary / name)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
            _sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OutputError(
                f"cannot write the checkpoint {target}: {error}; free some space or choose another --out. "
                f"Earlier checkpoints are untouched"
            ) from None
        self._prune()
        return target

    def paths(self) -> list[Path]:
        """Return the checkpoint folders, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.name.isdigit() and (path / _META).is_file())

    def last(self) -> Checkpoint:
        """Return the newest readable checkpoint; a damaged newer one is passed over.

        Raises:
            ResultsError: there is none.
        """
        problem: ResultsError | None = None
        for path in reversed(self.paths()):
            try:
                return load_checkpoint(path)
            except ResultsError as error:
                problem = problem or error
        if problem:
            raise problem
        raise ResultsError(
            f"{self.folder}: expected checkpoints of a training run, found none; give the --out folder of `paceline train`"
        )

    def best(self) -> Checkpoint:
        """Return the checkpoint with the highest score, or the newest if none has one.

        Raises:
            ResultsError: there is none.
        """
        scored = [(score, path) for path in self.paths() if (score := _read_score(path)) is not None]
        return load_checkpoint(max(scored)[1]) if scored else self.last()

    def _prune(self) -> None:
        paths = self.paths()
        scores = {path: _read_score(path) for path in paths}
        best = max((path for path in paths if scores[path] is not None), key=lambda p: scores[p] or 0.0, default=None)
        for path in paths[:-_KEEP_NEWEST]:
            if path != best:
                shutil.rmtree(path, ignore_errors=True)
        for stray in self.folder.glob(".*.tmp"):
            shutil.rmtree(stray, ignore_errors=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint folder.

    Raises:
        ResultsError: a file is missing, damaged, of another program or of a newer format.
    """
    try:
        meta = json.loads((path / _META).read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise ResultsError(f"{path}: expected a paceline checkpoint, got something else; give a folder that paceline wrote")
        if meta.get("format_version", 0) > FORMAT_VERSION:
            raise ResultsError(f"{path}: written by a newer paceline; upgrade paceline to read it")
        return Checkpoint(path, meta, load_file(path / _STATE))
    except (OSError, ValueError, SafetensorError) as error:
        raise ResultsError(f"{path}: the checkpoint is damaged ({error}); use an older one from the same folder") from None


def _named_leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _read_score(path: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        score = json.loads((path / _META).read_text(encoding="utf-8")).get("score")
        return None if score is None else float(score)
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
