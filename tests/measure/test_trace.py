"""A trace on a fake clock: every interval is where the clock was read, and the file is what viewers expect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.measure import trace as trace_module
from paceline.measure.ledger import ENV_STEP, INFERENCE, LEARNER_UPDATE, RUNNER_WAIT, TRANSFER, Ledger
from paceline.measure.trace import WAITING, Tracer


class Clock:
    """Nanoseconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now_ns = 7_000_000

    def __call__(self) -> int:
        return self.now_ns

    def spend(self, us: int) -> None:
        self.now_ns += 1000 * us


def traced_iteration(clock: Clock, ledger: Ledger, tracer: Tracer) -> None:
    """Go through an iteration of 100 us: a rollout of two steps, an update, 5 us that nobody claims, a wait."""
    ledger.start()
    tracer.begin_iteration(ledger.start_ns)
    ledger.clock_ns()
    for us in (3, 10, 2, 20, 5, 10, 2, 20, 3):
        clock.spend(us)
        ledger.clock_ns()
    tracer.rollout((TRANSFER, *(INFERENCE, TRANSFER, WAITING, TRANSFER) * 2), {ENV_STEP: 30_000, RUNNER_WAIT: 10_000},
                   (60_000, 15_000))  # fmt: skip
    with ledger.phase(LEARNER_UPDATE):
        clock.spend(12)
    clock.spend(5)
    begin_ns = ledger.clock_ns()
    clock.spend(8)
    tracer.waited(begin_ns, ledger.clock_ns(), {ENV_STEP: 8_000})
    tracer.fragment(1, begin_ns - 50_000, 55_000, {ENV_STEP: 40_000})
    entry = ledger.cut()
    tracer.end_iteration(ledger.start_ns, 200, entry, 1.5)


@pytest.fixture
def document() -> dict[str, Any]:
    clock, tracer = Clock(), Tracer()
    ledger = Ledger(clock)
    with ledger.traced(tracer):
        for _ in range(2):
            traced_iteration(clock, ledger, tracer)
            clock.spend(1000)
    found: dict[str, Any] = json.loads(json.dumps(tracer.document("ppo on X-v0")))
    return found


def spans(document: dict[str, Any], track: int) -> list[tuple[str, float, float]]:
    return [(one["name"], one["ts"], one["dur"]) for one in document["traceEvents"]
            if one["ph"] == "X" and one["tid"] == track]  # fmt: skip


def test_events_are_where_the_clock_was_read(document: dict[str, Any]) -> None:
    assert spans(document, 0)[:11] == [
        ("iteration 0", 0.0, 100.0),
        (TRANSFER, 0.0, 3.0),
        (INFERENCE, 3.0, 10.0),
        (TRANSFER, 13.0, 2.0),
        (WAITING, 15.0, 20.0),
        (TRANSFER, 35.0, 5.0),
        (INFERENCE, 40.0, 10.0),
        (TRANSFER, 50.0, 2.0),
        (WAITING, 52.0, 20.0),
        (TRANSFER, 72.0, 3.0),
        (LEARNER_UPDATE, 75.0, 12.0),
    ]
    assert spans(document, 0)[11:13] == [(WAITING, 92.0, 8.0), ("iteration 1", 1100.0, 100.0)]
    assert spans(document, 2) == [("fragment", 42.0, 55.0), ("fragment", 1142.0, 55.0)]


def test_an_iteration_says_what_its_ledger_says(document: dict[str, Any]) -> None:
    args = next(one["args"] for one in document["traceEvents"] if one["name"] == "iteration 0")
    assert args["num_env_steps"] == 200
    assert args["steps_per_s"] == pytest.approx(2e6)
    assert args["waiting_s"] == pytest.approx({ENV_STEP: 38e-6, RUNNER_WAIT: 10e-6})
    assert args["ledger_s"][LEARNER_UPDATE] == pytest.approx(12e-6)


def test_counters_and_names_are_there(document: dict[str, Any]) -> None:
    counters = {
        (one["name"], one["ts"]): one["args"][one["name"]] for one in document["traceEvents"] if one["ph"] == "C"
    }
    assert counters == {
        (name, start): pytest.approx(value)
        for start in (0.0, 1100.0)
        for name, value in {
            "steps per second": 2e6,
            "cores busy": 1.5,
            "runner 0 busy": 0.8,
            "runner 1 busy": 0.2,
        }.items()
    }
    names = {(one["name"], one["tid"]): one["args"]["name"] for one in document["traceEvents"] if one["ph"] == "M"}
    assert names == {("process_name", 0): "ppo on X-v0", ("thread_name", 0): "learner", ("thread_name", 2): "actor 1"}


def test_time_ascends_and_everything_has_what_viewers_ask_for(document: dict[str, Any]) -> None:
    timed = [one for one in document["traceEvents"] if one["ph"] != "M"]
    assert [one["ts"] for one in timed] == sorted(one["ts"] for one in timed)
    assert all({"ph", "name", "pid", "ts"} <= set(one) for one in timed)


def test_what_follows_on_itself_is_one_event() -> None:
    clock, tracer = Clock(), Tracer()
    read = tracer.watching(clock)
    read()
    for _ in range(4):
        clock.spend(1)
        read()
    tracer.rollout((TRANSFER, TRANSFER, INFERENCE, TRANSFER), {}, ())
    assert spans(tracer.document(""), 0) == [(TRANSFER, 0.0, 2.0), (INFERENCE, 2.0, 1.0), (TRANSFER, 3.0, 1.0)]


def test_a_rollout_that_tells_of_more_than_was_read_is_a_mistake() -> None:
    tracer = Tracer()
    tracer.watching(Clock())()
    with pytest.raises(ValueError, match="zip"):
        tracer.rollout((TRANSFER, INFERENCE), {}, ())


def test_a_trace_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "MOST_EVENTS", 3)
    tracer = Tracer()
    for index in range(3):
        assert not tracer.is_full
        tracer.phase(INFERENCE, index, index + 1)
    assert tracer.is_full


def test_without_a_trace_nothing_is_kept_and_the_clock_is_the_plain_one() -> None:
    clock, tracer = Clock(), Tracer()
    ledger = Ledger(clock)
    assert ledger.tracer is None
    with pytest.raises(RuntimeError), ledger.traced(tracer):
        assert ledger.clock_ns is not clock
        raise RuntimeError
    assert (ledger.tracer, ledger.clock_ns) == (None, clock)
    with ledger.phase(INFERENCE):
        clock.spend(1)
    assert tracer.num_events == 0
