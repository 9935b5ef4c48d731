"""Pacing functions: how a share of data, or the length of a sequence, grows from its start to its end."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Line = tuple[Floats, Floats]  # (m,) times, never descending, and (m,) values at them; straight in between
Kind = Literal["linear", "root", "competence", "exponential", "step", "baby_steps", "stages", "table", "sort"]

_REACH, _CELLS = 20.0, 8192  # of the grid for what is curved: 1 - x goes down to e**-20
_NEARLY = 1e-9  # of a level: what rounding may take from a number that should be whole


class Shape(BaseModel):
    """The fields of a pacing function beside its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    start: float = Field(0.01, gt=0)
    """The value at time 0. Not read by baby_steps, stages, table and sort, which have one of their own."""

    power: float = Field(2.0, ge=1)
    """The p of root and competence: larger ones open up faster; 1 is linear."""

    steps: int = Field(5, ge=2)
    """The k of step and baby_steps: levels that last equally long; the last one is the end."""

    stages: tuple[tuple[float, float], ...] = ()
    """For stages: (value, share of the time until which it holds), ascending; the last share is 1."""

    table: tuple[tuple[float, float], ...] = ()
    """For table: (time, value), times from 0 to 1 and values ascending."""

    interpolate: bool = True
    """Whether a table is joined by straight lines; else each value holds until the next time."""

    over: float = Field(1.0, gt=0, le=1)
    """The share of the time over which all this happens; after it the value is the end."""


