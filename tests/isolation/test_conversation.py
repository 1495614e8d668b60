from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.isolation.conversation import AnswerFailed, Conversation, Failure, Stopped, Watch

sys.path.append(str(Path(__file__).parent / "fakes"))

PLENTY = Watch(timeout_s=60.0, memory_bytes=2**50)


def start(task: str, watch: Watch = PLENTY, **request: Any) -> Conversation:
    return Conversation({"task": f"fake_conversations:{task}", **request}, watch)


def failure_of(process: Conversation) -> Failure:
    try:
        with pytest.raises(AnswerFailed) as failed:
            process.answer()
        return failed.value.failure
    finally:
        process.end()


def test_a_process_answers_each_request_and_is_let_go_gently(tmp_path: Path) -> None:
    process = start("answer_twice", put_away=str(tmp_path / "away"))
    assert process.answer() == {"event": "ready"}
    assert [process.ask({"seconds": seconds})["seconds"] for seconds in (0.1, 0.2)] == [0.1, 0.2]
    process.finish()
    assert (tmp_path / "away").read_text() == "done"
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.parametrize(
    ("kind", "outcome", "error_type"),
    [
        ("bug", "crash", "ZeroDivisionError"),
        ("space", "impossible", "UnsupportedSpaceError"),
        ("memory", "oom", "OutOfMemoryError"),
    ],
)
def test_what_it_raises_is_an_outcome(kind: str, outcome: str, error_type: str) -> None:
    failure = failure_of(start("fail", kind=kind))
    assert (failure.outcome, failure.error_type) == (outcome, error_type)
    assert error_type in failure.output  # the traceback


def test_a_death_without_a_word_is_a_crash_with_its_last_words() -> None:
    failure = failure_of(start("die"))
    assert failure.outcome == "crash"
    assert "killed by SIGKILL" in failure.message and "last words: farewell" in failure.message


def test_a_hang_is_a_timeout() -> None:
    failure = failure_of(start("hang", Watch(timeout_s=0.3, memory_bytes=2**50)))
    assert failure.outcome == "timeout"
    assert "within 0.3 s" in failure.message


def test_too_much_memory_in_all_processes_together_is_oom() -> None:
    watch = Watch(60.0, 100, tree_memory=lambda pid, above: 3 * 2**30 if pid == os.getpid() else 0)
    failure = failure_of(start("hang", watch))
    assert failure.outcome == "oom"
    assert "held 3.0 GiB" in failure.message


def test_the_user_may_stop_a_wait() -> None:
    process = start("hang", Watch(60.0, 2**50, should_stop=lambda: True))
    with pytest.raises(Stopped):
        process.answer()
    process.end()
