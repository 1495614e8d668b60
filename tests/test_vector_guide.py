"""Every snippet of docs/vector.md runs, and its tables name what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from gymnasium.vector import AutoresetMode

from paceline import make_vec
from paceline.spec import Backend
from paceline.vector.base import StepBatch, VecEnv
from paceline.vector.statistics import RunnerStatistics, VecStatistics

GUIDE = Path(__file__).parent.parent / "docs" / "vector.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FENCE = re.compile(r"^```python *(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets() -> list[Any]:
    found = []
    for match in FENCE.finditer(TEXT):
        line = TEXT[: match.start(2)].count("\n")
        section = re.findall(r"^## (.+)$", TEXT[: match.start()], re.MULTILINE)
        found.append(pytest.param(line, match[1], match[2], id=section[-1] if section else "one line"))
    return found


@pytest.mark.parametrize(("line", "needs", "code"), snippets())
def test_the_snippet_runs(line: int, needs: str, code: str) -> None:
    if needs == "sb3":
        pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not among the development dependencies")
    names: dict[str, Any] = {"__name__": "__main__"}
    first = "import gymnasium, paceline\nimport numpy as np\n"  # what earlier snippets have imported
    exec(first, names)
    exec(compile("\n" * line + code, str(GUIDE), "exec"), names)
    made = [value for value in names.values() if isinstance(value, VecEnv)]
    assert made
    for venv in made:
        assert venv.closed or needs
        venv.close()


def test_there_is_a_snippet_in_every_section_that_shows_a_call() -> None:
    assert len(snippets()) >= 9


def test_the_table_has_every_backend_and_every_autoreset_mode() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", TEXT, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    assert set(get_args(Backend)) <= named
    assert {mode.name.lower() for mode in AutoresetMode} <= named


def test_what_it_names_is_there() -> None:
    """Arguments, fields and methods between backquotes are those of the code."""
    prose = FENCE.sub("", TEXT)
    named = set(re.findall(r"`([a-z_]+)(?:[(=`])", prose))
    known = {
        *inspect.signature(make_vec).parameters, *dir(VecEnv), *StepBatch._fields,
        *VecStatistics.__dataclass_fields__, *RunnerStatistics.__dataclass_fields__, *get_args(Backend),
        *(mode.name.lower() for mode in AutoresetMode), "spawn", "forkserver", "seed", "env_ids", "__main__",
    }  # fmt: skip
    assert named - known == set()
