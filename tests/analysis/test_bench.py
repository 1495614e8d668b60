from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paceline.analysis.bench import analyse_bench, execution_text
from paceline.errors import RequestError

sys.path.append(str(Path(__file__).parents[1] / "bench" / "fakes"))

import made_bench
from made_bench import LAWS, PROFILE

bench = made_bench.made_bench


def test_the_verdict_names_execution_speed_ceiling_and_crossing() -> None:
    found = analyse_bench(bench())
    assert found.headline == (
        "Take shm with 2 runners: 30,415 steps/s with 64 environments, 76% of what free-running processes reach."
    )
    assert found.headline_rest == "shm overtakes serial at about 25 environments (measured: between 8 and 64)."
    assert found.verdict == f"{found.headline} {found.headline_rest}"
    assert found.paste == (
        'paceline.make_vec("Made<b>-v0", 64, backend="shm", num_env_runners=2, autoreset_mode="same_step", '
        'infos="none")'
    )
    assert found.reason == "It is the fastest of all that were measured. What was timed: send() and recv()."
    assert analyse_bench(bench(path="step")).reason.endswith("What was timed: step().")


def test_shares_are_of_the_wall_clock_and_of_the_ceiling_of_the_same_size() -> None:
    found = analyse_bench(bench())
    for row in found.rows:
        assert sum(row.shares.values()) == pytest.approx(1.0)
        assert row.ceiling_share is not None and row.over_loop is not None
        ceiling = LAWS["free-running"](row.num_envs)
        assert row.ceiling_share.value == pytest.approx(LAWS[row.backend](row.num_envs) / ceiling)
        assert row.over_loop.value == pytest.approx(LAWS[row.backend](row.num_envs) / 20_000)
    assert found.ceiling(8).sps.value == pytest.approx(40_000, rel=0.01)  # type: ignore[union-attr]
    assert found.ceiling(5) is None


def test_near_the_best_fewer_environments_and_less_machinery_win() -> None:
    laws = {**LAWS, "serial": lambda n: 30_000.0 * min(n, 8) / 8, "shm": lambda n: 31_000.0}
    assert analyse_bench(bench((8, 64), laws)).recommended.case.name == "serial@8"  # type: ignore[union-attr]
    assert analyse_bench(bench((1, 8, 64), laws)).recommended.case.name == "shm@1"  # type: ignore[union-attr]
    reason = analyse_bench(bench((8, 64), laws)).reason
    assert reason.startswith("It reaches 97% of the fastest, shm@8 (31,0") and "less machinery." in reason


def test_a_tie_is_told() -> None:
    laws = {**LAWS, "shm": lambda n: 19_010.0}
    found = analyse_bench(bench((1, 8), laws))
    assert found.crossings == ()
    assert found.headline_rest == "At that size it cannot be told from shm."


SAME = {1: ("serial", 0), 8: ("serial", 0), 64: ("shm", 2)}


def test_what_auto_chose_is_held_against_the_fastest() -> None:
    right = analyse_bench(bench(laws={**LAWS, "auto": lambda n: LAWS["shm" if n == 64 else "serial"](n)}, chosen=SAME))
    assert right.auto == (
        "auto chose the fastest measured, serial at 1 and 8 environments and shm with 2 runners at 64 environments"
    )
    wrong = analyse_bench(bench((64,), {**LAWS, "auto": lambda n: 24_332.0}, chosen={64: ("serial", 0)}))
    assert wrong.auto == "auto chose serial at 64 environments, 20% slower than shm with 2 runners"
    close = {**LAWS, "auto": lambda n: 30_400.0}
    assert analyse_bench(bench((64,), close, chosen={64: ("thread", 16)})).auto == (
        "auto chose thread with 16 threads at 64 environments, which cannot be told from the fastest, shm with 2 "
        "runners"
    )
    better = analyse_bench(bench((64,), {**LAWS, "auto": lambda n: 60_000.0}, chosen={64: ("thread", 16)}))
    assert better.auto == "auto chose the fastest measured, thread with 16 threads at 64 environments"
    assert better.headline.startswith("Take thread with 16 threads: 60,0")
    assert 'backend="thread", num_env_runners=16' in better.paste
    assert analyse_bench(bench()).auto == ""


