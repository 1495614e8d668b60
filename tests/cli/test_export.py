"""``paceline export``: what was really measured becomes a file that really runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, Run, assert_one_sentence

from paceline.measure.store import load_results
from paceline.measure.tune_result import TuneResults
from paceline.spec import RunSpec, build_spec, load_yaml


@pytest.fixture(scope="module")
def swept(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("swept") / "sweep"
    done = run("sweep", "CartPole-v1", *SMALL[2:], "--num-env-runners", "0,1", "--num-envs-per-env-runner", "2",
               "--iterations", 2, "--seed", 5, "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def execute(file: Path, *words: object, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, str(file), *map(str, words)], cwd=file.parent, env=environment, capture_output=True, text=True,
        timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_sweep_s_plan_trains_from_its_run_file(swept: Path, run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "run.yaml", tmp_path / "trained"
    done = run("export", swept, "--to", "yaml", "--out", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {file}   (paceline train --config {file})\n"
    trained = run("train", "--config", file, "--total-steps", 128, "--out", out)
    assert (trained.returncode, trained.stderr) == (0, "")
    asked, did = (build_spec(RunSpec, load_yaml(path)) for path in (file, out / "spec.yaml"))
    assert did == asked.model_copy(update={"budget": did.budget})
    assert did.plan.model_dump(mode="json") == load_yaml(swept / "plan.yaml")["plan"]
    assert (did.seed, did.algo.batch_size) == (5, 64)
    again = run("export", out, "--to", "yaml")
    assert build_spec(RunSpec, load_yaml(_written(tmp_path / "again.yaml", again.stdout))) == did


@pytest.mark.slow
def test_what_is_printed_is_what_is_written(swept: Path, run_here: Run, tmp_path: Path) -> None:
    for target in ("yaml", "rllib", "sb3", "gymnasium"):
        printed = run_here("export", swept / "plan.yaml", "--to", target)
        assert run_here("export", swept, "--to", target, "--out", tmp_path / target).returncode == 0
        assert (tmp_path / target).read_text(encoding="utf-8") == printed.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gymnasium", "rllib", "sb3", "yaml"]


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_one_sentence(swept: Path, run_here: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_here("export", swept, "--to", "yaml", "--out", tmp_path / "file" / "run.yaml")
    assert done.returncode == 1
    assert_one_sentence(done.stderr)
    assert "give another --out" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)  # five programs one after the other
def test_a_tuning_s_winner_runs_everywhere(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    tuned = run("tune", "CartPole-v1", *SMALL[2:], "--budget-minutes", 0.1, "--backends", "serial",
                "--num-envs-per-env-runner", "1,2", "--out", out)  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    results = load_results(out, TuneResults).tune
    winner = next(one for one in results.plans if one.name == results.decision.winner)
    for target in ("yaml", "gymnasium", "sb3"):
        done = run("export", out, "--to", target, "--out", tmp_path / f"{target}.file")
        assert (done.returncode, done.stderr) == (0, "")
    exported = build_spec(RunSpec, load_yaml(tmp_path / "yaml.file"))
    assert exported.plan.model_dump(mode="json") == winner.plan
    trained = run("train", "--config", tmp_path / "yaml.file", "--total-steps", 64, "--out", tmp_path / "trained")
    assert trained.returncode == 0, trained.stderr
    told = execute(tmp_path / "gymnasium.file", 20, environment=environment)
    assert re.fullmatch(r"\d+ steps in [\d.]+ s: [\d,]+ steps/s\n", told)
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not among the development dependencies")
    assert "iteration 2: 64 steps" in execute(tmp_path / "sb3.file", 2, environment=environment)


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
