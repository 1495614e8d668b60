from __future__ import annotations

import pytest
from gymnasium.vector import AutoresetMode
from made_bench import made_bench, made_record

from paceline.analysis.stats import median
from paceline.bench.cases import Case
from paceline.bench.outcome import bench_case, make_vec_line
from paceline.bench.spec import BenchSpec
from paceline.machine import detect_machine
from paceline.measure.bench_result import BenchResults
from paceline.measure.result import Results, parse_results

SPEC = BenchSpec.model_validate({"env": {"id": "CartPole-v1"}, "num_envs": (4,), "batch_size": 2})


def test_the_file_is_a_superset_of_a_sweeps_and_reads_back_whole() -> None:
    results = made_bench()
    text = results.to_json()
    assert parse_results(text, source="x", cls=BenchResults) == results
    plain = parse_results(text, source="x")
    assert type(plain) is Results
    assert [run.name for run in plain.experiments] == [case.name for case in results.experiments]
    for run in plain.experiments:
        assert run.summary is not None and run.ledger is not None and run.resources is not None
        assert run.summary.avg_sps == pytest.approx(run.summary.num_env_steps / run.summary.total_training_time_s)
        assert sum(run.ledger.phases.values()) == pytest.approx(run.ledger.wall_s)
        assert run.resources.cores_used == pytest.approx(1.5)


def test_the_share_of_the_ceiling_is_taken_round_by_round() -> None:
    record = made_record(Case("shm", 4, 2), 1000.0, noise=(1.0, 0.5, 0.2))
    ceiling = {0: 2000.0, 1: 1000.0, 2: 400.0}  # the machine was as busy with it
    case = bench_case(SPEC, record, {"free-running@4": ceiling}, detect_machine())
    assert case.ceiling_share == pytest.approx(0.5)
    assert case.median_sps == pytest.approx(median([1000.0, 500.0, 200.0]))
    assert bench_case(SPEC, record, {}, detect_machine()).ceiling_share is None


def test_the_call_to_paste_makes_the_vector_environment_that_was_timed() -> None:
    line = make_vec_line(SPEC, "shm", 4, 2, "same_step")
    assert line == (
        'paceline.make_vec("CartPole-v1", 4, backend="shm", num_env_runners=2, batch_size=2, '
        'autoreset_mode="same_step", infos="none")'
    )
    import paceline

    venv = eval(line, {"paceline": paceline})
    assert (venv.num_envs, venv.num_env_runners, venv.batch_size) == (4, 2, 2)
    assert venv.autoreset_mode is AutoresetMode.SAME_STEP and venv.options.infos == "none"
    venv.close()
    spec = SPEC.model_copy(
        update={"batch_size": None, "infos": "all", "env": SPEC.env.model_copy(update={"kwargs": {"sutton": 1}})}
    )
    assert make_vec_line(spec, "serial", 4, 0, "next_step") == (
        'paceline.make_vec("CartPole-v1", 4, backend="serial", autoreset_mode="next_step", infos="all", '
        "env_kwargs={'sutton': 1})"
    )


def test_the_call_is_that_of_the_mode_that_was_recorded() -> None:
    record = made_record(Case("shm", 4, 2), 1000.0)
    assert record.ready is not None
    record.ready = {**record.ready, "autoreset_mode": "next_step"}
    case = bench_case(SPEC, record, {}, detect_machine())
    assert case.autoreset_mode == "next_step" and 'autoreset_mode="next_step"' in case.make_vec


def test_what_auto_chose_is_recorded_and_pasted() -> None:
    record = made_record(Case("auto", 4, 2), 1000.0)
    assert record.ready is not None
    record.ready = {**record.ready, "backend": "thread", "num_env_runners": 4}
    case = bench_case(SPEC, record, {}, detect_machine())
    assert (case.name, case.config.backend, case.config.num_env_runners) == ("auto@4", "auto", 4)
    assert (case.plan["backend"], case.plan["num_env_runners"]) == ("thread", 4)
    assert 'backend="thread", num_env_runners=4,' in case.make_vec
