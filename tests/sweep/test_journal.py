from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fake_trials

from paceline.sweep.ending import stamped
from paceline.sweep.grid import Trial
from paceline.sweep.journal import Journal


class Memory:
    """Keeps the lines in memory."""

    def __init__(self) -> None:
        self.lines: list[Mapping[str, Any]] = []

    def append_progress(self, record: Mapping[str, Any]) -> None:
        self.lines.append(record)

    def read_progress(self) -> list[Mapping[str, Any]]:
        return self.lines


def test_what_was_written_is_read_back(make_trial: Callable[..., Trial]) -> None:
    trial, file = make_trial(), Memory()
    record = fake_trials.record(trial.spec, 0, metrics={"loss": float("nan"), "kl": 0.1})
    result = stamped(trial, fake_trials.finished(trial.spec, [record]))
    journal = Journal(file)
    journal.sweep_started("then", "1.0", "abc", 4)
    journal.iteration(trial, record)
    journal.trial_finished(trial, result, 12.0)
    journal.sweep_started("later", "1.0", "abc", 4)
    found = journal.read()
    assert (found.machine_fingerprint, found.timestamp) == ("abc", "then")
    assert found.results[trial.key].iterations[0].metrics == {"kl": 0.1}
    assert file.lines[1]["kind"] == "iteration"
    assert file.lines[1]["trial"] == "0x4 #1"


def test_the_last_word_on_a_trial_counts(make_trial: Callable[..., Trial]) -> None:
    trial, file = make_trial(), Memory()
    good = stamped(trial, fake_trials.finished(trial.spec, [fake_trials.record(trial.spec, 0)]))
    journal = Journal(file)
    journal.trial_finished(trial, good.model_copy(update={"outcome": "interrupted"}), 1.0)
    assert journal.read().results == {}
    journal.trial_finished(trial, good.model_copy(update={"outcome": "crash"}), 1.0)
    journal.gave_up("all alike", [trial.key])
    assert journal.read().results == {}
    journal.trial_finished(trial, good, 1.0)
    assert journal.read().results == {trial.key: good}


def test_lines_of_another_kind_are_passed_over() -> None:
    file = Memory()
    file.lines += [{"kind": "trial", "trial": "x", "result": {"name": "half a result"}}, {"who": "?"}, {"kind": "new"}]
    assert Journal(file).read().results == {}
