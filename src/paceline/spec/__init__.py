"""What a run is, as data: frozen, validated, and the same in YAML, JSON and on the command line.

A ``RunSpec`` names an environment, an algorithm, a ``Plan`` (how the run is parallelised) and a budget. A ``SweepSpec``
is a ``RunSpec`` and the axes along which it varies.
"""

from paceline.spec.algo import (
    ALGORITHMS,
    A2CSpec,
    A3CSpec,
    ActorCriticSpec,
    AlgoName,
    AlgoSpec,
    ImpalaSpec,
    NetworkSpec,
    NStepSpec,
    Optimizer,
    PPOSpec,
)
from paceline.spec.base import (
    Spec,
    SpecT,
    build_spec,
    dump_yaml,
    load_yaml,
    merge_fields,
    parse_value,
    set_field,
)
from paceline.spec.fitting import Fitted, fit_under
from paceline.spec.plan import Backend, Device, Engine, Inference, Plan, Schedule, common_batch_size
from paceline.spec.run import Budget, EnvSpec, RunSpec, SweepSpec

__all__ = [
    "ALGORITHMS",
    "A2CSpec",
    "A3CSpec",
    "ActorCriticSpec",
    "AlgoName",
    "AlgoSpec",
    "Backend",
    "Budget",
    "Device",
    "Engine",
    "EnvSpec",
    "Fitted",
    "ImpalaSpec",
    "Inference",
    "NStepSpec",
    "NetworkSpec",
    "Optimizer",
    "PPOSpec",
    "Plan",
    "RunSpec",
    "Schedule",
    "Spec",
    "SpecT",
    "SweepSpec",
    "build_spec",
    "common_batch_size",
    "dump_yaml",
    "fit_under",
    "load_yaml",
    "merge_fields",
    "parse_value",
    "set_field",
]
