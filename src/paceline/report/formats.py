"""Numbers as a person reads them: one place decides digits, separators and units for text, picture and page."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import datetime

MISSING = "–"
"""What stands where nothing was measured."""


def known(value: float | None) -> bool:
    """Return whether ``value`` is a finite number."""
    return value is not None and math.isfinite(value)


def significant(value: float | None, digits: int = 3) -> str:
    """Write ``value`` with ``digits`` significant digits, thousands separated, never in exponent form."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 9)}f}"


def integer(value: float | None) -> str:
    """Write ``value`` without decimals, thousands separated: ``7,455``."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """Write a large number short: ``950``, ``7.5k``, ``1.2M``."""
    if value is None or not math.isfinite(value):
        return MISSING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            scaled = value / limit
            digits = 0 if abs(scaled) >= 99.95 else 1
            return f"{scaled:.{digits}f}".removesuffix(".0") + unit
    return f"{value:.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.2g}"


def seconds(value: float | None) -> str:
    """Write a duration in its natural unit: ``340 us``, ``12.5 ms``, ``2.89 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size == 0:
        return "0 s"
    if size < 0.9995e-3:
        return f"{significant(value * 1e6)} us"
    if size < 0.9995:
        return f"{significant(value * 1e3)} ms"
    if size < 119.5:
        return f"{significant(value)} s"
    sign, total = ("-" if value < 0 else ""), round(size)
    if total < 3600:
        return f"{sign}{total // 60} min {total % 60:02d} s"
    minutes = round(total / 60)
    return f"{sign}{minutes // 60} h {minutes % 60:02d} min"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction as a percentage: ``0.338`` is ``33.8%``."""
    return MISSING if fraction is None or not math.isfinite(fraction) else f"{fraction * 100:.{digits}f}%"


def times(factor: float | None) -> str:
    """Write a speedup: ``5.41x``."""
    return MISSING if factor is None or not math.isfinite(factor) else f"{factor:.2f}x"


def size_bytes(value: float | None) -> str:
    """Write bytes in binary units: ``2.40 GiB``."""
    if value is None or not math.isfinite(value):
        return MISSING
    for limit, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= limit:
            return f"{significant(value / limit)} {unit}"
    return f"{value:.0f} B"


def interval(bounds: tuple[float, float] | None) -> str:
    """Write an interval of large numbers: ``7,301 to 7,612``."""
    return MISSING if bounds is None else f"{integer(bounds[0])} to {integer(bounds[1])}"


def when(timestamp: str) -> str:
    """Write an ISO timestamp as ``2026-11-20 10:40 UTC``; anything else is returned as it is."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return timestamp
    zone = moment.tzname() or ""
    return f"{moment:%Y-%m-%d %H:%M} {zone}".strip()


def one_line(text: str, limit: int | None = None) -> str:
    """Return ``text`` on one line without control characters, cut to ``limit`` characters with an ellipsis."""
    printable = "".join(" " if unicodedata.category(char).startswith("C") else char for char in text)
    flat = " ".join(printable.split())
    return flat if limit is None or len(flat) <= limit else flat[: max(limit - 1, 0)] + "…"


def first_sentence(text: str) -> tuple[str, str]:
    """Split ``text`` after its first sentence; the second part may be empty."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", text, maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def plural(count: int, noun: str) -> str:
    """Write ``1 trial``, ``3 trials``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
