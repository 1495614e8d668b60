from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fake_trials
import pytest

from paceline.sweep.ending import judged, kernel_oom_kills, size_text
from paceline.sweep.grid import Trial


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n", 2),  # cgroup v2
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),  # cgroup v1
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # v1 before Linux 4.13
        ("", None),
    ],
)
def test_the_kernels_count_is_read_from_whatever_has_it(tmp_path: Path, text: str, count: int | None) -> None:
    (tmp_path / "events").write_text(text)
    assert kernel_oom_kills([str(tmp_path / "missing"), str(tmp_path / "events")]) == count


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


def test_sizes_are_said_as_people_say_them() -> None:
    assert size_text(300 * 2**20) == "300 MiB"
    assert size_text(1.5 * 2**30) == "1.5 GiB"