def test_auto_is_no_rival_of_what_it_chose() -> None:
    plain = analyse_bench(bench())
    found = analyse_bench(
        bench(laws={**LAWS, "auto": lambda n: 1.02 * LAWS["shm"](n)}, chosen=dict.fromkeys(SAME, ("shm", 2)))
    )
    assert found.recommended is not None and found.recommended.case.name == "shm@64"
    assert (found.crossings, found.contests) == (plain.crossings, plain.contests)
    assert [item.names[0] for item in found.leaders][1:] == [item.names[0] for item in plain.leaders][1:]


def test_what_failed_is_a_row_with_a_reason_and_no_figures() -> None:
    found = analyse_bench(bench(failed={"shm@8": ("crash", "it died"), "free-running@64": ("oom", "too much")}))
    assert [row.case.name for row in found.failed] == ["shm@8", "free-running@64"]
    assert not any(row.measured or row.shares for row in found.failed)
    assert next(row for row in found.rows if row.case.name == "shm@64").ceiling_share is None


def test_without_figures_nothing_is_recommended() -> None:
    gone = {f"{name}@8": ("impossible", "cannot") for name in LAWS}
    found = analyse_bench(bench((8,), failed=gone, complete=False))
    assert (found.recommended, found.paste, found.leaders) == (None, "", ())
    assert found.verdict == "Partial: the bench was stopped early. No execution of Made<b>-v0 could be measured."


def test_growth_is_what_one_more_environment_costs_with_the_same_runners() -> None:
    found = analyse_bench(bench())
    assert [(item.backend, round(item.bytes_per_env), item.low, item.high) for item in found.growth] == [
        ("serial", 1_000_000, 1, 64),
        ("shm", 1_000_000, 8, 64),  # with one environment there is one runner less
    ]


def test_an_environment_that_waits_is_told_to_take_more_runners() -> None:
    waits = PROFILE.model_copy(update={"cpu_share": 0.05})
    assert "measure again with --num-env-runners 8" in " ".join(analyse_bench(bench(profile=waits)).advice)
    assert "--num-env-runners" not in " ".join(analyse_bench(bench()).advice)


def test_unequal_steps_are_told_to_try_first_ready_batches() -> None:
    tail = PROFILE.step.model_copy(update={"p95_s": 5 * PROFILE.step.median_s})
    uneven = PROFILE.model_copy(update={"step": tail})
    said = " ".join(analyse_bench(bench(profile=uneven)).advice)
    assert "12% goes to waiting for the slowest" in said
    assert "--batch-size 32" in said
    assert "--batch-size" not in " ".join(analyse_bench(bench()).advice)


def test_a_busy_machine_is_told() -> None:
    noise = (1.0, 0.5, 1.4, 0.7, 1.2, 0.6)
    assert "other programs used the machine" in analyse_bench(bench(noise=noise)).advice[0]
    assert not any("other programs" in text for text in analyse_bench(bench()).advice)


@pytest.mark.parametrize(
    ("backend", "runners", "words"),
    [
        ("serial", 0, "serial"),
        ("shm", 1, "shm with 1 runner"),
        ("pipe", 2, "pipe with 2 runners"),
        ("thread", 1, "thread with 1 thread"),
        ("native", 4, "native with 4 threads"),
    ],
)
def test_executions_in_words(backend: str, runners: int, words: str) -> None:
    assert execution_text(backend, runners) == words


def test_a_bench_is_not_taken_for_a_sweep() -> None:
    from paceline.analysis.findings import analyse

    with pytest.raises(RequestError, match="got those of a bench"):
        analyse(bench())
