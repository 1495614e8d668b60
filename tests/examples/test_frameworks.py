"""The examples for other people's libraries do what they say (skipped where these are not installed)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_example(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_torch_loop_learns_the_very_same_with_either_library() -> None:
    pytest.importorskip("torch", reason="PyTorch is not among the development dependencies")
    ours, theirs = (run_example("examples/torch_loop.py", library) for library in ("paceline", "gymnasium"))
    assert ours == theirs
    quarters = [float(length) for length in re.findall(r"episode ([\d.]+) steps", ours)]
    assert len(quarters) == 4
    assert quarters[-1] > 2 * quarters[0]


@pytest.mark.slow
def test_stable_baselines3_learns_on_top_of_make_vec() -> None:
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not among the development dependencies")
    told = run_example("examples/sb3_make_vec.py")
    before, after = (float(number) for number in re.findall(r"([\d.]+) (?:before|after)", told))
    assert after > 3 * before
