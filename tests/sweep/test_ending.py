from __future__ import annotations

from collections.abc import Callable

import fake_trials

from paceline.sweep.ending import judged
from paceline.sweep.grid import Trial


def test_a_run_of_unlike_iterations_is_kept_and_marked(make_trial: Callable[..., Trial]) -> None:
    spec = make_trial().spec
    steady = fake_trials.finished(spec, [fake_trials.record(spec, number) for number in range(5)])
    assert judged(steady) is steady
    records = [item.model_copy(update={"wall_s": item.wall_s * (1 + item.iteration % 2)}) for item in steady.iterations]
    shaky = fake_trials.finished(spec, records)
    marked = judged(shaky)
    assert marked.outcome == "unsteady"
    assert "varies by" in marked.message
    assert marked.summary == shaky.summary
    crashed = shaky.model_copy(update={"outcome": "crash"})
    assert judged(crashed) is crashed
