"""The whole way, with real training: the only test of this folder that loads JAX, in processes of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import paceline
from paceline.errors import EnvNotFoundError
from paceline.spec import Budget, EnvSpec, PPOSpec, RunSpec
from paceline.sweep.display import SilentDisplay


@pytest.mark.slow
def test_a_grid_with_and_without_runners_is_measured(tmp_path: Path) -> None:
    loaded = "jax" in sys.modules
    run = RunSpec(
        env=EnvSpec(id="CartPole-v1"), algo=PPOSpec(batch_size=256, num_epochs=1), budget=Budget(total_steps=1000)
    )
    results = paceline.sweep(
        run, tmp_path, display=SilentDisplay(), num_env_runners=[0, 1], num_envs_per_env_runner=[4], iterations=3
    )
    assert [run.name for run in results.experiments] == ["0x4", "1x4"]
    for experiment in results.experiments:
        assert experiment.outcome in ("ok", "unsteady"), experiment.message
        assert experiment.summary is not None
        assert experiment.ledger is not None
        assert experiment.summary.num_env_steps == sum(item.num_env_steps for item in experiment.iterations)
        assert len(experiment.iterations) == 3
        assert experiment.algo["minibatch_size"] is not None
        assert sum(experiment.ledger.phases.values()) == pytest.approx(experiment.ledger.wall_s)
    assert ("jax" in sys.modules) == loaded  # not in the process that measures


@pytest.mark.slow
def test_an_unknown_environment_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(EnvNotFoundError, match="CartPole-v1"):
        paceline.sweep("CartPoole-v1", tmp_path / "out", display=SilentDisplay(), num_env_runners=[0])
    assert not (tmp_path / "out").exists()
