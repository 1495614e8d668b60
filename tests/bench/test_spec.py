from __future__ import annotations

from typing import Any

import pytest

from paceline.bench.spec import BACKENDS, BenchSpec
from paceline.errors import SpecError
from paceline.spec import build_spec, dump_yaml

ENV = {"env": {"id": "CartPole-v1"}}


def build(**fields: Any) -> BenchSpec:
    return build_spec(BenchSpec, {**ENV, **fields}, source="bench")


def test_sizes_are_measured_once_and_in_order() -> None:
    assert build(num_envs=[64, 1, 8, 1]).num_envs == (1, 8, 64)


def test_the_defaults_know_every_backend_and_survive_yaml() -> None:
    import yaml

    spec = build()
    assert set(spec.backends) < set(BACKENDS)
    assert build_spec(BenchSpec, yaml.safe_load(dump_yaml(spec))) == spec


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backends": ["shn"]}, "no backend is called 'shn'; did you mean shm?"),
        ({"backends": ["quantum"]}, "choose from serial, pipe, shm, thread, native, auto"),
        ({"backends": []}, "at least one backend"),
        ({"backends": ["shm", "shm"]}, "each backend once"),
        ({"num_envs": [0, 4]}, "at least 1, got [0, 4]"),
        ({"num_envs": []}, "at least 1"),
        ({"num_envs": [8], "batch_size": 16}, "at most the smallest num_envs, 8, got 16"),
        ({"num_envs": [8], "batch_size": 4, "path": "step"}, "step waits for all environments"),
        ({"rounds": 0}, "rounds"),
        ({"seconds": 0}, "seconds"),
        ({"windows": 3}, "unknown key 'windows'"),
    ],
)
def test_a_senseless_bench_is_refused_with_what_to_do(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as error:
        build(**fields)
    assert words in str(error.value)
