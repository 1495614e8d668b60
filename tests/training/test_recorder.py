"""The recorder, with iterations made up by hand."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from fake_envs import small_spec

from paceline.measure.ledger import LedgerEntry
from paceline.measure.monitor import ProcessTreeMonitor
from paceline.rollout.episodes import Episodes
from paceline.training.driver import Iteration
from paceline.training.recorder import RETURN_WINDOW, RunRecorder


class NoMonitor:
    def end_interval(self) -> None:
        return None


def recorder(*, progress_is_time: bool = False, **algo: Any) -> RunRecorder:
    spec = small_spec("CartPole-v1", seed=4)
    spec = spec.model_copy(update={"algo": spec.algo.model_copy(update=algo)})
    monitor = cast(ProcessTreeMonitor, NoMonitor())
    return RunRecorder(spec, name="0x4", repeat=1, monitor=monitor, progress_is_time=progress_is_time)


def iteration(*returns: float) -> Iteration:
    episodes = Episodes(np.array(returns), np.full(len(returns), 10))
    return Iteration(64, episodes, {"loss": 0.5})


def entry(seconds: float) -> LedgerEntry:
    return LedgerEntry(seconds, {"env_step": seconds / 2, "unattributed": seconds / 2})


def test_records_add_up_to_the_result() -> None:
    made = recorder()
    first = made.record(iteration(), entry(2.0), 64)
    second = made.record(iteration(1.0, 5.0), entry(6.0), 128)
    assert (first.episode_return_mean, first.num_episodes, first.sps) == (None, 0, 32.0)
    assert (second.episode_return_mean, second.episode_length_mean, second.num_episodes) == (3.0, 10.0, 2)
    result = made.result("crash", "why")
    assert (result.outcome, result.message, result.seed, result.repeat) == ("crash", "why", 4, 1)
    assert result.iterations == (first, second)
    assert result.ledger is not None and result.summary is not None
    assert result.ledger.phases == {"env_step": 4.0, "unattributed": 4.0}
    assert (result.summary.avg_sps, result.summary.avg_time_per_iter_s) == (16.0, 4.0)
    assert result.summary.episode_return_mean == 3.0


def test_a_run_without_an_iteration_has_no_figures() -> None:
    result = recorder().result("crash", "at once")
    assert (result.summary, result.ledger, result.resources, result.iterations) == (None, None, None, ())


@pytest.mark.parametrize(
    ("progress_is_time", "anneals", "deterministic"), [(False, True, True), (True, False, True), (True, True, False)]
)
def test_a_learning_rate_that_follows_the_clock_is_not_deterministic(
    progress_is_time: bool, anneals: bool, deterministic: bool
) -> None:
    made = recorder(progress_is_time=progress_is_time, anneal_learning_rate=anneals)
    assert made.result().deterministic is deterministic


def told(made: RunRecorder) -> tuple[float | None, float | None]:
    return made.recent_return, made.best_return


def test_the_running_mean_forgets_and_the_best_does_not() -> None:
    made = recorder()
    made.watch_returns(iteration())
    assert told(made) == (None, None)
    made.watch_returns(iteration(10.0, 20.0))
    assert told(made) == (15.0, 15.0)
    made.watch_returns(iteration(*[0.0] * RETURN_WINDOW))
    assert told(made) == (0.0, 15.0)


def test_a_resumed_run_keeps_what_it_had_and_numbers_on() -> None:
    before = recorder()
    earlier = [before.record(iteration(), entry(1.0), 64 * (n + 1)) for n in range(2)]
    made = recorder()
    made.continue_from(earlier, 5)
    record = made.record(iteration(), entry(1.0), 640)
    assert record.iteration == 5
    assert made.record(iteration(), entry(1.0), 704).iteration == 6
    summary = made.result().summary
    assert summary is not None
    assert summary.num_env_steps == pytest.approx(4 * 64)


def test_a_resumed_run_goes_on_with_its_returns() -> None:
    before = recorder()
    done = [iteration(40.0, 60.0), iteration(), iteration(10.0)]
    for each in done:
        before.watch_returns(each)
    earlier = [before.record(each, entry(1.0), 64 * (n + 1)) for n, each in enumerate(done)]
    made = recorder()
    made.continue_from(earlier, 3)
    assert told(made) == told(before) == (pytest.approx(110 / 3), 50.0)
