"""A plan that was measured, in the form that another program runs: ``paceline export DIR --to TARGET``.

Every form is text that runs as it is: a run file of paceline's own, or a Python script for other people's trainers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paceline.errors import RequestError
from paceline.report.export import gymnasium_loop, rllib, run_file, sb3
from paceline.report.export.source import ExportSource, load_source

__all__ = ["TARGETS", "export_text", "how_to_run"]

_RENDERERS: dict[str, Callable[[ExportSource], str]] = {
    "yaml": run_file.render,
    "rllib": rllib.render,
    "sb3": sb3.render,
    "gymnasium": gymnasium_loop.render,
}
_KNOWN: dict[str, tuple[str, ...]] = {"rllib": rllib.ALGORITHMS, "sb3": sb3.ALGORITHMS}
"""The algorithms of the targets that do not take every one."""

TARGETS: tuple[str, ...] = tuple(_RENDERERS)
"""What a plan can be exported to."""


def export_text(folder: Path, target: str) -> str:
    """Return the plan that ``folder`` holds as text for ``target``.

    Args:
        folder: the ``--out`` folder of ``tune``, ``sweep`` or ``train``, or a file in it.
        target: one of :data:`TARGETS`.

    Raises:
        ResultsError: there are no results, or they are damaged.
        SpecError: the folder's ``spec.yaml`` is missing or damaged.
        RequestError: a folder of another kind, no plan to be had from it, or nothing that the target knows.
    """
    source = load_source(folder)
    known = _KNOWN.get(target)
    name = source.run.algo.name
    if known is not None and name not in known:
        others = [other for other in TARGETS if name in _KNOWN.get(other, (name,))]
        raise RequestError(
            f"expected a run of {' or '.join(known)} for --to {target}, got {name}; it can be exported with --to "
            f"{' or '.join(others)}"
        )
    return _RENDERERS[target](source)


def how_to_run(target: str, file: str) -> str:
    """Return the command that runs what was written to ``file``, a name that is ready for a shell."""
    return f"paceline train --config {file}" if target == "yaml" else f"python {file}"
