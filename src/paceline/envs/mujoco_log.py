"""Keeps one known, harmless MuJoCo message away from users while a model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

KNOWN_HARMLESS = ("compiler attribute 'settotalmass' is deprecated",)
"""MuJoCo 4 says this about model files that Gymnasium ships (HalfCheetah); a user can do nothing about it."""


@contextmanager
def quiet_model_loading(*, load_mujoco: bool) -> Iterator[None]:
    """Drop the messages in :data:`KNOWN_HARMLESS` while the body runs; every other warning is shown as ever.

    MuJoCo's own handler prints to standard error and appends to ``MUJOCO_LOG.TXT`` in the working directory. It is
    replaced only for the body, so warnings of a running simulation (which matter) go the usual way.

    Args:
        load_mujoco: import ``mujoco`` if it is not loaded yet; otherwise the body runs unchanged where it is not.
    """
    if "mujoco" not in sys.modules and not load_mujoco:
        yield
        return
    try:
        mujoco = import_module("mujoco")
        previous = mujoco.get_mju_user_warning()
    except (ImportError, AttributeError):  # not installed, or a version with another logging interface
        yield
        return

    def show_unless_harmless(message: str) -> None:
        if message.startswith(KNOWN_HARMLESS):
            return
        if previous is not None:
            previous(message)
            return
        sys.stderr.write(f"WARNING: {message}\n")
        mujoco.mju_writeLog("WARNING", message)

    mujoco.set_mju_user_warning(show_unless_harmless)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)
