"""The inside of an actor process: environments, a copy of the policy, and fragments for whoever learns.

Started by :mod:`paceline.training.actors.pool`. It pins itself to its cores before it imports JAX, which then makes its
threads for these; the policy computes in one thread.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import select
import sys
import traceback
from typing import TYPE_CHECKING, Any

from paceline.vector.runners.entrance import enter

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from paceline.training.actors.sampling import Sampler


def main(arguments: str) -> None:
    """Run an actor process to its end.

    Args:
        arguments: JSON of :class:`paceline.vector.runners.launch.RunnerArguments`.
    """
    channel, given = enter(arguments)

    from paceline.errors import PacelineError, WorkError
    from paceline.vector.runners.protocol import Failure, send_message

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone: nobody to tell
        try:
            _work(channel, given)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except PacelineError as error:
            send_message(channel, Failure.of(error))
        except Exception as error:
            told = WorkError(f"an actor broke: {type(error).__name__}: {error}\n{traceback.format_exc()}".rstrip())
            send_message(channel, Failure.of(told))


def _work(channel: Connection, given: dict[str, Any]) -> None:
    from paceline.machine import record_threads
    from paceline.training.actors.messages import BeginWork, Begun, BuildEnvs, Built, Compiled
    from paceline.training.actors.sampling import Sampler, make_envs
    from paceline.vector.runners.protocol import receive_message, send_message

    build: BuildEnvs = receive_message(channel)
    sys.path[:] = build.sys_path
    with contextlib.closing(make_envs(build.spec, build.count)) as venv:
        limit = getattr(venv.spec, "max_episode_steps", None)
        send_message(channel, Built(venv.single_observation_space, venv.single_action_space, limit))
        begin: BeginWork = receive_message(channel)
        memory = begin.layout.over(mmap.mmap(given["memory_fd"], begin.layout.nbytes))
        sampler = Sampler(begin, memory, slot=build.slot, first=build.first, venv=venv)
        send_message(channel, Compiled())
        sampler.reset(begin.seeds)
        gc.collect()
        gc.freeze()  # what was built so far stays; the collector need not look at it again
        send_message(channel, Begun(record_threads()))
        _serve(sampler, channel, given["wake_fd"], given["done_fd"])


def _serve(sampler: Sampler, channel: Connection, wake_fd: int, done_fd: int) -> None:
    """Sample a fragment for each one that is asked for, until told to close."""
    from paceline.training.actors.messages import Replaced
    from paceline.vector.runners.protocol import send_message
    from paceline.vector.runners.wakeup import CLOSE_BIT, SIGNAL_SIZE, decode, done, num_requested

    asked = select.poll()
    asked.register(wake_fd, select.POLLIN)
    signal = done(1)
    credits = 0
    while True:
        if not credits or asked.poll(0):
            value = decode(os.read(wake_fd, SIGNAL_SIZE))
            if not value or value & CLOSE_BIT:
                return
            credits += num_requested(value)
            continue
        told = sampler.sample()
        credits -= 1
        if told:
            send_message(channel, Replaced(told))
        os.write(done_fd, signal)
