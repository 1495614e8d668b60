"""Fills in what a run leaves open (algorithm fields, learner threads) for each environment, in a fresh process.

Presets depend on the environment's spaces, so the environment has to be built once. It may be slow, print, hang or take
its process with it, and it may load JAX; none of that belongs in the process that measures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from paceline.errors import EnvTimeoutError, WorkError, error_named
from paceline.isolation.process import FreshProcess, describe_exit
from paceline.spec import RunSpec
from paceline.sweep.child import RESOLVE

ENTRY_POINT = "paceline.training.resolve:resolve_spec"
"""What maps one run to its resolved self, ``package.module:function``."""
TIMEOUT_S = 120.0


def resolve_in_fresh_process(
    runs: Sequence[RunSpec], *, entry_point: str = ENTRY_POINT, timeout_s: float = TIMEOUT_S
) -> list[RunSpec]:
    """Return ``runs`` with every field of ``algo`` and ``plan.learner_threads`` filled in.

    Args:
        runs: any number; each distinct combination of environment, algorithm and threads is looked at once.
        entry_point: ``package.module:function`` that maps one run to its resolved self.
        timeout_s: wall seconds for all of them.

    Raises:
        PacelineError: whatever building the environment raised (``EnvNotFoundError``, ``UnsupportedSpaceError``, ..).
        EnvTimeoutError: it took longer than ``timeout_s``.
        WorkError: the process died.
    """
    keys = [_key(run) for run in runs]
    distinct = dict(zip(keys, runs, strict=True))
    request = {
        "task": RESOLVE,
        "entry_point": entry_point,
        "runs": [run.model_dump(mode="json") for run in distinct.values()],
    }
    process = FreshProcess(request)
    found = []
    try:
        while process.returncode is None:
            found += process.events(0.2)
            if len(found) == len(distinct) or any(event["event"] == "failed" for event in found):
                break
            if time.monotonic() - process.begin_s > timeout_s:
                raise EnvTimeoutError(
                    f"expected {runs[0].env.id} to be built within {timeout_s:g} s, got no answer; see whether it "
                    f"waits for something"
                )
        else:
            found += process.last_events()
    finally:
        process.end()
    for event in found:
        if event["event"] == "failed":
            raise error_named(event["error_type"], event["message"])
    if len(found) < len(distinct):
        raise WorkError(
            f"expected {runs[0].env.id} to be built, but the process that tried "
            f"{describe_exit(process.returncode or 0)}{process.last_words}"
        )
    resolved = dict(zip(distinct, (RunSpec.model_validate(event["run"]) for event in found), strict=True))
    return [_filled(run, resolved[key]) for run, key in zip(runs, keys, strict=True)]


def _filled(run: RunSpec, resolved: RunSpec) -> RunSpec:
    plan = run.plan.model_copy(update={"learner_threads": resolved.plan.learner_threads})
    return run.model_copy(update={"algo": resolved.algo, "plan": plan})


def _key(run: RunSpec) -> str:
    data = run.model_dump(mode="json", include={"env": True, "algo": True, "plan": {"learner_threads"}})
    return json.dumps(data, sort_keys=True)
