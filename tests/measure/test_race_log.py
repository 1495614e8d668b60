"""How a race went, read back from the lines that a tuning writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paceline.measure.race_log import RaceSlice, load_race


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def measured(plan: str, at_s: float, wall_s: float = 1.0) -> dict[str, Any]:
    return {"kind": "measured", "at_s": at_s, "plan": plan, "note": "", "sps": 100.0, "wall_s": wall_s}


def test_slices_and_phases_come_back_in_order(tmp_path: Path) -> None:
    race = load_race(
        written(
            tmp_path,
            {"kind": "tune", "at_s": 0.0},
            {"kind": "phase", "at_s": 3.0, "plan": None, "note": "race"},
            {"kind": "opened", "at_s": 5.0, "plan": "b"},
            measured("b", 6.0),
            measured("a", 9.0, 2.0),
            {"kind": "phase", "at_s": 10.0, "plan": None, "note": "confirm"},
            measured("b", 12.0),
        )
    )
    assert race is not None
    assert race.slices == (RaceSlice("b", 5.0, 6.0, 100.0), RaceSlice("a", 7.0, 9.0, 100.0),
                           RaceSlice("b", 11.0, 12.0, 100.0))  # fmt: skip
    assert (race.begin_s, race.confirm_s, race.order) == (3.0, 10.0, ("b", "a"))


def test_a_folder_that_tells_of_no_race_has_none(tmp_path: Path) -> None:
    assert load_race(tmp_path) is None
    assert load_race(written(tmp_path, {"kind": "phase", "at_s": 1.0, "note": "race"})) is None


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    race = load_race(
        written(
            tmp_path,
            {"kind": "measured", "plan": "a"},
            {"kind": "measured", "at_s": "soon", "plan": "a"},
            {"kind": "measured", "at_s": 2.0, "plan": None},
            {"kind": "measured", "at_s": 0.5, "plan": "a", "wall_s": 1.0},
        )
    )
    assert race is not None
    assert race.slices == (RaceSlice("a", 0.0, 0.5, None),)
    assert race.confirm_s is None
