"""Checkpoints: whole or absent, bit for bit, and readable when something beside them is damaged."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import paceline.training.checkpoint as checkpoint_module
from paceline.errors import OutputError, ResultsError
from paceline.training.checkpoint import CheckpointStore, load_checkpoint


@struct.dataclass
class Nested:
    weights: Any
    missing: Any


def make_state(seed: int = 0, width: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "policy": Nested({"a": jnp.asarray(rng.normal(size=(2, width)), jnp.float32)}, None),
        "optimiser": (jnp.asarray(seed, jnp.int32), jnp.float32(rng.normal())),  # scalars stay scalars
        "flags": jnp.asarray(rng.random(4) < 0.5),
        "special": jnp.asarray([np.nan, np.inf, -0.0, 1e-45], jnp.float32),
        "env_steps": np.array([2**40 + seed, 3], np.int64),
        "empty": jnp.zeros((0, 2)),
    }


def meta(steps: int, score: float | None = None, **more: Any) -> dict[str, Any]:
    return {"total_env_steps": steps, "score": score, "num_updates": steps // 10, **more}


def bits(tree: Any) -> list[tuple[Any, ...]]:
    return [(type(x) is np.ndarray, x.dtype, x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


def names(store: CheckpointStore) -> list[int]:
    return [int(path.name) for path in store.paths()]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "run" / "checkpoints")


def test_a_round_trip_keeps_every_bit(store: CheckpointStore) -> None:
    state = make_state(1)
    path = store.save(state, meta(120, 3.5, spec={"env": {"id": "X"}}))
    loaded = store.last()
    assert loaded.path == path == store.folder / "000000000120"
    assert loaded.meta["spec"] == {"env": {"id": "X"}}
    restored = loaded.restore(make_state(2))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)


def test_transposed_arrays_come_back_as_they_were(store: CheckpointStore) -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    store.save({"x": turned}, meta(1))
    np.testing.assert_array_equal(store.last().restore({"x": np.zeros((3, 2), np.float32)})["x"], turned)


def test_meta_is_strict_json_even_if_the_score_is_not_a_number(store: CheckpointStore) -> None:
    path = store.save(make_state(), meta(1, float("nan")))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads((path / "checkpoint.json").read_text(), parse_constant=refuse)
    assert data["score"] is None
    assert store.best().path == path


def test_a_folder_holds_nothing_but_whole_checkpoints(store: CheckpointStore) -> None:
    for steps in (10, 20):
        store.save(make_state(), meta(steps))
    assert sorted(path.name for path in store.folder.iterdir()) == ["000000000010", "000000000020"]
    assert sorted(p.name for p in store.paths()[0].iterdir()) == ["checkpoint.json", "state.safetensors"]


def test_what_a_killed_process_left_is_ignored_and_swept_up_by_the_next_save(store: CheckpointStore) -> None:
    store.save(make_state(1), meta(10))
    stray = store.folder / ".000000000020.4242.tmp"  # killed after writing, before the rename
    (store.folder / "000000000010").rename(stray)
    store.save(make_state(1), meta(10))
    stray.mkdir(exist_ok=True)
    (stray / "checkpoint.json").write_text("{}")
    assert names(store) == [10]
    assert store.last().meta["total_env_steps"] == 10
    store.save(make_state(3), meta(30))
    assert not stray.exists()
    assert names(store) == [10, 30]


def raise_no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("steps", [10, 20], ids=["over the same step", "beside it"])
@pytest.mark.parametrize("where", ["save_file", "_sync"])
def test_a_full_disk_keeps_what_was_there(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, where: str, steps: int
) -> None:
    state = make_state(1)
    store.save(state, meta(10, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, where, raise_no_space)
        with pytest.raises(OutputError, match=r"cannot write the checkpoint .*No space left.*; free some space"):
            store.save(make_state(2), meta(steps, 2.0))
    assert [path.name for path in store.folder.iterdir()] == ["000000000010"]
    assert bits(store.last().restore(make_state())) == bits(state)


def test_a_rename_that_fails_puts_the_old_checkpoint_back(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_state(1)
    store.save(state, meta(10))
    rename, calls = Path.rename, []

    def fail_second(self: Path, target: Path) -> Path:
        calls.append(self.name)
        if len(calls) == 2:
            raise_no_space()
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_second)
        with pytest.raises(OutputError):
            store.save(make_state(2), meta(10))
    assert len(calls) == 3
    assert bits(store.last().restore(make_state())) == bits(state)


def test_a_checkpoint_of_the_same_step_is_replaced(store: CheckpointStore) -> None:
    store.save(make_state(1), meta(10, 1.0))
    store.save(make_state(2), meta(10, 2.0))
    assert [path.name for path in store.folder.iterdir()] == ["000000000010"]
    assert bits(store.last().restore(make_state())) == bits(make_state(2))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write the checkpoint .*; free some space or choose another --out"):
        CheckpointStore(tmp_path / "file" / "checkpoints").save(make_state(), meta(1))


def truncate(path: Path) -> None:
    file = path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def scramble(path: Path) -> None:
    (path / "state.safetensors").write_bytes(b"\xff" * 100)


def remove(path: Path) -> None:
    (path / "state.safetensors").unlink()


def cut_meta(path: Path) -> None:
    file = path / "checkpoint.json"
    file.write_text(file.read_text()[:25])


def binary_meta(path: Path) -> None:
    (path / "checkpoint.json").write_bytes(b"\x80\x00\xff")


def change_meta(key: str, value: Any) -> Any:
    def change(path: Path) -> None:
        file = path / "checkpoint.json"
        data = json.loads(file.read_text())
        data[key] = value
        file.write_text(json.dumps(data))

    change.__name__ = f"{key}={value!r}"
    return change


def test_what_is_trained_beyond_damaged_checkpoints_is_kept(store: CheckpointStore) -> None:
    for steps, score in ((100, 3.0), (200, 1.0), (300, 1.0)):
        store.save(make_state(steps), meta(steps, score))
    for steps in (200, 300):
        truncate(store.folder / f"{steps:012d}")
    assert store.last().meta["total_env_steps"] == 100
    for steps in (150, 180, 190):
        store.save(make_state(steps), meta(steps, 0.5))
        assert store.last().meta["total_env_steps"] == steps
    assert names(store) == [100, 180, 190]


def test_a_damaged_checkpoint_is_not_the_best(store: CheckpointStore) -> None:
    store.save(make_state(1), meta(100, 0.5))
    store.save(make_state(3), meta(300, 9.0))
    truncate(store.folder / "000000000300")
    for steps, score in ((250, 1.5), (280, 1.2), (290, 1.1), (295, 1.0)):
        store.save(make_state(steps), meta(steps, score))
    assert names(store) == [250, 290, 295]
    assert store.best().meta["total_env_steps"] == 250


DAMAGE = [
    truncate,
    scramble,
    remove,
    cut_meta,
    binary_meta,
    change_meta("format_version", "one"),
    change_meta("total_env_steps", None),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_named_and_an_older_one_taken(store: CheckpointStore, damage: Any) -> None:
    store.save(make_state(1), meta(10, 1.0))
    newest = store.save(make_state(2), meta(20, 2.0))
    damage(newest)
    with pytest.raises(ResultsError, match=r"000000000020: the checkpoint is damaged \(.*\); use an older one"):
        load_checkpoint(newest)
    assert store.last().meta["total_env_steps"] == 10
    assert store.best().meta["total_env_steps"] == 10


def test_if_all_are_damaged_the_newest_is_the_one_to_tell_of(store: CheckpointStore) -> None:
    for steps in (10, 20):
        truncate(store.save(make_state(), meta(steps, float(steps))))
    for choose in (store.last, store.best):
        with pytest.raises(ResultsError, match="000000000020: the checkpoint is damaged"):
            choose()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_meta("format", "other"), r"expected a paceline checkpoint, got something else; give a folder"),
        (change_meta("format_version", 99), r"written by a newer paceline; upgrade"),
    ],
)
def test_foreign_and_newer_files_are_told_apart_from_damage(store: CheckpointStore, change: Any, message: str) -> None:
    path = store.save(make_state(), meta(10))
    change(path)
    with pytest.raises(ResultsError, match=message):
        load_checkpoint(path)


def test_json_that_is_no_object_is_foreign(store: CheckpointStore) -> None:
    path = store.save(make_state(), meta(10, 1.0))
    (path / "checkpoint.json").write_text("[1, 2]")
    for read in (lambda: load_checkpoint(path), store.best):
        with pytest.raises(ResultsError, match="expected a paceline checkpoint"):
            read()


def test_strangers_in_the_folder_are_passed_over(store: CheckpointStore) -> None:
    store.save(make_state(), meta(10))
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "000000000099").mkdir()  # no checkpoint.json
    (store.folder / "latest").mkdir()
    assert names(store) == [10]
    store.save(make_state(), meta(20))
    assert (store.folder / "notes.txt").read_text() == "mine"


def test_an_empty_or_missing_folder_says_what_to_give(store: CheckpointStore) -> None:
    for _ in range(2):
        with pytest.raises(ResultsError, match=r"expected checkpoints of a training run, found none; give the --out"):
            store.last()
        with pytest.raises(ResultsError, match=r"found none"):
            store.best()
        store.folder.mkdir(parents=True, exist_ok=True)


def test_a_checkpoint_of_another_network_is_refused(store: CheckpointStore) -> None:
    store.save(make_state(), meta(10))
    checkpoint = store.last()
    with pytest.raises(
        ResultsError, match=r"expected policy/weights/a of shape \(2, 5\), .* got \(2, 3\).*another network"
    ):
        checkpoint.restore(make_state(width=5))
    with pytest.raises(ResultsError, match=r"another network"):
        checkpoint.restore({**make_state(), "flags": jnp.zeros(4)})
    fewer = make_state()
    del fewer["flags"]
    with pytest.raises(ResultsError, match=r"differs in 'flags'; resume or evaluate with the spec that made it"):
        checkpoint.restore(fewer)
    with pytest.raises(ResultsError, match=r"differs in 'policy/missing'"):
        checkpoint.restore({**make_state(), "policy": make_state()["policy"].replace(missing=jnp.zeros(1))})


def test_pruning_keeps_the_best_and_the_newest_two(store: CheckpointStore) -> None:
    kept = []
    for steps, score in ((10, 1.0), (20, 9.0), (30, None), (40, 2.0), (50, -5.0)):
        store.save(make_state(steps), meta(steps, score))
        kept.append(names(store))
    assert kept == [[10], [10, 20], [20, 30], [20, 30, 40], [20, 40, 50]]
    assert store.best().meta["score"] == 9.0
    assert store.last().meta["total_env_steps"] == 50
    store.save(make_state(), meta(60, 9.0))  # as good and newer
    assert store.best().meta["total_env_steps"] == 60
    store.save(make_state(), meta(70, None))
    store.save(make_state(), meta(80, None))
    assert names(store) == [60, 70, 80]


def test_negative_scores_are_scores(store: CheckpointStore) -> None:
    for steps, score in ((10, -3.0), (20, -900.0), (30, None), (40, None)):
        store.save(make_state(), meta(steps, score))
    assert names(store) == [10, 30, 40]
    assert store.best().meta["total_env_steps"] == 10


def test_without_scores_the_newest_is_the_best(store: CheckpointStore) -> None:
    for steps in (10, 20):
        store.save(make_state(), meta(steps))
    assert store.best().meta["total_env_steps"] == 20
