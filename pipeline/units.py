"""Numbers as people read them: rows, bytes, seconds, shares and differences, each with its unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "−"
NONE = "–"
_PLAIN = ("", "k", "M", "B", "T", "Q")  # of documents and tokens
_UNITS = ("", "k", "M", "G", "T", "P", "E", "Z")  # before a unit


def known(value: float | None) -> bool:
    """Whether there is a number at all: neither missing nor NaN."""
    return value is not None and not math.isnan(value)


def count(value: float | None) -> str:
    """A whole number with separators: 85,005."""
    return f"{value:,.0f}".replace("-", MINUS) if value is not None and known(value) else NONE


def rows(value: float | None) -> str:
    """A number of rows in full, or in short from a hundred million on."""
    return short(value) if value is not None and value >= 1e8 else count(value)


def short(value: float | None, unit: str = "") -> str:
    """Three figures and a decimal prefix: 85.0 k, 4.82 M, 1.31 B, 512; with a unit 1.31 GB."""
    if value is None or not known(value):
        return NONE
    if math.isinf(value):
        return ("∞" if value > 0 else MINUS + "∞") + (f" {unit}" if unit else "")
    size, step, prefixes = abs(value), 0, _UNITS if unit else _PLAIN
    while size >= 999.5 and step < len(prefixes) - 1:
        size, step = size / 1000, step + 1
    digits = 0 if step == 0 and size == int(size) else 2 - (size >= 9.995) - (size >= 99.95)
    prefix = f" {prefixes[step]}{unit}".rstrip()
    return (MINUS if value < 0 else "") + f"{size:.{digits}f}{prefix}"


def nbytes(value: float | None) -> str:
    """Decimal bytes: 4.82 MB."""
    return short(value, "B")


def seconds(value: float | None) -> str:
    """0.42 s, 12.3 s, 3 min 12 s, 2 h 05 min."""
    if value is None or not known(value):
        return NONE
    if value < 99.5:
        return f"{value:.{2 - (value >= 9.995)}f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(part: float | None, whole: float | None) -> str:
    """A share; never 0 % or 100 % unless it is exactly that."""
    if part is None or not whole or not known(part):
        return NONE
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.0f} %" if share in (0, 100) else f"{share:.1f} %"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign: +0.042, −0.310."""
    if value is None or not known(value):
        return NONE
    text = f"{value:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text[1:]


def number(value: float | None) -> str:
    """Any measured value in at most four significant figures."""
    if value is None or not known(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}".replace("-", MINUS)
    return f"{value:,.4g}".replace("-", MINUS) if abs(value) < 1e4 else count(value)


def steps(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten) inside [low, high], about `wanted` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * m for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _round(text: str) -> str:
    """50.0 k as 50 k."""
    figures, _, prefix = text.partition(" ")
    return (figures.rstrip("0").rstrip(".") if "." in figures else figures) + (f" {prefix}" if prefix else "")


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels with as many decimals as the distance of the ticks needs, or prefixes when large."""
    if len(ticks) < 2:
        return [number(t) for t in ticks]
    step = abs(ticks[1] - ticks[0])
    if max(abs(t) for t in ticks) >= 10_000:
        return ["0" if t == 0 else _round(short(t)) for t in ticks]
    if step < 1e-4:
        return [number(t) for t in ticks]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{t:.{digits}f}".replace("-", MINUS) if t else "0" for t in ticks]
