"""Sweeps: many runs, each in a fresh process.

``paceline.sweep`` is this package and, called, the function :func:`paceline.sweep.runner.sweep`. Python binds a
submodule's name in its package as soon as anything imports it, whatever the package's own ``__getattr__`` says; making
the module callable is what lets ``paceline.sweep(...)`` and ``paceline.sweep.grid`` both work in any order of imports.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.measure.result import Results
    from paceline.spec import RunSpec, SweepSpec
    from paceline.sweep.display import Display as Display

_HOMES = {
    "SweepPlan": "paceline.sweep.grid",
    "Trial": "paceline.sweep.grid",
    "plan_sweep": "paceline.sweep.grid",
    "sweep_spec": "paceline.sweep.grid",
    "make_display": "paceline.sweep.display",
    "resolve_in_fresh_process": "paceline.sweep.resolve",
    "run_in_fresh_process": "paceline.sweep.trial",
}

__all__ = [
    "SweepPlan",
    "Trial",
    "make_display",
    "plan_sweep",
    "resolve_in_fresh_process",
    "run_in_fresh_process",
    "sweep",
    "sweep_spec",
]


class _CallableModule(ModuleType):
    def __call__(
        self,
        spec: SweepSpec | RunSpec | str,
        out: Path | str,
        *,
        resume: bool = False,
        dry_run: bool = False,
        display: Display | None = None,
        **options: Any,
    ) -> Results:
        """Run a sweep; see :func:`paceline.sweep.runner.sweep`."""
        from paceline.sweep import runner

        return runner.sweep(spec, out, resume=resume, dry_run=dry_run, display=display, **options)


def __getattr__(name: str) -> Any:
    if name == "sweep":  # ``from paceline.sweep import sweep`` gives the callable too
        return sys.modules[__name__]
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


sys.modules[__name__].__class__ = _CallableModule
