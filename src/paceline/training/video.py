"""Films of a policy at work: a few episodes as MP4 files, through Gymnasium's own wrapper."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import gymnasium
from gymnasium.wrappers import RecordVideo

from paceline.envs import make_env
from paceline.errors import RequestError
from paceline.spec import EnvSpec
from paceline.training.policy import Policy


def check_can_film(env: EnvSpec, folder: Path) -> None:
    """Find out before an evaluation whether it can be filmed afterwards.

    Args:
        env: the environment; built once, and asked for one picture.
        folder: where films will go; made here.

    Raises:
        RequestError: MoviePy is missing, the environment draws no pictures here, or the folder cannot be made.
    """
    if importlib.util.find_spec("moviepy") is None:
        raise RequestError(
            "expected MoviePy for --video, got a Python without it; install it with pip install moviepy pygame, or "
            "leave out --video"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium warns of an unknown render mode; the picture is what counts
            built = make_env(env, render_mode="rgb_array")
            try:
                built.reset(seed=0)
                picture = built.render()
            finally:
                built.close()
    except Exception as error:
        raise RequestError(
            f"expected {env.id} to draw pictures (render_mode rgb_array), got {type(error).__name__}: {error}; leave "
            f"out --video, or see what it needs to draw without a screen (for MuJoCo: MUJOCO_GL=egl or osmesa)"
        ) from None
    if getattr(picture, "ndim", 0) != 3:
        raise RequestError(
            f"expected {env.id} to draw pictures (render_mode rgb_array), got {type(picture).__name__}; leave out "
            f"--video"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be made: {error.strerror}; give another folder after --video") from None


def film(policy: Policy, folder: Path, *, num_episodes: int, seed: int, deterministic: bool = True) -> list[Path]:
    """Play whole episodes in one environment and film each.

    Args:
        policy: the policy.
        folder: where ``paceline-episode-0.mp4``, ``paceline-episode-1.mp4`` .. go.
        num_episodes: how many.
        seed: seed of the environment.
        deterministic: take the most probable action instead of a sample.

    Returns:
        The films.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the folder is there already; encoders are not quiet either
        env: gymnasium.Env[object, object] = RecordVideo(
            make_env(policy.spec.env, render_mode="rgb_array"),
            str(folder),
            episode_trigger=lambda episode: True,
            name_prefix="paceline",
        )
        try:
            for episode in range(num_episodes):
                observation, _ = env.reset(seed=seed if episode == 0 else None)
                over = False
                while not over:
                    action = policy.act(observation, deterministic=deterministic)
                    observation, _, terminated, truncated, _ = env.step(action)
                    over = terminated or truncated
        finally:
            env.close()
    return [folder / f"paceline-episode-{episode}.mp4" for episode in range(num_episodes)]
