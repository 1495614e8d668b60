"""What all specs share: frozen, validated, and the same in YAML, JSON and on the command line.

Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from paceline.errors import SpecError


class Spec(BaseModel):
    """Base of all specs: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


SpecT = TypeVar("SpecT", bound=Spec)


def build_spec(cls: type[SpecT], data: Mapping[str, Any], *, source: str = "spec") -> SpecT:
    """Validate ``data`` as a ``cls``.

    Args:
        cls: the spec class.
        data: plain nested data, as YAML or JSON gives it.
        source: what to call the data in an error message (a file name, "the command line").

    Raises:
        SpecError: a key is unknown (the nearest known one is named) or a value is out of range.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{source}: {_first_problem(cls, error)}") from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping (safe subset).

    Raises:
        SpecError: the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}; check the path and its permissions") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2020-13-45
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise SpecError(f"{path}: broken YAML{where}: {problem}; mend the file") from None
    if not isinstance(data, dict):
        raise SpecError(
            f"{path}: expected a mapping of keys (env, algo, plan, ..), got {type(data).__name__}; write it "
            f"as in configs/"
        )
    return data


def dump_yaml(spec: Spec) -> str:
    """Return ``spec`` as YAML that :func:`build_spec` reads back to an equal spec."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def set_field(data: Mapping[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Return a copy of nested ``data`` with the field ``dotted`` (``algo.num_epochs``) set to ``value``.

    Raises:
        SpecError: a part of the path is not a mapping.
    """
    head, _, rest = dotted.partition(".")
    copy = dict(data)
    if not rest:
        copy[head] = value
        return copy
    inner = copy.get(head)
    if inner is None:
        inner = {}
    if not isinstance(inner, Mapping):
        raise SpecError(f"{dotted}: {head} is not a group of fields; see `paceline train --help` for the fields")
    copy[head] = set_field(inner, rest, value)
    return copy


def merge_fields(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with nested ``override`` laid over it."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        merged[key] = merge_fields(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_value(text: str) -> Any:
    """Read one command-line value as a YAML scalar or list: ``3e-4``, ``true``, ``[64, 64]``, ``shm``.

    Raises:
        SpecError: ``text`` is not a YAML value.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SpecError(f"cannot read the value {text!r}; write a number, true, false, a word or [a, list]") from None
    if isinstance(value, str):  # YAML 1.1 reads 3e-4 as a string
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


def _first_problem(cls: type[Spec], error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in _without_tags(cls, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = _fields_at(cls, problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key {path!r}; {hint}"
    if problem["type"] == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in problem["ctx"]["expected_tags"].split(",")]
        got = str(problem["ctx"]["tag"])
        near = difflib.get_close_matches(got, tags, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "use one of them"
        return f"{path}.name: expected {', '.join(tags[:-1])} or {tags[-1]}, got {json.dumps(got)}; {hint}"
    if problem["type"] == "missing":
        return f"key {path!r} is missing; add it"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    got = problem.get("input")
    shown = "" if isinstance(got, Mapping | Spec) else f", got {json.dumps(got, default=str)}"
    return f"{path}: {message}{shown}" if path else message


def _fields_at(cls: type[Spec], path: Sequence[int | str]) -> list[str]:
    """Return the names of the fields of the spec at ``path``; a part of it may be the tag of one of several specs."""
    names: dict[str, type[Spec]] = {}
    for part in map(str, path):
        if part in names:
            cls, names = names[part], {}
            continue
        field = cls.model_fields.get(part)
        if field is None:
            return []
        specs = _specs_in(field.annotation)
        if not specs:
            return []
        cls = specs[0]
        names = {spec.model_fields["name"].default: spec for spec in specs} if len(specs) > 1 else {}
    return list(cls.model_fields)


def _without_tags(cls: type[Spec], path: Sequence[int | str]) -> list[int | str]:
    """Return ``path`` without the tags that tell several specs apart (``algo``, ``ppo``): users write none."""
    kept: list[int | str] = []
    tags: set[str] = set()
    at: type[Spec] | None = cls
    for part in path:
        if str(part) in tags:
            tags = set()
            continue
        kept.append(part)
        field = at.model_fields.get(str(part)) if at else None
        specs = _specs_in(field.annotation) if field else []
        at = specs[0] if specs else None
        tags = {spec.model_fields["name"].default for spec in specs} if len(specs) > 1 else set()
    return kept


def _specs_in(annotation: Any) -> list[type[Spec]]:
    """Return the specs that a field may hold."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Spec) else []
    return [spec for part in get_args(annotation) for spec in _specs_in(part)]
