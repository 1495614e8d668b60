"""Python scripts from templates: every value is written as a Python literal, every comment on lines of its own.

A template (``templates/export_*.py.j2``) is the script with gaps. Whatever goes into a gap is passed through ``repr``,
so that no environment's name or argument can become code; :class:`Code`, which only this room makes, is the exception.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from jinja2 import Environment, FunctionLoader, StrictUndefined

from paceline.envs import registry, synthetic
from paceline.errors import RequestError
from paceline.report import formats
from paceline.spec import EnvSpec, Plan, RunSpec

_WIDTH = 118
DEFAULT_ITERATIONS = 10
"""Iterations of a script that is not told how many."""


class Code(str):
    """Text that goes into a script as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class EnvCode:
    """How a script builds the environment.

    Attributes:
        kind: ``registered`` (Gymnasium's ``make``), ``callable`` (of an importable module) or ``paceline``.
        id: its name; of a callable the module's.
        attribute: the callable's name in it.
        kwargs: keyword arguments, those in the name included.
        module: the module that has to be importable; "" where Gymnasium or paceline has the environment.
    """

    kind: Literal["registered", "callable", "paceline"]
    id: str
    attribute: str
    kwargs: dict[str, Any]
    module: str


def env_code(env: EnvSpec, target: str) -> EnvCode:
    """Return how a script for ``target`` builds ``env``, one at a time.

    Raises:
        RequestError: it cannot be had one by one.
    """
    name, query = registry.parse_env_id(env.id)
    kwargs = {**query, **env.kwargs}
    if name.startswith(registry.ENVPOOL_PREFIX):
        raise RequestError(
            f"expected an environment that can be had one by one for --to {target}, got {name}, of which EnvPool steps "
            f"whole batches; export with --to yaml or gymnasium"
        )
    if name.startswith(synthetic.PREFIX):
        return EnvCode("paceline", name, "", kwargs, "")
    module, colon, attribute = name.partition(":")
    if colon and attribute.isidentifier() and not keyword.iskeyword(attribute):  # so it is safe as code
        return EnvCode("callable", module, attribute, kwargs, module)
    return EnvCode("registered", name, "", kwargs, module if colon else "")


def require_filled(run: RunSpec, target: str, fields: Sequence[str]) -> None:
    """Refuse a run that leaves open what a script needs.

    Raises:
        RequestError: a field of the algorithm, or of its network, is open.
    """
    values = {**run.algo.model_dump(), **run.algo.network.model_dump()}
    missing = [name for name in fields if values.get(name) is None]
    if missing:
        raise RequestError(
            f"expected results that tell every setting of {run.algo.name} for --to {target}, got none for "
            f"{', '.join(missing)}; export with --to yaml, or measure again with this version"
        )


def header(what: str, facts: Iterable[str], notes: Iterable[str]) -> Code:
    """Return a script's first comment: what it is, what was measured, and what the reader should know."""
    lines = [*_wrapped(what), "", *(line for fact in facts for line in _wrapped(fact))]
    items = [line for note in notes for line in _wrapped(note, bullet="- ")]
    return Code("\n".join(f"# {line}".rstrip() for line in [*lines, *([""] if items else []), *items]))


def plan_words(plan: Plan) -> str:
    """Return the plan in words: how many environments where, and who acts when."""
    runners, each = plan.num_env_runners, plan.num_envs_per_env_runner
    kind = "threads" if plan.resolved_backend in ("thread", "native") else "runner processes"
    where = f"{runners} {kind} of {each} environments each" if runners else f"{each} environments in one process"
    return f"{where} (backend {plan.resolved_backend}, inference {plan.inference}, schedule {plan.schedule})"


def render_script(template: str, **values: Any) -> str:
    """Return the script of ``templates/export_<template>.py.j2`` with ``values`` in its gaps."""
    return _environment().get_template(f"export_{template}.py.j2").render(**values)


def _wrapped(text: str, bullet: str = "") -> list[str]:
    indent = " " * (len(bullet) or 4)
    return textwrap.wrap(
        formats.one_line(text), _WIDTH, initial_indent=bullet, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=False,  # this is Python, not HTML: _literal is the escape
        undefined=StrictUndefined,
        finalize=_literal,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["code"] = Code
    return environment


def _literal(value: Any) -> str:
    return value if isinstance(value, Code) else repr(value)


def _template(name: str) -> str:
    return resources.files("paceline.report").joinpath("templates", name).read_text(encoding="utf-8")
