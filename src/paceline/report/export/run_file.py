"""paceline's own run file: everything that ``paceline train --config FILE`` needs, as it was measured."""

from __future__ import annotations

from paceline.report.export.script import header
from paceline.report.export.source import ExportSource
from paceline.spec import dump_yaml


def render(source: ExportSource) -> str:
    """Return a run's YAML with every field filled in, and as comments what it was measured on."""
    what = "A run of paceline: paceline train --config FILE (options win over the file, for example --minutes 10)."
    return f"{header(what, source.facts, ())}\n{dump_yaml(source.run)}"
