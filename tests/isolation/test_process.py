from __future__ import annotations

import signal
import sys
from pathlib import Path

from paceline.isolation.process import Event, FreshProcess, describe_exit, silent_exit_text

sys.path.append(str(Path(__file__).parent / "fakes"))


def events_until(process: FreshProcess, count: int) -> list[Event]:
    found: list[Event] = []
    while len(found) < count and process.returncode is None:
        found += process.events(0.2)
    return found + process.last_events()


def test_a_conversation_goes_on_until_the_caller_hangs_up() -> None:
    process = FreshProcess({"task": "fake_tasks:echo", "word": "first"}, conversation=True)
    try:
        assert events_until(process, 1) == [{"event": "said", "word": "first"}]
        for word in ("second", "third"):
            process.ask({"word": word})
            assert events_until(process, 1) == [{"event": "said", "word": word}]
        process.hang_up()
        assert events_until(process, 1) == [{"event": "over"}]
    finally:
        process.end()
    assert process.returncode is not None


def test_without_a_conversation_no_request_follows() -> None:
    process = FreshProcess({"task": "fake_tasks:echo", "word": "only"})
    try:
        assert events_until(process, 2) == [{"event": "said", "word": "only"}, {"event": "over"}]
    finally:
        process.end()


def test_a_request_to_a_process_that_has_died_is_told_by_its_exit() -> None:
    process = FreshProcess({"task": "fake_tasks:leave", "status": 3}, conversation=True)
    try:
        while process.returncode is None:
            process.events(0.2)
        process.ask({"word": "too late"})
        process.last_events()
        assert silent_exit_text(process, "the case's") == (
            "the case's process exited with status 3 without a result; its last words: goodbye"
        )
    finally:
        process.end()


def test_signals_have_names() -> None:
    assert describe_exit(-signal.SIGABRT) == "was killed by SIGABRT"
    assert describe_exit(-70) == "was killed by signal 70"
    assert describe_exit(3) == "exited with status 3"
