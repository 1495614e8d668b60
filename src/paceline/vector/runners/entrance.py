"""How every process that is started for environments begins: tied to its parent, on its cores, its channels its own.

Imports nothing heavy: the cores are set before anything makes threads for them.
"""

from __future__ import annotations

import contextlib
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from paceline.process_death import die_with_parent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def enter(arguments: str) -> tuple[Connection, dict[str, Any]]:
    """Begin a runner or an actor.

    Args:
        arguments: JSON of :class:`paceline.vector.runners.launch.RunnerArguments`.

    Returns:
        The channel to the parent, and the arguments by name.
    """
    given = json.loads(arguments)
    die_with_parent(
        given["parent_pid"], lifeline_fd=given["lifeline_fd"], parent_thread_is_main=given["parent_thread_is_main"]
    )
    if given["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, given["cores"])
    for name in ("control_fd", "wake_fd", "done_fd", "memory_fd", "lifeline_fd"):
        os.set_inheritable(given[name], False)  # what an environment starts must not keep our channels open

    from multiprocessing.connection import Connection

    channel = Connection(given["control_fd"])
    os.register_at_fork(after_in_child=partial(_let_go, channel, given))  # nor what it forks
    return channel, given


def _let_go(channel: Connection, given: dict[str, Any]) -> None:
    """Close a fork's copies of what ties this process to the parent, who would not see this one die else."""
    for close in (channel.close, partial(os.close, given["wake_fd"]), partial(os.close, given["done_fd"])):
        with contextlib.suppress(OSError):  # the environment has closed it itself
            close()
