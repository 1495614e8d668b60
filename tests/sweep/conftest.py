"""Makes the fake entry points importable, here and in the processes that sweeps start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.spec import EnvSpec, Plan, PPOSpec, RunSpec
from paceline.sweep.grid import Trial

sys.path.append(str(Path(__file__).parent / "fakes"))


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    def make(runners: int = 0, envs: int = 4, iterations: int = 3, **kwargs: Any) -> Trial:
        return Trial(
            index=0,
            point=0,
            repeat=1,
            name=f"{runners}x{envs}",
            spec=RunSpec(
                env=EnvSpec(id="Fake-v0", kwargs=kwargs),
                algo=PPOSpec(batch_size=64, minibatch_size=32),
                plan=Plan(num_env_runners=runners, num_envs_per_env_runner=envs),
                seed=7,
            ),
            axes={"plan.num_env_runners": runners, "algo.num_epochs": 2},
            iterations=iterations,
            warmup_iterations=1,
        )

    return make
