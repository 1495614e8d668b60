"""Who does a piece of work, and that nobody does two at once."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from paceline.vector.native.dispatch import Dispatcher


def test_work_begins_without_anybody_asking_for_its_result() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    begun = threading.Event()

    def work() -> str:
        begun.set()
        return threading.current_thread().name

    dispatcher.submit(work)
    assert begun.wait(10)
    assert dispatcher.next_result() == "paceline-native"
    assert dispatcher.close(10)


def test_a_caller_does_the_work_that_nobody_has_begun() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher._thread = threading.main_thread()  # as if it had started, and were slow to come
    dispatcher.submit(lambda: threading.current_thread().name)
    assert dispatcher.next_result() == threading.current_thread().name


def test_a_caller_waits_for_work_that_has_begun_and_for_what_comes_after() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    hold, begun = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        hold.wait(10)
        return "slow"

    dispatcher.submit(slow)
    assert begun.wait(10)
    dispatcher.submit(lambda: "next")
    threading.Timer(0.02, hold.set).start()
    assert dispatcher.next_result() == "slow"
    assert dispatcher.next_result() == "next"
    assert dispatcher.close(10)


def test_results_come_in_the_order_of_submission_and_never_overlap() -> None:
    dispatcher: Dispatcher[int] = Dispatcher()
    inside = threading.Lock()

    def work(number: int) -> int:
        assert inside.acquire(blocking=False), "two pieces of work at once"
        inside.release()
        return number

    for start in range(0, 2000, 4):
        for number in range(start, start + 4):
            dispatcher.submit(lambda number=number: work(number))  # type: ignore[misc]
        assert [dispatcher.next_result() for _ in range(4)] == list(range(start, start + 4))
    assert dispatcher.close(10)


def test_an_error_reaches_whoever_asks_and_work_goes_on() -> None:
    dispatcher: Dispatcher[int] = Dispatcher()

    def broken() -> int:
        raise KeyError("lost")

    for _ in range(50):
        dispatcher.submit(broken)
        with pytest.raises(KeyError, match="lost"):
            dispatcher.next_result()
        dispatcher.submit(lambda: 7)
        assert dispatcher.next_result() == 7
    assert dispatcher.close(10)


def test_clear_forgets_what_was_not_asked_for() -> None:
    dispatcher: Dispatcher[int] = Dispatcher()
    for number in range(10):
        dispatcher.submit(lambda number=number: number)  # type: ignore[misc]
    dispatcher.clear()
    dispatcher.submit(lambda: 99)
    assert dispatcher.next_result() == 99
    assert dispatcher.close(10)
    assert dispatcher.close(10)


def test_nothing_keeps_work_alive_that_is_done() -> None:
    class Owner:
        def work(self) -> int:
            return 1

    owner = Owner()
    seen = weakref.ref(owner)
    dispatcher: Dispatcher[int] = Dispatcher()
    for _ in range(20):
        dispatcher.submit(owner.work)
        dispatcher.next_result()
    del owner
    gc.collect()
    assert seen() is None
    assert dispatcher.close(10)


def test_without_a_thread_the_caller_does_it_all_in_order_when_it_asks() -> None:
    dispatcher: Dispatcher[tuple[int, str]] = Dispatcher(has_thread=False)
    before = threading.active_count()
    for number in range(3):
        dispatcher.submit(lambda number=number: (number, threading.current_thread().name))  # type: ignore[misc]
    me = threading.current_thread().name
    assert [dispatcher.next_result() for _ in range(3)] == [(0, me), (1, me), (2, me)]
    assert threading.active_count() == before
    assert dispatcher._wake.empty()
    assert dispatcher.close(10)
