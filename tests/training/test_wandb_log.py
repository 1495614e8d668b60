"""Weights & Biases, with a package of that name that keeps what it is given."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_display import Listener
from fake_envs import small_spec

import paceline
from paceline.errors import RequestError, WorkError
from paceline.spec import Budget
from paceline.training.wandb_log import check_wandb_is_there

ENV = "synthetic:known-return?episode_length=8"


class Project:
    """Stands in for the package: one run, whose points are kept."""

    def __init__(self, *, starts: bool = True, answers: bool = True) -> None:
        self.settings: dict[str, Any] = {}
        self.points: list[tuple[int, dict[str, float]]] = []
        self.finished = 0
        self._starts, self._answers = starts, answers

    def init(self, **settings: Any) -> Project:
        if not self._starts:
            raise RuntimeError("no account")
        self.settings = settings
        return self

    def log(self, scalars: dict[str, float], step: int) -> None:
        self.points.append((step, scalars))
        if not self._answers:
            raise ConnectionError("gone")

    def finish(self) -> None:
        self.finished += 1


def install(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("wandb")
    module.__spec__ = ModuleSpec("wandb", None)
    module.init = project.init
    monkeypatch.setitem(sys.modules, "wandb", module)


def test_every_iteration_is_sent_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project()
    install(project, monkeypatch)
    spec = small_spec(ENV, budget=Budget(iterations=2))
    result = paceline.train(spec, out=tmp_path / "mine", wandb="pace")
    assert [step for step, _ in project.points] == [64, 128]
    assert project.points[0][1]["speed/sps"] == result.iterations[0].sps
    assert (project.settings["project"], project.settings["name"]) == ("pace", "mine")
    assert project.settings["config"]["algo"]["batch_size"] == 64
    assert project.finished == 1


def test_nothing_is_sent_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project()
    install(project, monkeypatch)
    paceline.train(small_spec(ENV, budget=Budget(iterations=1)), out=tmp_path / "mine")
    assert (project.settings, project.points) == ({}, [])


def test_a_connection_that_breaks_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(answers=False)
    install(project, monkeypatch)
    display = Listener()
    spec = small_spec(ENV, budget=Budget(iterations=2))
    result = paceline.train(spec, out=tmp_path / "mine", wandb="pace", display=display)
    assert (result.outcome, len(project.points)) == ("ok", 1)
    assert display.messages == ["Weights & Biases lacks part of this run: ConnectionError: gone"]


def test_a_project_that_does_not_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(Project(starts=False), monkeypatch)
    with pytest.raises(WorkError, match="expected Weights & Biases to start, got RuntimeError: no account"):
        paceline.train(small_spec(ENV), out=tmp_path / "mine", wandb="pace")
    assert not (tmp_path / "mine").exists()


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RequestError, match="pip install wandb"):
        check_wandb_is_there()
    with pytest.raises(RequestError, match="pip install wandb"):
        paceline.train(small_spec(ENV), out=tmp_path / "mine", wandb="pace")
    assert not (tmp_path / "mine").exists()
