"""What a generated script says, read from its syntax tree: nothing of it is executed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import paceline

SOURCE = str(Path(paceline.__file__).parent.parent)

OWN_ENV = '''
import gymnasium, numpy

class Counter(gymnasium.Env):
    """Episodes of ``length`` steps; refuses to be built with another word than it was written for."""
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length=3, words=()):
        assert list(words) == ["it's", 'a "word"\\n'], words
        self.length, self.count = length, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return numpy.zeros(3, numpy.float32), {}

    def step(self, action):
        self.count += 1
        return numpy.zeros(3, numpy.float32), 1.0, self.count >= self.length, False, {}

class Images(Counter):
    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 3), numpy.uint8)

    def reset(self, **options):
        return numpy.zeros((84, 84, 3), numpy.uint8), super().reset(**options)[1]

    def step(self, action):
        return numpy.zeros((84, 84, 3), numpy.uint8), *super().step(action)[1:]
'''
"""A module with environments of a user's."""
OWN_KWARGS = {"length": 4, "words": ["it's", 'a "word"\n']}


def constants(script: str) -> dict[str, Any]:
    """Return the module's variables that are literals."""
    found = {}
    for node in ast.parse(script).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def arguments(script: str, function: str) -> dict[str, Any]:
    """Return the keyword arguments of the one call of ``function``: literals as values, others as code."""
    (call,) = [
        node
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == function
    ]
    found = {}
    for keyword in call.keywords:
        try:
            found[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            found[str(keyword.arg)] = ast.unparse(keyword.value)
    return found


def comments(script: str) -> str:
    """Return the comment at the head, on one line."""
    head = script.partition("\nfrom __future__")[0]
    return " ".join(line.removeprefix("#").strip() for line in head.splitlines())


def execute(script: str, folder: Path, *words: object, python: Path | str = sys.executable, **variables: str) -> str:
    """Write ``script`` below ``folder``, run it from there as a user does, and return what it prints."""
    file = folder / "scripts" / "script.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [str(python), str(file), *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=170,
        check=False, env={**os.environ, "PYTHONPATH": SOURCE, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def without_paceline(folder: Path) -> str:
    """Return a path for Python on which nobody can import paceline."""
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "paceline.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")
    return str(hidden)


def told_speed(printed: str) -> tuple[list[int], float]:
    """Return the steps of each iteration and the median speed that a trainer's script printed."""
    steps = [int(count) for count in re.findall(r"^iteration \d+: (\d+) steps, [\d,]+ steps/s$", printed, re.MULTILINE)]
    (speed,) = re.findall(r"^([\d,]+) steps/s, median of iterations after the first$", printed, re.MULTILINE)
    return steps, float(speed.replace(",", ""))
