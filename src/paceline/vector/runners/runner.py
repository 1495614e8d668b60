"""The runner process: holds a group of environments and steps them whenever it is woken.

Started by :mod:`paceline.vector.runners.launch` with a few inherited file descriptors. It imports nothing heavy before
the core pinning is in force, and never JAX.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import traceback
from typing import TYPE_CHECKING, Any

from paceline.vector.runners.entrance import enter

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from paceline.envs import EnvFactory
    from paceline.vector.group import EnvGroup
    from paceline.vector.runners.protocol import Setup
    from paceline.vector.runners.serving import MemoryServer, PipeServer


def main(arguments: str) -> None:
    """Run a runner process to its end.

    Args:
        arguments: JSON of :class:`paceline.vector.runners.launch.RunnerArguments`.
    """
    channel, given = enter(arguments)

    from paceline.errors import EnvRaisedError, PacelineError
    from paceline.vector.runners.protocol import Failure, send_message

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone: nobody to tell
        try:
            server, group = _build(channel, given)
        except PacelineError as error:
            send_message(channel, Failure.of(error))
            return
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            message = f"the environments could not be built: {type(error).__name__}: {error}"
            raised = EnvRaisedError(message, original_traceback=traceback.format_exc())
            send_message(channel, Failure.of(raised))
            return
        try:
            gc.collect()
            gc.freeze()  # what was built so far stays; the collector need not look at it again
            server.serve()
        finally:
            group.close()


def _build(channel: Connection, given: dict[str, Any]) -> tuple[MemoryServer | PipeServer, EnvGroup]:
    """Build the environments, tell the parent what they are like, and map the memory once it has its size."""
    import mmap
    import pickle

    import numpy as np

    from paceline.vector.arrays import IDLE, Layout
    from paceline.vector.env_list import build_envs
    from paceline.vector.group import EnvGroup
    from paceline.vector.runners.protocol import Built, receive_message, send_message
    from paceline.vector.runners.serving import MemoryServer, PipeServer, cursor_bytes, share_cursors
    from paceline.vector.spaces import write_rows

    setup: Setup = receive_message(channel)
    sys.path[:] = setup.sys_path
    factories = _unpickle_factories(setup)
    envs = build_envs(factories, first=setup.first)
    env = envs[0]
    built = Built(env.observation_space, env.action_space, dict(env.metadata), env.render_mode, env.spec)
    try:
        send_message(channel, built)
    except (TypeError, AttributeError, pickle.PicklingError):  # a spec or metadata that cannot travel: do without
        send_message(channel, Built(env.observation_space, env.action_space, {}, env.render_mode, None))
    receive_message(channel)  # MapMemory
    layout = Layout(env.observation_space, env.action_space, setup.num_envs, setup.num_slots, setup.autoreset_mode)
    memory = np.zeros(layout.nbytes, np.uint8) if setup.by_pipe else mmap.mmap(given["memory_fd"], layout.nbytes)
    arrays = layout.arrays_over(memory)
    if setup.by_pipe:
        arrays = share_cursors(arrays, mmap.mmap(given["memory_fd"], cursor_bytes(setup.num_slots)))
    arrays.cursors[setup.slot] = IDLE
    group = EnvGroup(
        envs, arrays, first=setup.first, slot=setup.slot, autoreset_mode=setup.autoreset_mode, infos=setup.infos,
        factories=factories, policy=setup.faults,
    )  # fmt: skip
    if setup.lost_seeds is not None:
        group.lose(setup.lost_seeds, setup.lost_steps or [0] * setup.count)
    send_message(channel, None)
    if setup.by_pipe:
        rows = slice(setup.first, setup.first + setup.count)
        if setup.lost_observations is not None:
            write_rows(arrays.observations, setup.lost_observations, rows)
        return PipeServer(group, arrays, rows, setup.slot, channel), group
    server = MemoryServer(
        group, arrays, setup.slot, channel, given["wake_fd"], given["done_fd"], setup.waiting, setup.most_ready
    )
    return server, group


def _unpickle_factories(setup: Setup) -> list[EnvFactory]:
    """Return the callables that build the environments: what they are made of may exist in the parent alone."""
    import pickle

    from paceline.errors import EnvRaisedError

    try:
        factories: list[EnvFactory] = pickle.loads(setup.factories)
        return factories
    except Exception as error:
        raise EnvRaisedError(
            f"expected callables that a runner process can load, got {type(error).__name__}: {error}; let it find what "
            f"they need, or use backend serial or thread",
            env_index=setup.first if setup.count == 1 else None,
            original_traceback=traceback.format_exc(),
        ) from error
