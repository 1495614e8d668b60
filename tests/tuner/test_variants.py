"""What changes what is learned, under the plan that won."""

from __future__ import annotations

from typing import Any

from paceline.spec import RunSpec, build_spec
from paceline.tuner.spec import TuneSpec
from paceline.tuner.variants import options_of, variants

ALGO = {"name": "ppo", "batch_size": 1024, "minibatch_size": 64, "num_epochs": 10}
PLAN = {"num_env_runners": 2, "num_envs_per_env_runner": 8, "backend": "shm", "inference": "learner",
        "schedule": "sync"}  # fmt: skip


def run_with(**algo: Any) -> RunSpec:
    data = {"env": {"id": "CartPole-v1"}, "algo": {**ALGO, **algo}, "plan": PLAN}
    return build_spec(RunSpec, data, source="test")


def asked(**tried: Any) -> TuneSpec:
    return TuneSpec(base=run_with(), **tried)


def test_nothing_is_tried_unless_it_is_asked_for() -> None:
    assert variants(asked(), run_with(), 0.5) == ([], ())


def test_every_combination_but_the_winners_own_is_tried_and_marked() -> None:
    found, left_out = variants(asked(try_batch_sizes=(1024, 4096), try_num_epochs=(5,)), run_with(), 0.5)
    assert [one.what for one in found] == [
        "Epochs 5 in place of 10",
        "Batch 4096 in place of 1024",
        "Batch 4096 in place of 1024, epochs 5 in place of 10",
    ]
    assert all(one.learns_differently and one.requested for one in found)
    assert left_out == ()
    run = found[-1].run
    assert run is not None
    assert (run.algo.batch_size, getattr(run.algo, "num_epochs", None)) == (4096, 5)
    assert run.plan == run_with().plan
    assert found[0].factor is not None and found[0].factor > 1.3
    assert found[1].factor is None


def test_what_does_not_fit_is_left_out_with_the_reason() -> None:
    found, (reason,) = variants(asked(try_minibatch_sizes=(60,)), run_with(), 0.5)
    assert found == []
    assert "minibatch 60 in place of 64: batch_size 1024 is not a multiple of minibatch_size 60" in reason
    found, _ = variants(asked(try_batch_sizes=(1088,)), run_with(minibatch_size=None), 0.5)
    assert [one.what for one in found] == ["Batch 1088 in place of 1024"]  # 16 environments divide it
    assert variants(asked(try_batch_sizes=(1000,)), run_with(minibatch_size=None), 0.5)[0] == []


def test_an_algorithm_without_epochs_has_none_to_try() -> None:
    a2c = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": {"name": "a2c", "batch_size": 128}, "plan": PLAN},
                     source="test")  # fmt: skip
    found, reasons = variants(TuneSpec(base=a2c, try_num_epochs=(5,)), a2c, 0.5)
    assert found == []
    assert reasons == ("a2c has no num_epochs: values of it were not tried.",)


def test_the_options_that_train_with_it() -> None:
    assert options_of(run_with(), run_with(batch_size=4096, num_epochs=5)) == "--batch-size 4096 --num-epochs 5"
