"""``progress.csv``, read back as a spreadsheet would."""

from __future__ import annotations

import csv
from pathlib import Path

from full_disk import files_up_to

from paceline.measure.ledger import PHASES, UNATTRIBUTED
from paceline.measure.result import IterationRecord, LedgerRecord
from paceline.training.csv_log import COLUMNS, CsvLog


def record(iteration: int, **fields: object) -> IterationRecord:
    ledger = LedgerRecord(wall_s=2.0, phases={"env_step": 1.5, "unattributed": 0.5})
    known = {"wall_s": 2.0, "num_env_steps": 64, "sps": 32.0, "total_env_steps": 64 * (iteration + 1), "ledger": ledger}
    return IterationRecord.model_validate({"iteration": iteration, **known, **fields})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_iteration_is_a_line_with_every_phase(tmp_path: Path) -> None:
    log = CsvLog(tmp_path)
    log.write(record(0), None)
    log.write(record(1, episode_return_mean=-3.5, episode_length_mean=9.0, metrics={"lag_mean": 1.25}), -3.5)
    first, second = rows(tmp_path)  # while the run goes on
    log.close()
    assert tuple(first) == COLUMNS
    assert {f"{phase}_s" for phase in (*PHASES, UNATTRIBUTED)} <= set(first)
    assert (first["iteration"], first["total_env_steps"], first["sps"]) == ("0", "64", "32.0")
    assert (first["episode_return_mean"], first["lag_mean"]) == ("", "")
    assert (second["episode_return_mean"], second["episode_length_mean"], second["lag_mean"]) == ("-3.5", "9.0", "1.25")
    assert sum(float(second[f"{phase}_s"]) for phase in (*PHASES, UNATTRIBUTED)) == float(second["wall_s"])


def test_a_resumed_run_replaces_what_it_does_again(tmp_path: Path) -> None:
    log = CsvLog(tmp_path)
    for iteration in range(4):
        log.write(record(iteration), None)
    log.close()
    with (tmp_path / "progress.csv").open("a") as file:
        file.write("4,320,2.")  # torn by kill -9
    log = CsvLog(tmp_path, next_iteration=2)
    log.write(record(2, sps=99.0), None)
    log.close()
    assert [(row["iteration"], row["sps"]) for row in rows(tmp_path)] == [("0", "32.0"), ("1", "32.0"), ("2", "99.0")]


def test_a_file_that_cannot_be_written_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "progress.csv").mkdir()
    log = CsvLog(tmp_path)
    log.write(record(0), None)
    log.close()
    assert log.problem.startswith(f"{tmp_path / 'progress.csv'}: cannot be written: ")


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    log = CsvLog(tmp_path)
    header = (tmp_path / "progress.csv").stat().st_size
    log.write(record(0), None)
    line = (tmp_path / "progress.csv").stat().st_size - header
    with files_up_to(header + line + line // 2):
        log.write(record(1), None)
        log.write(record(2), None)
        log.close()
    assert "cannot be written: File too large" in log.problem
    assert [row["iteration"] for row in rows(tmp_path)] == ["0"]


def test_a_resumed_run_without_room_keeps_the_lines_it_had(tmp_path: Path) -> None:
    log = CsvLog(tmp_path)
    log.write(record(0), None)
    log.close()
    with files_up_to(10):
        log = CsvLog(tmp_path, next_iteration=1)
    log.write(record(1), None)
    log.close()
    assert log.problem
    assert [row["iteration"] for row in rows(tmp_path)] == ["0"]
