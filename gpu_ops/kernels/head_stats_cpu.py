"""head_stats on the CPU: tiles of logits by torch's matrix product, reduced while they are in the cache.

Legend: N tokens, V vocabulary, D hidden size, R rows of a chunk, C columns of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpu_ops.kernels.head_stats import IGNORED, START, to_logits
from operators.kernels.kept_code import Kernel

if TYPE_CHECKING:
    from gpu_ops.kernels.head_stats import Head

ROWS, COLUMNS = 1024, 1024  # 4 MiB a thread: products at full speed, reduced out of the cache
WORTH = 512  # rows from which on another thread is
LANES = 64  # running maxima side by side, so that the loop becomes vector instructions
LEAST = np.float32(-80.0)  # e^-80 is nothing beside the maximum's 1, and its square no slow denormal

FIRST, SECOND, TOTAL, SQUARES, WEIGHTED, OWN = range(6)

# Sums may be reordered, but NaN and infinities stay what they are.
_vectorised: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": {"contract", "reassoc"}}


def head_states(hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor) -> torch.Tensor:
    """(6, N) float64, see head_stats; rows that are ignored are not computed."""
    convert = {head.weight.dtype, hidden_ND.dtype} != {torch.float32}
    width = COLUMNS if convert else 0

    def source(rows: torch.Tensor) -> tuple[Fill, torch.Tensor | None]:
        h_RD = hidden_ND[rows].float()
        wide_CD = torch.empty(width, h_RD.shape[1], device=h_RD.device)

        def fill(column: int, tile_RC: torch.Tensor) -> None:
            weight_CD = head.weight[column : column + tile_RC.shape[1]]
            if convert:
                weight_CD = wide_CD[: len(weight_CD)].copy_(weight_CD.to(hidden_ND.dtype))
            torch.mm(h_RD, weight_CD.T, out=tile_RC)
            if head.bias is not None:
                tile_RC += head.bias[column : column + tile_RC.shape[1]]
            if head.scale != 1:
                tile_RC *= head.scale
            if head.cap is not None:
                tile_RC.div_(head.cap).tanh_().mul_(head.cap)

        targets_R = targets_N[rows].long()
        weight_RD = head.weight[targets_R].to(hidden_ND.dtype)
        product_R = torch.linalg.vecdot(h_RD.double(), weight_RD.double())
        bias_R = None if head.bias is None else head.bias[targets_R].double()
        return fill, to_logits(product_R, bias_R, head)

    return _stream(source, targets_N, len(head.weight))


def logits_states(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """(6, N) float64 of given logits."""

    def source(rows: torch.Tensor) -> tuple[Fill, None]:
        def fill(column: int, tile_RC: torch.Tensor) -> None:
            tile_RC.copy_(logits_NV[:, column : column + tile_RC.shape[1]][rows])

        return fill, None

    return _stream(source, targets_N, logits_NV.shape[1])


Fill = Callable[[int, torch.Tensor], None]  # (first column, tile to fill with float32 logits)
Source = Callable[[torch.Tensor], tuple[Fill, torch.Tensor | None]]


def _stream(source: Source, targets_N: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """The states of all rows; `source` says for a chunk of rows how to fill its tiles, and its targets' own
    logits where they are known better than from the tiles.

    Every thread makes and reduces the tiles of chunks of its own: when all share each product, the wait for
    the slowest at every tile costs a third of the time on a busy machine.
    """
    states_N6 = torch.tensor([START, START, 0, 0, 0, 0], dtype=torch.float64).repeat(len(targets_N), 1)
    scored, threads = (targets_N != IGNORED).nonzero()[:, 0], torch.get_num_threads()
    if not len(scored):
        return states_N6.T
    parts = max(-(-len(scored) // ROWS), min(threads, len(scored) // WORTH))
    chunks = scored.chunk(parts if parts <= threads else parts + -parts % threads)  # as many for each thread

    def states_of(rows: torch.Tensor) -> torch.Tensor:
        return _chunk(source, rows, targets_N[rows], vocabulary)

    if min(threads, len(chunks)) == 1:
        found = [states_of(rows) for rows in chunks]
    else:
        with _workers(threads) as pool:
            found = list(pool.map(states_of, chunks))
    states_N6[scored.cpu()] = torch.cat(found)
    return states_N6.T


@contextmanager
def _workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch runs on one core each; what it does in this one is as before when they end."""
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _chunk(source: Source, rows: torch.Tensor, targets_R: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """(R, 6) of some rows. It may run in any thread, and torch's modes belong to a thread."""
    states_R6 = torch.tensor([START, START, 0, 0, 0, 0], dtype=torch.float64).repeat(len(rows), 1)
    places_R, width = targets_R.cpu().long(), min(COLUMNS, vocabulary)
    lanes = np.empty((2, LANES), np.float32)
    buffer = torch.empty(len(rows) * width, device=rows.device)
    fill, own_R = source(rows)
    for column in range(0, vocabulary, width):
        shape = len(rows), min(width, vocabulary - column)
        tile_RC = buffer[: shape[0] * shape[1]].view(shape)
        fill(column, tile_RC)  # into `out`, which autocast leaves alone
        absorb(tile_RC.cpu().numpy(), (places_R - column).numpy(), states_R6.numpy(), lanes)
    if own_R is not None:
        states_R6[:, OWN] = own_R.cpu()
    return states_R6


def _absorb(tile_RC: Any, places_R: Any, states_R6: Any, lanes: Any) -> None:
    """Takes one tile of logits into the states.

    places: where in the tile the row's target is, if between 0 and C. lanes: (2, LANES), to work in."""
    width = tile_RC.shape[1]
    for i in range(len(tile_RC)):
        row, state, place = tile_RC[i], states_R6[i], places_R[i]
        if 0 <= place < width:
            state[OWN] = row[place]
            _take(row[:place], state, lanes)
            _take(row[place + 1 :], state, lanes)
        else:
            _take(row, state, lanes)


def _take_logits(row: Any, state: Any, lanes: Any) -> None:
    """Takes logits, none of them the target's, into a row's state."""
    first, second = _two_highest(row, lanes)
    highest = max(np.float32(state[FIRST]), first)
    total, squares, weighted = _sums(row, highest)
    less = state[FIRST] - highest
    factor = np.exp(less)
    state[WEIGHTED] = factor * (state[WEIGHTED] + less * state[TOTAL]) + weighted
    state[TOTAL] = factor * state[TOTAL] + total
    state[SQUARES] = factor * factor * state[SQUARES] + squares
    state[SECOND] = max(state[SECOND], min(state[FIRST], np.float64(first)), np.float64(second))
    state[FIRST] = highest


def _two_highest_of(row: Any, lanes: Any) -> tuple[Any, Any]:
    """The two highest numbers, equal where the highest stands there twice; START for what is not there."""
    a, b = lanes[0], lanes[1]
    for j in range(LANES):
        a[j] = b[j] = LOWEST
    whole = len(row) // LANES * LANES
    for i in range(0, whole, LANES):
        for j in range(LANES):
            x = row[i + j]
            lower = a[j] if x > a[j] else x
            a[j] = x if x > a[j] else a[j]
            b[j] = lower if lower > b[j] else b[j]
    for i in range(whole, len(row)):
        x = row[i]
        lower = a[0] if x > a[0] else x
        a[0] = x if x > a[0] else a[0]
        b[0] = lower if lower > b[0] else b[0]
    first = second = LOWEST
    for j in range(LANES):
        second = max(second, min(first, a[j]), b[j])
        first = max(first, a[j])
    return first, second


def _sums_of(row: Any, highest: Any) -> tuple[Any, Any, Any]:
    """The sums of e^t, e^2t and t e^t for t = row - highest."""
    total = squares = weighted = np.float32(0)
    for i in range(len(row)):
        t = row[i] - highest
        t = LEAST if t < LEAST else t
        e = _exp(t)
        total += e
        squares += e * e
        weighted += e * t
    return total, squares, weighted


# Cephes' expf (S. Moshier): ln 2 in two parts, and a polynomial for e^r with |r| <= ln(2)/2.
LOG2E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
HALF, ONE, BIAS, MANTISSA = np.float32(0.5), np.float32(1), np.int32(127), np.int32(23)
LOWEST = np.float32(START)


def _exp_of(t: Any) -> Any:
    """e^t to 1e-7 relative, for t from -87 to 0 or NaN; unlike np.exp it becomes vector instructions."""
    k = np.int32(t * LOG2E - HALF)
    r = t - np.float32(k) * LN2_HIGH - np.float32(k) * LN2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    return (p * r * r + r + ONE) * np.int32((k + BIAS) << MANTISSA).view(np.float32)


# Only where the order is written out must it not be changed.
_exp = Kernel(_exp_of, nogil=True, inline="always", fastmath={"contract"})
_two_highest, _sums = Kernel(_two_highest_of, **_vectorised), Kernel(_sums_of, **_vectorised)
_take = Kernel(_take_logits, nogil=True, cache=True)
absorb = Kernel(_absorb, nogil=True, cache=True)
