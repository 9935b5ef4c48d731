"""Sizes that grow over a run: how many rows a step has, and how long they are."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from operators.kernels.pacing import Kind, Pacing

Ints = npt.NDArray[np.int64]
AHEAD = 512  # steps that are looked at together


class Ramp(Pacing):
    """A pacing function from `start` to the full size, with the share of all tokens as its time."""

    kind: Kind = "linear"
    """Which function."""
    multiple: Annotated[int, Field(ge=1)] = 1
    """What sizes on the way are rounded down to a multiple of."""


class LengthRamp(Ramp):
    """Short rows first (Li et al. 2022, https://arxiv.org/abs/2108.06084): with `kind: stages` Shortformer
    (Press et al. 2021).

    A shorter row does not throw the rest of a longer one away, as DeepSpeed does: the next row reads on, so
    that every token is still a target once an epoch, and equal tokens are equal data.
    """

    start: float = Field(8, gt=0)
    """The first length, in tokens."""
    multiple: Annotated[int, Field(ge=1)] = 8
    """Lengths on the way are multiples of it, for the hardware's sake."""
    truncate: bool = False
    """As DeepSpeed's: a row is the beginning of a full one, whose rest is not trained on in this epoch."""


def sizes(
    tokens: int, rows: int, seq_len: int, batch_ramp: Ramp | None, seq_len_warmup: LengthRamp | None
) -> tuple[Ints, Ints]:
    """(S,) rows and (S,) tokens of a row, of as many steps as `tokens` take; the last step has as few rows as
    are needed. ValueError for a ramp that begins above its end or not with a whole number."""
    _check("batch_ramp", batch_ramp, rows)
    _check("seq_len_warmup", seq_len_warmup, seq_len)
    ramps: list[tuple[Ramp | None, int]] = [(batch_ramp, rows), (seq_len_warmup, seq_len)]
    parts: list[tuple[Ints, Ints]] = []
    done = 0
    while done < tokens:
        # Sizes grow with the tokens before them: as long as they stay, all steps are of one kind.
        now = [int(_at(ramp, np.array([done]), tokens, end)[0]) for ramp, end in ramps]
        step = now[0] * now[1]
        ahead = done + step * np.arange(min(AHEAD, -(-(tokens - done) // step)))
        same = np.ones(len(ahead), np.bool_)
        for size, (ramp, end) in zip(now, ramps, strict=True):
            same &= _at(ramp, ahead, tokens, end) == size
        count = len(same) if same.all() else int(np.argmin(same))
        parts.append((np.full(count, now[0]), np.full(count, now[1])))
        done += count * step
    found = [np.concatenate(part).astype(np.int64) for part in zip(*parts, strict=True)]
    found[0][-1] -= (done - tokens) // int(found[1][-1])
    return found[0], found[1]


def _at(ramp: Ramp | None, done: Ints, tokens: int, end: int) -> npt.NDArray[Any]:
    """The size after so many tokens."""
    return np.full(len(done), end) if ramp is None else ramp.lengths(done, tokens, end, ramp.multiple)


def _check(name: str, ramp: Ramp | None, end: int) -> None:
    if ramp is None:
        return
    try:
        ramp.lengths(0, 1, end, ramp.multiple)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
