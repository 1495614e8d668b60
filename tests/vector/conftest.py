"""What the tests of processes share."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator

import cloudpickle
import pytest


@pytest.fixture(scope="session")
def ended() -> Callable[[int], bool]:
    """Wait until a process, which need not be our child, is gone, ten seconds at most; return whether it is."""

    def wait(pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([pidfd], [], [], 10.0)[0])
        finally:
            os.close(pidfd)

    return wait


@pytest.fixture
def by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """Send the test module's functions and classes by value: a runner cannot import it."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)
