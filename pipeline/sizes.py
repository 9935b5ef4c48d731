"""Sizes as people write them: `256MB` for bytes, `150k`, `1.5M` or `2B` for counts."""

from __future__ import annotations

import re
from fractions import Fraction

COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
BYTES |= {f"{unit}i": 1 << (10 * power) for power, unit in enumerate("kmgtp", start=1)}
NUMBER = r"([-+]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?)\s*"


def parse_count(text: str) -> int:
    """`150k` -> 150000, `1.5M`, `2B` (billion), `1e9`, `1_000`; ValueError when it is no whole number."""
    match = re.fullmatch(NUMBER + r"([kmgbtKMGBT]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no count; write for example 150000, 150k, 1.5M or 2B")
    return _whole(match[1], COUNTS[match[2].lower()], text)


def parse_bytes(text: str) -> int:
    """`256MB` -> 256000000, `64MiB` -> 67108864, `1_000`; ValueError when it is no whole number."""
    match = re.fullmatch(NUMBER + r"([kmgtpKMGTP]?i?)[bB]?", text.strip())
    if match is None or match[2].lower() not in BYTES:
        raise ValueError(f"{text!r} is no size; write for example 256MB, 64MiB or 1000000")
    return _whole(match[1], BYTES[match[2].lower()], text)


def _whole(number: str, unit: int, text: str) -> int:
    value = Fraction(number.replace("_", "")) * unit
    if value.denominator != 1:
        raise ValueError(f"{text!r} is {float(value):g}, not a whole number")
    return value.numerator
