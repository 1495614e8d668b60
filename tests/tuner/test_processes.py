"""The real arena: processes that start, wait, are measured, and leave nothing behind, whatever they do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from paceline.measure.monitor import descendants
from paceline.spec import RunSpec, build_spec
from paceline.tuner.arena import Failed, Interrupted, Measured, Opened
from paceline.tuner.probe import ProbeResult
from paceline.tuner.processes import Bounds, ProcessArena, probe

BOUNDS = Bounds(start_timeout_s=60.0, slice_timeout_s=60.0, memory_bytes=2**50)
RUN = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "plan": {"num_env_runners": 2, "num_envs_per_env_runner": 4}})


def arena(task: str, bounds: Bounds = BOUNDS, *, stop: bool = False) -> ProcessArena:
    return ProcessArena([RUN], bounds, lambda: stop, task=f"fake_contenders:{task}")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_contender_waits_is_measured_and_put_away() -> None:
    place = arena("steady")
    opened = place.open(0)
    assert opened == Opened(1, 123 * 2**20)
    pid = place._talks[1].pid
    for seconds in (0.5, 1.0):
        measured = place.measure(1, seconds)
        assert isinstance(measured, Measured)
        assert (measured.sps, measured.wall_s, measured.cores_busy) == (800.0, seconds, 1.0)
        assert measured.ledger is not None and measured.ledger.phases == {"env_step": seconds}
    assert alive(pid)
    place.close(1)
    assert not alive(pid)
    place.close(1)  # of one that is gone nothing is said


def test_each_process_has_a_number_of_its_own() -> None:
    place = arena("steady")
    numbers = [opened.process for opened in (place.open(0), place.open(0)) if isinstance(opened, Opened)]
    assert numbers == [1, 2]
    pids = [talk.pid for talk in place._talks.values()]
    place.end()
    assert not any(alive(pid) for pid in pids)


def test_what_a_contender_refuses_is_a_failure_with_its_sentence() -> None:
    failed = arena("refuses").open(0)
    assert isinstance(failed, Failed)
    assert (failed.outcome, failed.error_type, failed.while_starting) == ("impossible", "UnsupportedSpaceError", True)
    assert "got Graph" in failed.message


def test_a_contender_that_dies_under_way_is_a_failure_and_gone() -> None:
    place = arena("dies_later")
    assert isinstance(place.open(0), Opened)
    failed = place.measure(1, 0.1)
    assert isinstance(failed, Failed)
    assert (failed.outcome, failed.while_starting) == ("crash", False)
    assert "exited with status 3" in failed.message and "farewell" in failed.message
    assert not place._talks


def test_a_contender_that_does_not_get_ready_is_a_timeout() -> None:
    failed = arena("hangs", Bounds(0.5, 0.5, 2**50)).open(0)
    assert isinstance(failed, Failed)
    assert failed.outcome == "timeout"
    assert "within 0.5 s" in failed.message


def test_a_contender_that_holds_too_much_is_out_of_memory() -> None:
    failed = arena("hangs", Bounds(60.0, 60.0, 2**20)).open(0)
    assert isinstance(failed, Failed)
    assert failed.outcome == "oom"
    assert "the tuner's processes held" in failed.message


def test_a_wait_can_be_interrupted_and_the_end_is_clean() -> None:
    place = arena("hangs", stop=True)
    with pytest.raises(Interrupted):
        place.open(0)
    pids = [talk.pid for talk in place._talks.values()]
    place.end()
    assert not any(alive(pid) for pid in pids)


def test_when_it_is_stopped_all_contenders_put_things_away_at_once() -> None:
    stopping: list[bool] = []
    place = ProcessArena([RUN], BOUNDS, lambda: bool(stopping), task="fake_contenders:steady")
    assert isinstance(place.open(0), Opened) and isinstance(place.open(0), Opened)
    pids = [talk.pid for talk in place._talks.values()]
    stopping.append(True)
    place.close(1)
    place.close(2)
    assert not any(alive(pid) for pid in pids)


def test_a_probe_of_what_cannot_be_built_fails_with_the_sentence() -> None:
    spec = build_spec(RunSpec, {"env": {"id": "NoSuchThing-v0"}})
    failed = probe(spec, timeout_s=60.0, memory_bytes=2**50)
    assert isinstance(failed, Failed)
    assert failed.error_type == "EnvNotFoundError"


@pytest.mark.slow
def test_a_probe_tells_what_the_parts_cost() -> None:
    told: list[str] = []
    spec = build_spec(
        RunSpec, {"env": {"id": "synthetic:busy?us=300"}, "algo": {"batch_size": 256, "minibatch_size": 64}}
    )
    found = probe(spec, timeout_s=120.0, memory_bytes=2**50, on_step=told.append)
    assert not isinstance(found, Failed)
    assert found.env is not None
    assert found.env.mean_us > 250
    assert not found.env.waits
    assert [size for size, _ in found.acting_us] == [1, 8, 64]
    assert found.update_s > 0
    assert found.run.algo.learning_rate is not None, "what was open is filled in"
    assert "native" in found.native
    assert (found.several, found.processes) == ("yes", "yes")
    assert told == [
        "the environment", "several environments in one process", "the environment in a runner process",
        "the policy and the learner",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "several", "processes"),
    [
        ("Only", "the simulator is in use", None),
        ("Once", "the simulator was started before", None),
        ("DiesOfTwo", "a second environment in one process ends it: its process exited with status 9", None),
        ("NotInRunners", None, "it fails in a runner process: .* no display here"),
    ],
)
def test_a_probe_tells_what_an_environment_does_not_survive(
    env: str, several: str | None, processes: str | None
) -> None:
    spec = build_spec(RunSpec, {"env": {"id": f"odd_envs:{env}"}, "algo": {"batch_size": 64, "minibatch_size": 32}})
    told: list[str] = []
    found = probe(
        spec, timeout_s=120.0, memory_bytes=2**50, on_step=told.append, options={"env_s": 0.1, "learner_s": 0.1}
    )
    assert isinstance(found, ProbeResult), found
    assert re.search(several or "^yes$", found.several)
    assert re.search(processes or "^yes$", found.processes)
    assert found.env is not None and found.env.num_steps > 1
    assert len(told) == len(set(told)), "what is looked at again is not told again"


def test_a_probe_of_what_breaks_after_some_steps_fails_with_what_it_raised() -> None:
    spec = build_spec(RunSpec, {"env": {"id": "synthetic:faulty?fault=raise&at=50"}})
    failed = probe(spec, timeout_s=60.0, memory_bytes=2**50)
    assert isinstance(failed, Failed)
    assert "this environment fails at step 50" in failed.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "plan"),
    [
        ("ppo", {"num_env_runners": 0, "num_envs_per_env_runner": 4, "backend": "serial"}),
        ("ppo", {"num_env_runners": 2, "num_envs_per_env_runner": 4, "schedule": "pipelined"}),
        ("impala", {"num_env_runners": 2, "num_envs_per_env_runner": 4, "schedule": "async", "inference": "runner"}),
    ],
)
def test_real_contenders_are_measured_in_whole_iterations(algo: str, plan: dict[str, object]) -> None:
    fields = {"name": algo, "batch_size": 160, "learning_rate": 1e-3, "ent_coef": 0.0, "normalize_observations": True,
              "normalize_rewards": True}  # fmt: skip
    fields |= {"minibatch_size": 80, "num_epochs": 1} if algo == "ppo" else {"rollout_length": 20}
    run = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": fields, "plan": plan})
    place = ProcessArena([run], BOUNDS)
    try:
        opened = place.open(0)
        assert isinstance(opened, Opened), opened
        assert opened.rss_bytes > 2**26
        members = descendants([place._talks[opened.process].pid])
        maps = [(Path("/proc") / str(pid) / "maps").read_text() for pid in members]
        assert any("memfd:paceline" in text for text in maps) == (plan["num_env_runners"] != 0)
        assert not any("/dev/shm" in text for text in maps), "it may be as small as it likes"
        for _ in range(2):
            measured = place.measure(opened.process, 0.2)
            assert isinstance(measured, Measured)
            assert measured.wall_s >= 0.2
            assert measured.num_env_steps % 160 == 0
            assert measured.sps == pytest.approx(measured.num_env_steps / measured.wall_s)
            assert measured.ledger is not None
            assert sum(measured.ledger.phases.values()) == pytest.approx(measured.wall_s, rel=1e-6)
            assert (measured.lag_max is not None) == (algo == "impala")
    finally:
        place.end()
