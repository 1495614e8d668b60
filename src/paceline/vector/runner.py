"""The runner process: holds a group of environments and steps them whenever it is woken.

Started by :mod:`paceline.vector.launch` as a plain ``python -c`` with a few inherited file descriptors. It imports
nothing heavy before the core pinning is in force, and never JAX.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from paceline.vector.group import EnvGroup
    from paceline.vector.protocol import Setup

_PR_SET_PDEATHSIG = 1


def main(arguments: str) -> None:
    """Run a runner process to its end.

    Args:
        arguments: JSON of :class:`paceline.vector.launch.RunnerArguments`.
    """
    given = json.loads(arguments)
    _die_with_parent(given["parent_pid"], given["lifeline_fd"], given["parent_thread_is_main"])
    if given["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, given["cores"])
    for name in ("control_fd", "wake_fd", "done_fd", "memory_fd", "lifeline_fd"):
        os.set_inheritable(given[name], False)  # what an environment starts must not keep our channels open

    from multiprocessing.connection import Connection

    from paceline.errors import PacelineError
    from paceline.vector.protocol import Failure, send_message

    channel = Connection(given["control_fd"])
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone: nobody to tell
        try:
            group = _build_group(channel, given["memory_fd"])
        except PacelineError as error:
            send_message(channel, Failure.of(error))
            return
        try:
            _serve(group, channel, given["wake_fd"], given["done_fd"])
        finally:
            group.close()


def _die_with_parent(parent_pid: int, lifeline_fd: int, parent_thread_is_main: bool) -> None:
    """See to it that the kernel ends this process when the parent dies, even if an environment hangs in C code.

    The lifeline is a pipe whose other end only the parent holds: when that end closes, SIGIO ends this process. The
    parent-death signal covers parents that fork (a fork keeps the lifeline open), but it fires when the *thread* that
    started us ends, so it is used only if that was the main thread.
    """
    if sys.platform == "linux":
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
        if parent_thread_is_main:
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the arrangements were made
        os._exit(0)


def _build_group(channel: Connection, memory_fd: int) -> EnvGroup:
    import mmap
    import pickle

    from paceline.vector.arrays import Layout
    from paceline.vector.group import EnvGroup
    from paceline.vector.protocol import Built, receive_message, send_message
    from paceline.vector.serial import build_envs

    setup: Setup = receive_message(channel)
    sys.path[:] = setup.sys_path
    envs = build_envs(pickle.loads(setup.factory), setup.count, first=setup.first)
    env = envs[0]
    built = Built(env.observation_space, env.action_space, dict(env.metadata), env.render_mode, env.spec)
    try:
        send_message(channel, built)
    except (TypeError, AttributeError, pickle.PicklingError):  # a spec or metadata that cannot travel: do without
        send_message(channel, Built(env.observation_space, env.action_space, {}, env.render_mode, None))
    receive_message(channel)  # MapMemory
    layout = Layout(env.observation_space, env.action_space, setup.num_envs, setup.num_slots, setup.autoreset_mode)
    arrays = layout.arrays_over(mmap.mmap(memory_fd, layout.nbytes))
    group = EnvGroup(
        envs, arrays, first=setup.first, slot=setup.slot, autoreset_mode=setup.autoreset_mode, infos=setup.infos
    )
    send_message(channel, None)
    return group


def _serve(group: EnvGroup, channel: Connection, wake_fd: int, done_fd: int) -> None:
    """Wait for a signal, do what it says, answer; until told to close, or the parent is gone."""
    from paceline.errors import PacelineError
    from paceline.vector.infos import pack
    from paceline.vector.protocol import Failure
    from paceline.vector.wakeup import CLOSE, DONE, REQUEST, SIGNAL_SIZE, STEP, has

    gc.collect()
    gc.freeze()  # what was built so far stays; the collector need not look at it again
    read, write, step, count = os.read, os.write, group.step, len(group.envs)
    while True:
        woken = read(wake_fd, SIGNAL_SIZE)
        if woken == STEP:
            try:
                records = step()
            except PacelineError as error:
                _answer(channel, Failure.of(error), done_fd)
                continue
            if records:
                _answer(channel, pack(records, count) or records, done_fd)
            else:
                write(done_fd, DONE)
        elif not woken or has(woken, CLOSE):
            return
        elif has(woken, REQUEST):
            _answer(channel, _fulfil(group, channel))


def _fulfil(group: EnvGroup, channel: Connection) -> Any:
    """Do what the request in the control channel says and return the answer."""
    import traceback

    from paceline.errors import EnvRaisedError, PacelineError
    from paceline.vector.protocol import CallRequest, Failure, ResetRequest, SetAttrRequest, receive_message
    from paceline.vector.serial import call_envs

    request = receive_message(channel)
    try:
        if isinstance(request, ResetRequest):
            return group.reset(request.seeds, request.options, request.mask)
        if isinstance(request, CallRequest):
            return call_envs(group.envs, request.name, request.args, request.kwargs)
        if isinstance(request, SetAttrRequest):
            for env, value in zip(group.envs, request.values, strict=True):
                env.set_wrapper_attr(request.name, value)
            return None
        raise TypeError(f"unknown request {type(request).__name__}")
    except PacelineError as error:
        return Failure.of(error)
    except Exception as error:
        message = f"a call of the environments raised {type(error).__name__}: {error}"
        return Failure.of(EnvRaisedError(message, original_traceback=traceback.format_exc()))


def _answer(channel: Connection, message: Any, done_fd: int | None = None) -> None:
    """Send ``message``; in a step, also signal that there is one.

    A small message goes first, so that the parent wakes once and finds it. A large one goes after the signal: it may
    not fit the socket's buffer, and the parent reads the socket only when told to.
    """
    from paceline.errors import EnvContractError
    from paceline.vector.protocol import SMALL_BYTES, Failure, pack_message
    from paceline.vector.wakeup import DONE_WITH_MESSAGE

    try:
        payload = pack_message(message)
    except Exception as error:
        refusal = EnvContractError(
            f"expected infos and results that can be pickled, got {type(error).__name__}: {error}; return plain data, "
            f"or make the vector environment with infos='none'"
        )
        payload = pack_message(Failure.of(refusal))
    small = len(payload) <= SMALL_BYTES
    if done_fd is not None and not small:
        os.write(done_fd, DONE_WITH_MESSAGE)
    channel.send_bytes(payload)
    if done_fd is not None and small:
        os.write(done_fd, DONE_WITH_MESSAGE)
