"""The end of runners: each is asked to close its environments, given time for it, and killed if it takes longer."""

from __future__ import annotations

import os
import select
from contextlib import suppress

from paceline.vector.runners.launch import RunnerProcess, end_all
from paceline.vector.runners.wakeup import CLOSE

CLOSE_GRACE_S = 3.0


class Descriptor:
    """A file descriptor that whoever holds this object may close, and only once."""

    fd = -1

    def close(self) -> None:
        """Close it; more than once does no harm."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def end_runners(
    runners: list[RunnerProcess],
    memory: Descriptor,
    owner_pid: int,
    by_pipe: bool,
    grace_s: float = CLOSE_GRACE_S,
) -> None:
    """End ``runners`` and close the shared memory, unless this is a fork of the process that owns them."""
    if os.getpid() != owner_pid:
        return
    memory.close()
    for runner in runners:
        if grace_s > 0 and not runner.ended and not runner.is_dead():
            if not by_pipe:
                with suppress(BrokenPipeError):  # it has just died
                    os.write(runner.wake_fd, CLOSE)
            elif _takes_more(runner):  # else it hangs, with more to read than a pipe holds
                runner.post(None)
    end_all(runners, grace_s)


def _takes_more(runner: RunnerProcess) -> bool:
    poller = select.poll()
    poller.register(runner.channel.fileno(), select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poller.poll(0))
