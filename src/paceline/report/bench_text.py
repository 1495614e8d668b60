"""``report.txt`` of a bench: the verdict, the call to paste, and every figure, in 100 columns."""

from __future__ import annotations

from paceline.analysis.bench import BenchFindings
from paceline.report import bench_view as look
from paceline.report import formats, view
from paceline.report.bench_view import BenchInput
from paceline.report.text_table import WIDTH, Column, heading, paragraph, table


def render_bench_text(source: BenchInput) -> str:
    """Return the text report.

    Args:
        source: results and the findings made of them.
    """
    found = source.findings
    lines = paragraph(found.verdict, indent=0)
    if found.recommended:
        lines += ["", *_call(found.paste), *paragraph(found.reason)]
    lines += _speed_section(found)
    lines += heading("Who overtakes whom")
    lines += _bullets(look.crossover_sentences(found))
    lines += _contests(found)
    lines += _time_section(found)
    lines += _memory_section(found)
    if found.env is not None:
        lines += heading("One environment by itself")
        width = max(len(name) for name, _ in look.env_facts(found.env))
        for name, value in look.env_facts(found.env):
            lines += paragraph(f"{name:<{width}}  {value}".replace("  ", "\0"), hang=width + 2)
        lines = [line.replace("\0", "  ") for line in lines]
    lines += _failure_section(found)
    if found.advice:
        lines += heading("To know, and to try")
        lines += _bullets(found.advice)
    lines += heading("How it was measured")
    lines += _bullets(found.method)
    info = source.results.experiment_info
    facts = [("command", info.command), ("date", formats.when(info.timestamp)), ("paceline", info.paceline_version)]
    for name, value in [*facts, *view.machine_facts(info.machine, "")]:
        if value:
            lines += paragraph(f"{name}: {value}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _call(paste: str) -> list[str]:
    """Write a call on a line, or on three that are Python as well."""
    if len(paste) + 2 <= WIDTH or not paste.endswith(")"):
        return [paste]
    name, _, arguments = paste[:-1].partition("(")
    return [f"{name}(", f"    {arguments}", ")"]


def _contests(found: BenchFindings) -> list[str]:
    cells = look.contest_cells(found)
    if not cells:
        return []
    first, second, *others = look.CONTEST_HEADINGS
    columns = [Column(first, "<", wrap=16), Column(second, "<"), *(Column(name, "<") for name in others)]
    return ["", *table(columns, cells)]


def _bullets(sentences: object) -> list[str]:
    return [line for sentence in sentences for line in paragraph(sentence, bullet="- ")]  # type: ignore[attr-defined]


def _speed_section(found: BenchFindings) -> list[str]:
    columns = [
        Column("envs"), Column("execution", "<", wrap=28), Column("steps/s"), Column("95%"), Column("of ceiling"),
        Column("over loop"), Column("set-up"), Column("", "<"),
    ]  # fmt: skip
    rows = []
    size = None
    for row in look.all_rows(found):
        over = row.over_loop.value if row.over_loop else None
        mark = "<- take this" if row is found.recommended else "ceiling" if look.is_ceiling(row) else ""
        rows.append(
            [
                f"{row.num_envs:,}" if row.num_envs != size else "",
                look.row_text(row),
                look.value_text(row.sps),
                look.spread_text(row.sps),
                look.share_text(row.ceiling_share),
                formats.times(over),
                look.setup_text(row),
                mark if row.measured else row.case.outcome,
            ]
        )
        size = row.num_envs
    return heading("Steps per second") + table(columns, rows)


def _time_section(found: BenchFindings) -> list[str]:
    rows = [row for row in look.all_rows(found) if row.shares and not look.is_ceiling(row)]
    if not rows:
        return []
    labels = [label for _, label, _ in look.phase_shares(rows[0])]
    columns = [Column("case", "<", wrap=24), *(Column(_short(label)) for label in labels), Column("total")]
    cells = []
    for row in rows:
        shares = [share for _, _, share in look.phase_shares(row)]
        cells.append([row.case.name, *(formats.percent(share) for share in shares), formats.percent(sum(shares))])
    return heading("Where an average runner's time goes") + table(columns, cells)


def _short(label: str) -> str:
    return {"waiting for the slowest": "the slowest", "copying and signalling": "copying"}.get(label, label)


def _memory_section(found: BenchFindings) -> list[str]:
    rows = [row for row in look.all_rows(found) if row.case.memory]
    if not rows:
        return []
    columns = [Column("case", "<", wrap=24), Column("in all"), Column("per env"), Column("per runner")]
    lines = heading("Memory") + table(columns, [[row.case.name, *look.memory_cells(row)] for row in rows])
    return lines + _bullets(look.growth_sentences(found))


def _failure_section(found: BenchFindings) -> list[str]:
    if not found.failed:
        return []
    lines = heading("Not measured")
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in found.failed:
        reasons.setdefault((row.case.outcome, row.case.message), []).append(row.case.name)
    for (outcome, message), names in reasons.items():
        lines += paragraph(f"{', '.join(names)}: {outcome}: {message}", hang=2)
    return lines
