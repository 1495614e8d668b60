"""Keeps one known, harmless MuJoCo message away from users while a model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

KNOWN_HARMLESS = ("compiler attribute 'settotalmass' is deprecated",)
"""MuJoCo 4 says this about model files that Gymnasium ships (HalfCheetah); a user can do nothing about it."""


@contextmanager
def quiet_model_loading() -> Iterator[None]:
    """Drop the messages in :data:`KNOWN_HARMLESS` while the body runs; every other warning is shown as ever.

    MuJoCo's own handler prints to standard error and appends to ``MUJOCO_LOG.TXT`` in the working directory. It is
    replaced only for the body, so warnings of a running simulation (which matter) go the usual way. Nothing is
    imported: where the body is the first to import ``mujoco``, the handler is replaced at that moment.
    """
    quieted = _Quieted()
    watch = None
    if "mujoco" in sys.modules:
        quieted.begin(sys.modules["mujoco"])
    else:
        watch = _ImportWatch("mujoco", quieted.begin)
        sys.meta_path.insert(0, watch)
    try:
        yield
    finally:
        if watch in sys.meta_path:
            sys.meta_path.remove(watch)
        quieted.end()


class _Quieted:
    """MuJoCo's warning handler, replaced by one that drops the known messages."""

    def __init__(self) -> None:
        self._undo: Callable[[], None] = lambda: None

    def begin(self, mujoco: ModuleType) -> None:
        """Replace the handler, unless this version of MuJoCo has another logging interface."""
        if not hasattr(mujoco, "set_mju_user_warning"):
            return
        previous = mujoco.get_mju_user_warning()

        def show_unless_harmless(message: str) -> None:
            if message.startswith(KNOWN_HARMLESS):
                return
            if previous is not None:
                previous(message)
                return
            sys.stderr.write(f"WARNING: {message}\n")
            mujoco.mju_writeLog("WARNING", message)

        mujoco.set_mju_user_warning(show_unless_harmless)
        self._undo = lambda: mujoco.set_mju_user_warning(previous)

    def end(self) -> None:
        """Put the previous handler back."""
        self._undo()


class _ImportWatch(MetaPathFinder):
    """Calls ``then`` with the module ``name`` as soon as it has been imported for the first time."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as everybody else would, with its loader made to tell when it is done."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        loader = None if spec is None else spec.loader
        if loader is not None:
            execute, then = loader.exec_module, self._then

            def execute_and_tell(module: ModuleType) -> None:
                vars(loader).pop(
                    "exec_module", None
                )  # the class's own is in force again; another watch may have been first
                execute(module)
                then(module)

            loader.exec_module = execute_and_tell  # type: ignore[method-assign]
        return spec