class Pacing(Shape):
    """A function of time t in [0, 1]: `start` at 0, the end from t = `over` on, both exactly; it never falls.

    The end is the user's: 1 for a share of data, the full length for sequences. With s = t / over:

    - linear: start + (end - start) s
    - root: start + (end - start) s^(1/p); DeepSpeed's `fixed_root`
    - competence: (start^p + (end^p - start^p) s)^(1/p) (Platanios et al. 2019, 'Competence-based Curriculum
      Learning', https://arxiv.org/abs/1903.09848, eq. 9), where a curriculum has it on percentiles
    - exponential: start (end / start)^s (Hacohen & Weinshall 2019, https://arxiv.org/abs/1904.03626, without
      their steps)
    - step: k levels, equally long and equally far apart
    - baby_steps: one more of k equal buckets after the other (Spitkovsky et al. 2010): step from end / k
    - stages: (value, until) one by one (Shortformer, Press et al. 2021, https://arxiv.org/abs/2012.15832)
    - table: any function, by points
    - sort: end s, as linear from nothing; a curriculum makes a plain sort of it

    A text is enough where no other field is needed: `competence` for `{kind: competence}`. ValueError for
    stages and tables that do not ascend, or that the kind does not read.

    What to expect of it: see `curriculum` for orders. As a warm-up of the sequence length (16 to 256, small
    models, 2 seeds, equal tokens) linear over .6 of the time gained 0.040 nats a token, root 0.023, and 64
    then 256 from the half on 0.030, the last with a spike of the gradient norm in its short stage. On two
    other corpora (5 seeds, 252,000 and 282,000 tokens) linear gave 0.004 and 0.027 nats a byte and the stages
    -0.015 and 0.036, about what another shuffle of the same data gives.
    """

    kind: Kind = "competence"
    """Which function."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _points_fit(self) -> Self:
        for name, points in (("stages", self.stages), ("table", self.table)):
            if bool(points) != (self.kind == name):
                takes = f"needs {name}" if self.kind == name else f"does not read {name}"
                raise ValueError(f"pacing {self.kind} {takes}")
        if self.stages:
            _check_ascending("stages", [v for v, _ in self.stages], [t for _, t in self.stages])
        if self.table:
            times = [t for t, _ in self.table]
            _check_ascending("table", [v for _, v in self.table], times)
            if times[0] != 0 or len(times) < 2:
                raise ValueError(f"table: its times go from 0 to 1, but begin at {times[0]}")
        return self

    def first(self, end: float = 1.0) -> float:
        """The value at time 0. ValueError where the function does not go up to `end`."""
        own = {"baby_steps": end / self.steps, "sort": 0.0}.get(self.kind, self.start)
        points = [v for v, _ in self.stages] or [v for _, v in self.table]
        if points and points[-1] != end:
            raise ValueError(f"{self.kind}: its last value is {points[-1]:g}, but must be {end:g}")
        first = points[0] if points else own
        if first > end:
            raise ValueError(f"start = {first:g} lies above the end, {end:g}")
        return first

    def values(self, t: npt.ArrayLike, end: float = 1.0) -> Floats:
        """The values at these times, as many and of that shape: in [first, end]."""
        first = self.first(end)
        s = np.clip(np.asarray(t, np.float64) / self.over, 0.0, 1.0)
        found = np.clip(self._formula(s, end), first, end)
        return np.where(s >= 1.0, end, np.where(s <= 0.0, first, found))

    def lengths(self, step: npt.ArrayLike, steps: int, end: int, multiple: int = 8) -> Ints:
        """Sequence lengths at steps of `steps` (or at tokens of all tokens): rounded down to a multiple, but
        never below the first length nor above `end`; exactly these at step 0 and from over * steps on.

        DeepSpeed's scheduler rounds the ends too: from 10 to 100 by 8 it goes from 16 (8 in older releases)
        to 96. Where its ends are multiples it gives the same, but that `fixed_discrete` counts steps from 1.
        ValueError for `sort`, which has no first length, and a first length that is not whole."""
        first = self.first(end)
        if self.kind == "sort" or first != int(first):
            raise ValueError(f"a sequence cannot begin with {first:g} tokens; start = 8, for example")
        values = self.values(np.asarray(step, np.float64) / max(steps, 1), end)
        rounded = (np.floor(values / multiple + _NEARLY) * multiple).astype(np.int64)
        return np.where(values >= end, end, np.clip(rounded, int(first), end))

    def line(self, end: float = 1.0) -> Line:
        """The function as a line through points: as it is, or for what is curved close to it (relative error
        of the value < 2e-6). It ends at time 1; a jump is two points at one time."""
        return _line(self, end)

    def below(self) -> tuple[float, float] | None:
        """The point (t, c) of the line of shares that lies farthest below c = t; None where none does.

        There less is available than one pass has drawn by then."""
        t, c = self.line()
        worst = int(np.argmax(t - c))
        return (float(t[worst]), float(c[worst])) if t[worst] - c[worst] > _NEARLY else None

    def _formula(self, s: Floats, end: float) -> Floats:
        start = self.start
        match self.kind:
            case "linear":
                return start + (end - start) * s
            case "root":
                return start + (end - start) * s ** (1 / self.power)
            case "competence":
                low = (start / end) ** self.power
                return end * (low + (1 - low) * s) ** (1 / self.power)
            case "exponential":
                return start * (end / start) ** s
            case "table" if self.interpolate:
                return np.interp(s, *np.array(self.table).T)
            case "sort":
                return end * s
            case _:
                begins, levels = self._levels(end)
                return levels[np.searchsorted(begins, s + _NEARLY, side="right") - 1]

    def _levels(self, end: float) -> Line:
        """(k,) when in s each level begins, and the levels."""
        k = np.arange(self.steps)
        match self.kind:
            case "step":
                return k / self.steps, self.start + (end - self.start) * k / (self.steps - 1)
            case "baby_steps":
                return k / self.steps, end * (k + 1) / self.steps
            case "stages":
                values, until = np.array(self.stages).T
                return np.append(0.0, until[:-1]), values
            case _:
                times, values = np.array(self.table).T
                return times, values


def _check_ascending(name: str, values: list[float], times: list[float]) -> None:
    if not values[0] > 0 or not all(b >= a for a, b in pairwise(values)):
        raise ValueError(f"{name}: its values {values} must be positive and never descend")
    if not times[0] >= 0 or times[-1] != 1 or not all(b > a for a, b in pairwise(times)):
        raise ValueError(f"{name}: its times {times} must ascend and end with 1")


@lru_cache(maxsize=64)
def _line(pacing: Pacing, end: float) -> Line:
    first = pacing.first(end)
    match pacing.kind:
        case "linear" | "sort":
            s, values = np.array([0.0, 1.0]), np.array([first, end])
        case "root" | "competence":
            s, values = _curved(pacing, end)
        case "exponential":
            s = np.linspace(0.0, 1.0, _CELLS + 1)
            values = pacing.values(s * pacing.over, end)
        case "table" if pacing.interpolate:
            s, values = np.array(pacing.table).T
        case _:
            begins, levels = pacing._levels(end)
            s = np.repeat(np.append(begins, 1.0), 2)[1:-1]
            values = np.repeat(levels, 2)
    t = s * pacing.over
    if pacing.over < 1 or values[-1] < end:
        t, values = np.append(t, [pacing.over, 1.0]), np.append(values, [end, end])
    t.flags.writeable = values.flags.writeable = False
    return t, values


def _curved(pacing: Pacing, end: float) -> Line:
    """Points by value, dense at both ends, where the function is steep and where it meets the end."""
    z = _REACH * np.linspace(0.0, 1.0, _CELLS + 1) ** 3
    x = np.append(-np.expm1(-z), 1.0)
    values = np.append(pacing.start + (end - pacing.start) * x[:-1], end)
    if pacing.kind == "root" or pacing.start >= end:
        return x**pacing.power, values
    low = (pacing.start / end) ** pacing.power
    s = ((values / end) ** pacing.power - low) / (1 - low)
    s[0], s[-1] = 0.0, 1.0
    return np.maximum.accumulate(np.clip(s, 0.0, 1.0)), values
