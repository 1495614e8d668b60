"""Checkpoints: one folder each, ``state.safetensors`` and ``checkpoint.json``, that appear whole or not at all.

    checkpoints/000000016384/    written to a temporary folder beside it, synced, renamed
    checkpoints/000000032768/

The newest two and the best one are kept.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from paceline.errors import OutputError, ResultsError
from paceline.measure.result import dump_json
from paceline.measure.store import SPEC_FILE

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
        """Return ``template`` (a tree of arrays) with this checkpoint's values; NumPy leaves stay NumPy arrays.

        Raises:
            ResultsError: names, shapes or dtypes differ: it is of another network, algorithm or environment.
        """
        named = _named_leaves(template)
        missing = sorted(set(named) ^ set(self.arrays))
        if missing:
            raise ResultsError(
                f"{self.path}: expected the state of this run's algorithm and network, got one that differs in "
                f"{missing[0]!r}; resume or evaluate with the spec that made it"
            )
        for name, leaf in named.items():
            wanted, got = (tuple(leaf.shape), leaf.dtype), (self.arrays[name].shape, self.arrays[name].dtype)
            if wanted != got:
                raise ResultsError(
                    f"{self.path}: expected {name} of shape {wanted[0]}, {wanted[1]}, got {got[0]}, {got[1]}; the "
                    f"checkpoint is of another network or environment"
                )
        values = [
            # JAX would narrow 64-bit counters.
            self.arrays[name] if isinstance(leaf, np.ndarray) else jax.numpy.asarray(self.arrays[name])
            for name, leaf in named.items()
        ]
        return jax.tree.unflatten(jax.tree.structure(template), values)


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
        # np.ascontiguousarray would make scalars one-dimensional.
        arrays = {name: np.asarray(leaf, order="C") for name, leaf in _named_leaves(jax.device_get(state)).items()}
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            save_file(arrays, temporary / _STATE)
            text = dump_json({"format": FORMAT, "format_version": FORMAT_VERSION, **meta}, indent=1)
            (temporary / _META).write_text(text + "\n", encoding="utf-8")
            for name in (_STATE, _META, "."):
                _sync(temporary / name)
            self._put_in_place(temporary, target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OutputError(
                f"cannot write the checkpoint {target}: {error}; free some space or choose another --out. "
                f"Earlier checkpoints are untouched"
            ) from None
        self._prune(target)
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
        run = self.folder.parent
        what = (
            f"the run was stopped before its first; go on with `paceline train --resume {run}`"
            if (run / SPEC_FILE).is_file()
            else "give the --out folder of `paceline train`"
        )
        raise ResultsError(f"{self.folder}: expected checkpoints of a training run, found none; {what}")

    def best(self) -> Checkpoint:
        """Return the readable checkpoint with the highest score, or the newest if none has one.

        Raises:
            ResultsError: there is none.
        """
        for path in self._best_first():
            with contextlib.suppress(ResultsError):
                return load_checkpoint(path)
        return self.last()

    def _best_first(self) -> list[Path]:
        """Return the checkpoints that have a score, the highest first and of equal ones the newest."""
        scored = [(score, path) for path in self.paths() if (score := _read_score(path)) is not None]
        return [path for _, path in sorted(scored, reverse=True)]

    def _put_in_place(self, temporary: Path, target: Path) -> None:
        """Rename ``temporary`` to ``target``; one that stands there is moved aside, and back if that fails."""
        if not target.exists():
            temporary.rename(target)
            _sync(self.folder)
            return
        aside = temporary.with_name(f".{target.name}.{os.getpid()}.old.tmp")
        target.rename(aside)
        try:
            temporary.rename(target)
        except OSError:
            aside.rename(target)
            raise
        _sync(self.folder)
        shutil.rmtree(aside, ignore_errors=True)

    def _prune(self, newest: Path) -> None:
        """Keep the newest two and the best of what can be read.

        Whatever has more steps than the one just written was damaged, or the run would have gone on from there.
        """
        whole = [path for path in self.paths() if path.name <= newest.name and _is_whole(path)]
        best = [path for path in self._best_first() if path in whole][:1]
        for path in self.paths():
            if path not in (*whole[-_KEEP_NEWEST:], *best, newest):
                shutil.rmtree(path, ignore_errors=True)
        for stray in self.folder.glob(".*.tmp"):
            shutil.rmtree(stray, ignore_errors=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint folder.

    Raises:
        ResultsError: a file is missing, damaged, of another program or of a newer format.
    """
    try:
        return Checkpoint(path, _read_meta(path), load_file(path / _STATE))
    except (OSError, ValueError, SafetensorError) as error:
        raise ResultsError(
            f"{path}: the checkpoint is damaged ({error}); use an older one from the same folder"
        ) from None


def _is_whole(path: Path) -> bool:
    """Return whether a checkpoint can be read, by its files' beginnings and lengths: cheap for a large one, too."""
    try:
        _read_meta(path)
        with safe_open(path / _STATE, framework="numpy"):
            return True
    except (OSError, ValueError, SafetensorError, ResultsError):
        return False


def _read_meta(path: Path) -> dict[str, Any]:
    """Return what ``checkpoint.json`` says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
        ResultsError: it is of another program or of a newer format.
    """
    meta = json.loads((path / _META).read_text(encoding="utf-8"))
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ResultsError(
            f"{path}: expected a paceline checkpoint, got something else; give a folder that paceline wrote"
        )
    for key in ("format_version", "total_env_steps"):
        if not isinstance(meta.get(key), int):
            raise ValueError(f"expected a whole number as {key} in {_META}, got {meta.get(key)!r}")
    if meta["format_version"] > FORMAT_VERSION:
        raise ResultsError(f"{path}: written by a newer paceline; upgrade paceline to read it")
    return meta


def _named_leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _read_score(path: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        meta = json.loads((path / _META).read_text(encoding="utf-8"))
        score = meta.get("score") if isinstance(meta, dict) else None
        return float(score) if isinstance(score, int | float) and math.isfinite(score) else None
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
