"""``paceline compare`` in processes of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import SMALL, Run, assert_one_sentence

sys.path.append(str(Path(__file__).parents[1] / "analysis" / "fakes"))

from made_runs import RUNNERS, made_group, made_run, write_run


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two contenders of three seeds each, in folders of folders."""
    for name, fields in (("ppo", {}), ("runners", {"plan": RUNNERS, "sps": 8000.0})):
        for run in made_group([480.0, 490.0, 500.0], **fields):  # type: ignore[arg-type]
            write_run(tmp_path / name / f"seed{run.result.seed}", run)
    return tmp_path


@pytest.mark.slow
def test_a_comparison_leaves_text_picture_and_page(run: Run, folders: Path) -> None:
    out = folders / "out"
    done = run("compare", folders / "ppo", folders / "runners", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == {"compare.txt", "compare.png", "compare.html"}
    assert done.stdout.startswith("ppo 2x8 runner trains 1.60x as fast as ppo 0x16")
    assert (out / "compare.txt").read_text() in done.stdout
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    again = run("compare", folders / "runners", folders / "ppo", "--out", out, "--names", "a,b", cwd=folders)
    assert again.returncode == 0
    assert again.stdout.startswith("b trains at 0.62x the speed of a"), (
        "the first named is what others are held against"
    )


@pytest.mark.slow
def test_without_out_it_lies_under_runs_and_json_is_alone(run: Run, folders: Path) -> None:
    single = [folders / "ppo" / "seed0", folders / "ppo" / "seed1", folders / "runners" / "seed0"]
    done = run("compare", *single, "--json", cwd=folders)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert [item["seeds"] for item in data["contenders"]] == [[0, 1], [0]]
    (out,) = (folders / "runs").iterdir()
    assert out.name.startswith("compare-") and (out / "compare.html").is_file()


def test_a_senseless_request_is_refused_in_one_sentence(run_here: Run, folders: Path) -> None:
    other = write_run(folders / "cheetah", made_run(env_id="HalfCheetah-v5"))
    longer = write_run(folders / "longer", made_run(env_kwargs={"length": 2.0}))
    sweep = write_run(folders / "sweep", made_run())
    (sweep / "results.json").write_text((sweep / "results.json").read_text().replace('"train"', '"sweep"'))
    cut = write_run(folders / "cut", made_run())
    (cut / "results.json").write_text("{")
    dead = write_run(folders / "dead", made_run(returns=[], outcome="crash", plan=RUNNERS))
    (folders / "empty").mkdir()
    ppo = folders / "ppo"
    cases = [
        ([], "required: DIR"),
        ([ppo / "seed0"], "expected two training runs or more, got 1"),
        ([ppo / "seed0", ppo / ".." / "ppo" / "seed0"], "expected two training runs or more, got 1"),
        ([ppo, other], "got CartPole-v1"),
        ([ppo, longer], 'with {"length": 2.0}'),
        ([ppo, sweep], "got the sweep"),
        ([ppo, cut], "not valid JSON"),
        ([ppo, dead], "a finished iteration"),
        ([ppo, folders / "empty"], "without results.json"),
        ([ppo, folders / "nowhere"], "no such folder"),
        ([ppo, folders / "runners", "--names", "a"], "expected 2 names after --names, got 1"),
        ([ppo, folders / "runners", "--name", "a,b"], "did you mean --names?"),
    ]
    for words, said in cases:
        done = run_here("compare", *words, "--out", folders / "out")
        assert done.returncode == 2, words
        assert_one_sentence(done.stderr)
        assert said in done.stderr
    assert not (folders / "out").exists()


@pytest.mark.slow
def test_repeats_of_one_run_are_shown_though_there_is_nothing_to_compare(run_here: Run, tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, made_run()) for name in ("first", "again")]
    done = run_here("compare", *folders, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("There is nothing to compare ppo 0x16 with: its 2 runs differ in nothing (seed 0 2x)")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.txt", "compare.png", "compare.html"}


def test_a_folder_that_cannot_be_written_is_told(run_here: Run, folders: Path) -> None:
    (folders / "file").write_text("")
    done = run_here("compare", folders / "ppo", folders / "runners", "--out", folders / "file")
    assert done.returncode == 1
    assert_one_sentence(done.stderr)
    assert "give an --out that you may write to" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)  # three programs that compile, on a machine that may be busy
def test_real_runs_are_compared(run: Run, tmp_path: Path) -> None:
    """Two seeds of PPO in process and one of IMPALA in runners, trained for a moment."""
    impala = ("--algo", "impala", "--num-env-runners", 2, "--num-envs-per-env-runner", 2, "--batch-size", 80)
    ppo = (*SMALL, "--num-env-runners", 0)
    for name, seed, options in (("ppo/seed0", 0, ppo), ("ppo/seed1", 1, ppo), ("impala", 0, impala)):
        done = run("train", "CartPole-v1", *options, "--total-steps", 1280, "--seed", seed, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    done = run("compare", tmp_path / "ppo", tmp_path / "impala", "--out", tmp_path / "out", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    first, second = data["contenders"]
    assert (first["name"], second["name"]) == ("ppo 0x4", "impala 2x2 async")
    assert (first["seeds"], second["seeds"]) == ([0, 1], [0])
    assert second["policy_lag"]["mean"] > 0 and first["policy_lag"] is None
    assert first["final_return_iqm"]["value"] > 5 and data["threshold"]["return"] > 5
    assert data["comparisons"][0]["learns"] == "cannot tell"
    assert "2 seeds, a 95% interval needs 4 each" in data["verdict"]
    assert sum(second["ledger_shares"].values()) == pytest.approx(1.0)
