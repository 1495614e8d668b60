"""From a run's spec to its driver: which one the plan asks for, with everything that it drives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from paceline.measure.ledger import Ledger
from paceline.spec import RunSpec
from paceline.training.actor_driver import RunnerSyncDriver
from paceline.training.actors.pool import ActorPool
from paceline.training.asynchronous import A3CDriver, ImpalaDriver
from paceline.training.driver import Driver
from paceline.training.resolve import check_batch_fits, resolve_for_spaces
from paceline.training.runtime import set_up_jax
from paceline.training.sync import STEP_TIMEOUT_S, PipelinedDriver, SyncDriver, make_training_vec


@contextlib.contextmanager
def open_driver(spec: RunSpec, ledger: Ledger) -> Iterator[Driver]:
    """Build environments and driver of a run; on leaving, end what was started.

    Args:
        spec: the run; what it leaves open is filled in, see the driver's ``spec``.
        ledger: where time goes.

    Raises:
        PlanError: plan and algorithm do not fit.
        PacelineError: the environments cannot be built.
    """
    spec = spec.model_copy(update={"plan": spec.plan.for_algorithm(spec.algo.name)})
    if spec.plan.inference == "learner":
        with contextlib.closing(make_training_vec(spec)) as venv:
            spec = resolve_for_spaces(spec, venv.single_observation_space, venv.single_action_space)
            check_batch_fits(spec)
            set_up_jax(spec.plan)
            kind = PipelinedDriver if spec.plan.schedule == "pipelined" else SyncDriver
            yield kind(spec, venv, ledger)
        return
    with contextlib.closing(ActorPool(spec, step_timeout_s=spec.step_timeout_s or STEP_TIMEOUT_S)) as pool:
        spec = resolve_for_spaces(spec, pool.observation_space, pool.action_space)
        check_batch_fits(spec)
        set_up_jax(spec.plan)
        if spec.plan.schedule == "sync":
            yield RunnerSyncDriver(spec, pool, ledger)
        elif spec.algo.name == "a3c":
            yield A3CDriver(spec, pool, ledger)
        else:
            yield ImpalaDriver(spec, pool, ledger)
