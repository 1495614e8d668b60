"""``report.html``: one file that loads nothing, verdict first, for a desk, a phone and a printer.

All text goes through Jinja's autoescape; the only markup is the template's own. A content security policy with the
hash of the one inline script keeps anything else from running, even if an escape were missed.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from paceline.report import palette
from paceline.report.page import build_page
from paceline.report.view import ReportInput

_PACKAGE = "paceline.report"


def render_html(source: ReportInput) -> str:
    """Return the HTML report as text.

    Args:
        source: results and the findings made of them.
    """
    return render_page("report.html.j2", build_page(source))


def render_page(template: str, page: object) -> str:
    """Return ``page`` as the named template marks it up, with the style and the script that all pages share."""
    script = _template("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            page=page,
            style=Markup(_template("report.css").replace("{{ phase_rules }}", _phase_rules())),
            script=Markup(script),
            script_hash=digest,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    loader = FunctionLoader(_template)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@lru_cache(maxsize=8)
def _template(name: str) -> str:
    return resources.files(_PACKAGE).joinpath("templates", name).read_text(encoding="utf-8")


_STRIPES = {
    "//": "repeating-linear-gradient(135deg, transparent 0 4px, {ink} 4px 5.5px)",
    "\\\\": "repeating-linear-gradient(45deg, transparent 0 4px, {ink} 4px 5.5px)",
    "--": "repeating-linear-gradient(0deg, transparent 0 3px, {ink} 3px 4.5px)",
    "||": "repeating-linear-gradient(90deg, transparent 0 3px, {ink} 3px 4.5px)",
    "..": "radial-gradient({ink} 1px, transparent 1.4px) 0 0 / 5px 5px",
    "oo": "radial-gradient({ink} 1px, transparent 1.4px) 0 0 / 7px 7px",
    "xx": "repeating-linear-gradient(45deg, transparent 0 4px, {ink} 4px 5px), "
    "repeating-linear-gradient(135deg, transparent 0 4px, {ink} 4px 5px)",
    "++": "repeating-linear-gradient(0deg, transparent 0 4px, {ink} 4px 5px), "
    "repeating-linear-gradient(90deg, transparent 0 4px, {ink} 4px 5px)",
}


def _phase_rules() -> str:
    """Return one CSS rule per ledger phase: its colour and, as a second cue, its pattern."""
    rules = []
    for phase, style in palette.PHASE_STYLES.items():
        dark = palette.ink_on(style.color) == "#FFFFFF"
        ink = "rgb(255 255 255 / .5)" if dark else "rgb(0 0 0 / .34)"
        stripes = _STRIPES.get(style.hatch, "").format(ink=ink)
        image = f"background: {stripes}; background-color: {style.color};" if stripes else f"background: {style.color};"
        rules.append(f".bars .track > i.p.{phase}, .p.{phase} {{ {image} }}")
    rules.append(f".bars .track > i.p.newer, .p.newer {{ background: {palette.GREY}; }}")
    return "\n".join(rules)
