"""``paceline doctor``, ``report``, ``evaluate`` and ``export``."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, Run, assert_one_sentence

from paceline.training.checkpoint import CheckpointStore


@pytest.fixture(scope="module")
def trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train in an environment whose episodes all return 20."""
    out = tmp_path_factory.mktemp("runs") / "run"
    env = "synthetic:faulty?at=1000000&episode_length=20"
    assert run("train", env, *SMALL, "--total-steps", "128", "--out", out).returncode == 0
    return out


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.slow
def test_the_doctor_tells_the_machine_twice_alike(run: Run) -> None:
    text, data = run("doctor"), run("doctor", "--json")
    assert text.returncode == data.returncode
    assert text.returncode in (0, 1)
    assert (text.stderr, data.stderr) == ("", "")
    machine = json.loads(data.stdout)["machine"]
    assert machine["fingerprint"] in text.stdout


@pytest.mark.slow
def test_evaluation_plays_as_many_whole_episodes_as_asked(trained: Path, run: Run) -> None:
    done = run("evaluate", trained, "--episodes", 13)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert re.match(r"mean return 20\.0 \(95 % interval 20\.0 to 20\.0\) over 13 episodes of synthetic:faulty", first)
    assert second.startswith("lowest 20.0, median 20.0, highest 20.0; mean length 20.0 steps; most probable actions; ")


@pytest.mark.slow
def test_evaluation_speaks_json(trained: Path, run_here: Run) -> None:
    done = run_here("evaluate", trained, "--episodes", 3, "--json", "--sampled", "--checkpoint", "last")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["returns"] == [20.0, 20.0, 20.0]
    assert found["lengths"] == [20, 20, 20]
    assert (found["return_mean"], found["episodes"], found["deterministic"]) == (20.0, 3, False)
    assert found["checkpoint"] == str(CheckpointStore(trained / "checkpoints").paths()[-1])


@pytest.mark.slow
def test_evaluation_in_runners_finds_the_same(trained: Path, run: Run) -> None:
    done = run("evaluate", trained, "--episodes", 5, "--num-envs", 4, "--num-env-runners", 2, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["returns"], found["num_envs"], found["num_env_runners"]) == ([20.0] * 5, 4, 2)


@pytest.mark.slow
def test_a_film_without_moviepy_is_refused_before_anything_is_played(
    trained: Path, run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", None)
    done = run_here("evaluate", trained, "--video", tmp_path / "films")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert "install it with pip install moviepy" in done.stderr
    assert not (tmp_path / "films").exists()


@pytest.mark.slow
def test_one_checkpoint_can_be_evaluated(trained: Path, run_here: Run) -> None:
    (checkpoint,) = CheckpointStore(trained / "checkpoints").paths()
    done = run_here("evaluate", checkpoint, "--episodes", 1)
    assert done.returncode == 0
    assert done.stdout.startswith("mean return 20.0 over 1 episode of synthetic:faulty")


@pytest.mark.slow
def test_a_policy_is_exported_to_numpy(trained: Path, run: Run, tmp_path: Path) -> None:
    done = run("export", trained, "--to", "numpy", "--out", tmp_path / "policy.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"wrote {tmp_path / 'policy.npz'} (")
    with np.load(tmp_path / "policy.npz", allow_pickle=False) as arrays:
        assert "actor/dense_0/kernel" in arrays
        assert json.loads(str(arrays["meta"]))["env"]["id"].startswith("synthetic:faulty")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("state.safetensors", b"torn", "the checkpoint is damaged"),
        ("checkpoint.json", b"{", "the checkpoint is damaged"),
        ("checkpoint.json", b'{"format": "someone else"}', "expected a paceline checkpoint, got something else"),
        ("state.safetensors", None, "the checkpoint is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    copied: Path, run_here: Run, name: str, content: bytes | None, sentence: str
) -> None:
    (checkpoint,) = CheckpointStore(copied / "checkpoints").paths()
    if content is None:
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_bytes(content)
    done = run_here("evaluate", copied)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr)
    assert sentence in done.stderr


@pytest.mark.slow
def test_a_checkpoint_whose_environment_is_gone_is_refused(copied: Path, run_here: Run) -> None:
    (checkpoint,) = CheckpointStore(copied / "checkpoints").paths()
    meta = json.loads((checkpoint / "checkpoint.json").read_text())
    meta["spec"]["env"] = {"id": "Gone-v0", "kwargs": {}}
    (checkpoint / "checkpoint.json").write_text(json.dumps(meta))
    done = run_here("evaluate", copied)
    assert done.returncode == 2
    assert_one_sentence(done.stderr)
    assert "no environment is called 'Gone-v0'" in done.stderr


@pytest.mark.slow
def test_a_report_is_written_again_from_the_results_alone(copied: Path, run: Run) -> None:
    reports = [copied / name for name in ("report.txt", "report.html", "dashboard.png")]
    before = [path.read_bytes() for path in reports[:2]]
    for path in reports:
        path.unlink()
    shutil.rmtree(copied / "checkpoints")
    done = run("report", copied)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.read_bytes() for path in reports[:2]] == before
    assert reports[2].read_bytes().startswith(b"\x89PNG")
    assert done.stdout.startswith(reports[0].read_text())
