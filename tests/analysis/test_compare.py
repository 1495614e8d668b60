"""Two files beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.analysis.compare import compare
from paceline.errors import RequestError

STEADY = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98]


def around(time_s: float) -> list[float]:
    return [time_s * factor for factor in STEADY]


def test_faster_slower_same_and_cannot_tell(run: Any, results: Any) -> None:
    noisy = [0.5, 0.8, 1.0, 1.3, 1.9]
    exact = [1.0, 1.001, 0.999, 1.0, 1.0, 1.0]
    first = results(run(1, 1, around(2)), run(2, 1, around(2)), run(4, 1, exact), run(8, 1, noisy))
    second = results(run(1, 1, around(1)), run(2, 1, around(4)), run(4, 1, exact), run(8, 1, noisy[::-1]))
    comparison = compare(first, second)
    assert {row.label: row.change for row in comparison.rows} == {
        "1x1": "FASTER",
        "2x1": "SLOWER",
        "4x1": "SAME",
        "8x1": "CANNOT TELL",
    }
    ratio = comparison.rows[0].ratio
    assert ratio is not None and ratio.value == pytest.approx(2.0) and ratio.interval is not None
    assert "1 faster, 1 slower, 1 same, 1 cannot tell" in comparison.headline
    assert comparison.same_machine


def test_plans_of_one_file_only_are_missing(run: Any, results: Any) -> None:
    comparison = compare(results(run(1, 1, [2.0])), results(run(2, 1, [2.0]), run(1, 1, [], outcome="crash")))
    assert {row.label: row.change for row in comparison.rows} == {"1x1": "MISSING", "2x1": "MISSING"}
    assert comparison.rows[1].first is None and comparison.rows[0].second is not None
    assert "no-common-plan" in {notice.code for notice in comparison.notices}
    assert comparison.headline == "Nothing can be compared: no plan was measured in both."


def test_single_measurements_cannot_tell(run: Any, results: Any) -> None:
    assert compare(results(run(1, 1, [9.0])), results(run(1, 1, [1.0]))).rows[0].change == "CANNOT TELL"


def test_other_machines_are_refused_unless_allowed(run: Any, results: Any) -> None:
    first, second = results(run(1, 1, around(2))), results(run(1, 1, around(1)), fingerprint="machine-b")
    with pytest.raises(RequestError, match="machine-a and machine-b"):
        compare(first, second)
    comparison = compare(first, second, allow_other_machine=True)
    assert comparison.rows[0].change == "FASTER" and not comparison.same_machine
    assert comparison.notices[0].code == "other-machine"


def test_unknown_machines_are_not_the_same_machine(run: Any, results: Any) -> None:
    with pytest.raises(RequestError, match="same machine"):
        compare(results(run(1, 1, [1.0]), fingerprint=""), results(run(1, 1, [1.0]), fingerprint=""))


def test_other_environments_are_refused(run: Any, results: Any) -> None:
    with pytest.raises(RequestError, match=r"HalfCheetah-v5 and CartPole-v1"):
        compare(results(run(1, 1, [1.0])), results(run(1, 1, [1.0], env_id="CartPole-v1")))


def test_other_batch_sizes_are_compared_by_sps_and_told(run: Any, results: Any) -> None:
    comparison = compare(
        results(run(1, 1, around(1), steps=1000), batch_size=1000),
        results(run(1, 1, around(1), steps=2000), batch_size=2000),
    )
    ratio = comparison.rows[0].ratio
    assert ratio is not None and ratio.value == pytest.approx(2.0)
    assert "mixed-steps" in {notice.code for notice in comparison.notices}


def test_workloads_are_matched(run: Any, results: Any) -> None:
    def file(scale: float) -> Any:
        return results(*(run(1, 1, around(scale * epochs), axes={"algo.num_epochs": epochs}) for epochs in (1, 10)))

    comparison = compare(file(2.0), file(1.0))
    assert [row.label for row in comparison.rows] == ["1x1 (algo.num_epochs=1)", "1x1 (algo.num_epochs=10)"]
    assert {row.change for row in comparison.rows} == {"FASTER"}
