"""Films, with an encoder that keeps pictures instead of a codec."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from fake_envs import fresh_policy
from numpy.typing import NDArray

from paceline.errors import RequestError
from paceline.spec import EnvSpec
from paceline.training.video import check_can_film, film


class Painter(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Four steps an episode; draws black squares in the render modes that it is told."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, broken: bool = False) -> None:
        self.render_mode = render_mode
        self._broken = broken
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return np.zeros(2, np.float32), 1.0, self._steps == 4, False, {}

    def render(self) -> Any:
        if self._broken:
            raise RuntimeError("no screen")
        return np.zeros((16, 16, 3), np.uint8)


PAINTER = f"{Painter.__module__}:Painter"


class Clip:
    """Stands in for MoviePy's: writes how many pictures there were."""

    def __init__(self, frames: list[Any], fps: int) -> None:
        self._frames = frames

    def write_videofile(self, path: str, logger: Any = None) -> None:
        Path(path).write_text(str(len(self._frames)))


@pytest.fixture
def moviepy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules[name], "ImageSequenceClip", Clip, raising=False)
    yield


@pytest.mark.usefixtures("moviepy")
def test_every_episode_is_a_film_of_all_its_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    check_can_film(EnvSpec(id=PAINTER), folder)
    films = film(fresh_policy(PAINTER), folder, num_episodes=2, seed=0)
    assert [path.name for path in films] == ["paceline-episode-0.mp4", "paceline-episode-1.mp4"]
    assert [path.read_text() for path in films] == ["5", "5"]  # the first observation and four steps


@pytest.mark.usefixtures("moviepy")
@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (EnvSpec(id=PAINTER, kwargs={"broken": True}), "got RuntimeError: no screen; leave out --video"),
        (EnvSpec(id="synthetic:known-return"), "to draw pictures"),
    ],
)
def test_an_environment_that_draws_nothing_is_refused(env: EnvSpec, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=sentence):
        check_can_film(env, tmp_path / "films")


@pytest.mark.usefixtures("moviepy")
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be made"):
        check_can_film(EnvSpec(id=PAINTER), tmp_path / "file" / "films")


def test_without_moviepy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", None)
    with pytest.raises(RequestError, match="pip install moviepy"):
        check_can_film(EnvSpec(id=PAINTER), tmp_path / "films")
