"""Which folders are training runs, and what is read of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "analysis" / "fakes"))

from made_runs import made_run, write_run

from paceline.errors import PacelineError, RequestError, ResultsError, SpecError
from paceline.measure.trained_run import find_run_folders, load_trained_run


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = made_run(env_kwargs={"length": 2}, restarts=["env 1 was replaced", "runner 0 was replaced"])
    read = load_trained_run(write_run(tmp_path / "run", run))
    assert (read.result, read.info) == (run.result, run.info)
    assert (read.env_kwargs, read.budget, read.restarts) == ({"length": 2}, run.budget, run.restarts)
    (tmp_path / "run" / "spec.yaml").unlink()
    (tmp_path / "run" / "progress.jsonl").unlink()
    bare = load_trained_run(tmp_path / "run")
    assert (bare.env_kwargs, bare.budget, bare.restarts) == (None, {}, ())


def test_only_what_was_replaced_is_a_restart(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", made_run(restarts=["of an older version"]))
    with (folder / "progress.jsonl").open("a") as log:
        for what in ("restart", "memory"):
            log.write(json.dumps({"kind": "event", "what": what, "message": what}) + "\n")
        log.write('{"kind": "resumed", "iteration": 1}\n')
    assert load_trained_run(folder).restarts == ("of an older version", "restart")


def test_a_folder_of_runs_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    for name in ("seed10", "seed2", "seed1"):
        write_run(tmp_path / "ppo" / name, made_run())
    (tmp_path / "ppo" / "notes.txt").write_text("lr")
    (tmp_path / "ppo" / "killed").mkdir()
    (tmp_path / "ppo" / "killed" / "progress.jsonl").write_text("")
    single = write_run(tmp_path / "single", made_run())
    folders, left_out = find_run_folders([tmp_path / "ppo", single, tmp_path / "ppo" / "seed2", tmp_path / "nowhere"])
    assert [folder.name for folder in folders] == ["seed1", "seed2", "seed10", "single", "nowhere"]
    assert [folder.name for folder in left_out] == ["killed"]


def test_what_is_no_training_run_is_refused(tmp_path: Path) -> None:
    run = made_run()
    sweep = write_run(tmp_path / "sweep", made_run())
    text = (sweep / "results.json").read_text()
    (sweep / "results.json").write_text(text.replace('"kind": "train"', '"kind": "sweep"'))
    cut = write_run(tmp_path / "cut", run)
    (cut / "results.json").write_text(text[: len(text) // 2])
    spec = write_run(tmp_path / "spec", run)
    (spec / "spec.yaml").write_text("env: [")
    (tmp_path / "empty").mkdir()
    cases: list[tuple[str, type[PacelineError], str]] = [
        ("sweep", RequestError, "expected folders of `paceline train`, got the sweep"),
        ("cut", ResultsError, "not valid JSON"),
        ("spec", SpecError, "broken YAML"),
        ("empty", ResultsError, "got one without results.json"),
        ("nowhere", ResultsError, "no such folder"),
    ]
    for name, kind, words in cases:
        with pytest.raises(kind, match=words):
            load_trained_run(tmp_path / name)


def test_a_file_of_several_runs_is_damaged(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", made_run())
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text[: text.index('"experiments"')] + '"experiments": []}')
    with pytest.raises(ResultsError, match=r"expected one run in results\.json, got 0"):
        load_trained_run(folder)
