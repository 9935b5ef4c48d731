"""Exact products of grid vectors, tile by tile, on the CPU or a GPU, and the greedy choice of a cluster.

Legend: n vectors that ask, m that answer, d numbers in each. All products are sums of integers below 2**53,
so float64 gives them exactly, in any order: a tile's size or the device cannot change a result. On the CPU
float32, which is twice as fast, finds the best one wherever its error cannot have decided.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.grids import UNIT, Cells, Grid
from gpu_ops.kernels.unit_grid import Int16s, lengths_of

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TILE = 4096  # vectors that answer at once
BLOCK = 1024  # vectors that ask at once: 32 MiB of products


class Tiles(Protocol):
    """Where products are made."""

    def put(self, cells: Cells | Float64s) -> Any:
        """The vectors where the products are made."""

    def best(
        self, asking: Any, answering: Any, scale: Float64s, shift: Float64s | None = None
    ) -> tuple[Float64s, Int64s]:
        """(n,) the highest of product * scale[answering] + shift[answering], and whose it is: the first
        one's of equals."""

    def products(self, asking: Any, answering: Any) -> Float64s:
        """(n, m)."""


class NumpyTiles:
    """Products on the CPU; vectors wait as integers of 16 or 32 bits, of which float32 holds each."""

    def put(self, cells: Cells | Float64s) -> Cells | Float64s:
        return cells

    def best(
        self, asking: Cells, answering: Cells, scale: Float64s, shift: Float64s | None = None
    ) -> tuple[Float64s, Int64s]:
        rough = asking.astype(np.float32) @ answering.astype(np.float32).T
        rough *= scale.astype(np.float32)
        if shift is not None:
            rough += shift.astype(np.float32)
        place = rough.argmax(axis=1)
        bar = rough[np.arange(len(rough)), place] - 2 * _error(asking, answering, scale, shift)
        unsure = np.count_nonzero(rough >= bar.astype(np.float32)[:, None], axis=1) > 1
        if unsure.any():
            exact = _scaled(self.products(asking[unsure], answering), scale, shift)
            place[unsure] = exact.argmax(axis=1)
        chosen = answering[place].astype(np.float64)
        product = np.einsum("nd,nd->n", asking.astype(np.float64), chosen)
        return _scaled(product, scale[place], None if shift is None else shift[place]), place

    def products(self, asking: Cells, answering: Cells) -> Float64s:
        return asking.astype(np.float64, copy=False) @ answering.astype(np.float64).T


def _scaled(product: Float64s, scale: Float64s, shift: Float64s | None) -> Float64s:
    product *= scale
    if shift is not None:
        product += shift
    return product


def _error(asking: Cells, answering: Cells, scale: Float64s, shift: Float64s | None) -> Float64s:
    """(n,) by how much float32 may be off: d * 2**-24 * |x| |y| for a sum of d products in any order
    (Higham 2002, section 3.1) and a rounding for each further step, with a margin of 16 of them."""
    unit, d = 2.0**-24, asking.shape[1]
    reach = lengths_of(asking) * float((lengths_of(answering) * scale).max())
    return unit * ((d + 16) * 1.01 * reach + (0.0 if shift is None else 8 * float(np.abs(shift).max())))


class TorchTiles:
    """Products on a torch device; vectors wait there as float64."""

    def __init__(self, device: str) -> None:
        import torch

        self.torch, self.device = torch, torch.device(device)

    def put(self, cells: Cells | Float64s) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(cells)).to(self.device).double()

    def best(
        self, asking: Any, answering: Any, scale: Float64s, shift: Float64s | None = None
    ) -> tuple[Float64s, Int64s]:
        scaled = asking @ answering.T
        scaled *= self.torch.from_numpy(scale).to(self.device)
        if shift is not None:
            scaled += self.torch.from_numpy(shift).to(self.device)
        value = scaled.amax(dim=1)
        # argmax names any of equal ones on a GPU; the first one is asked for.
        number = self.torch.arange(scaled.shape[1], device=self.device)
        place = number.where(scaled == value[:, None], scaled.shape[1]).amin(dim=1)
        return value.cpu().numpy(), place.cpu().numpy()

    def products(self, asking: Any, answering: Any) -> Float64s:
        found: Float64s = (asking @ answering.T).cpu().numpy()
        return found


def tiles() -> Tiles:
    """On the GPU where this process may use one (CUDA_VISIBLE_DEVICES, empty for none), else on the CPU.

    Both give the same bits. Without a driver torch, whose import takes seconds, is not looked for."""
    try:
        ctypes.CDLL("libcuda.so.1")
        import torch
    except (OSError, ModuleNotFoundError):
        return NumpyTiles()
    return TorchTiles("cuda") if torch.cuda.is_available() else NumpyTiles()


def nearest(cells: Cells, centres: Cells, on: Tiles, grid: Grid = UNIT) -> tuple[Int64s, Float64s]:
    """(n,) each vector's nearest centre (the first of equals), and the cosine or distance to it."""
    place, score = np.zeros(len(cells), np.int64), np.zeros(len(cells))
    parts = [centres[i : i + TILE] for i in range(0, len(centres), TILE)]
    answering = [(i * TILE, on.put(part), *grid.scoring(part)) for i, part in enumerate(parts)]
    for start in range(0, len(cells), BLOCK):
        block = cells[start : start + BLOCK]
        asking, value, which = on.put(block), np.full(len(block), -np.inf), np.zeros(len(block), np.int64)
        for first, part, scale, shift in answering:
            found, at = on.best(asking, part, scale, shift)
            which = np.where(found > value, first + at, which)
            value = np.maximum(found, value)
        place[start : start + BLOCK] = which
        score[start : start + BLOCK] = grid.closeness(value, block)
    return place, score


@dataclass
class Verdict:
    """What was decided of n documents.

    kept: (n,) the uid of the nearest earlier kept one (of equals the first in keep order), -1 for one that
    stays. cosine: (n,) with the nearest kept one. unseen: (n,) how many earlier kept ones were forgotten.
    """

    kept: Int64s
    cosine: Float64s
    unseen: Int64s


def joined(verdicts: list[Verdict]) -> Verdict:
    """All of them, in turn."""
    none = Verdict(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    parts = [none, *verdicts]
    names = ("kept", "cosine", "unseen")
    return Verdict(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass
class Seen:
    """The kept documents of one cluster, in keep order, in chunks; the oldest chunk goes as soon as the
    whole ones after it have `window` documents."""

    on: Tiles
    threshold: float
    window: int
    chunk: int
    full: list[tuple[Any, Float64s, Int64s]] = field(default_factory=list)
    cells: Int16s = field(default_factory=lambda: np.zeros((0, 0), np.int16))
    uid: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    forgotten: int = 0

    def decide(self, cells: Int16s, uid: Int64s) -> Verdict:
        """The next documents of the cluster, in keep order, however many: a document stays if and only
        if its cosine with every kept one before it, but for forgotten ones, is below the threshold."""
        verdicts, size = [], min(BLOCK, 4 * self.chunk)
        while len(uid):
            verdicts.append(self._block(cells[:size], uid[:size]))
            done = len(verdicts[-1].kept)
            cells, uid = cells[done:], uid[done:]
        return joined(verdicts)

    def _block(self, cells: Int16s, uid: Int64s) -> Verdict:
        """As many of the documents as can be decided before something is forgotten: at least one.

        `closeness` is the product over the kept one's length. It is over the asking one's own only where
        it meets the threshold: rounding must not make equals of two that differ."""
        asking, scale = self.on.put(cells), 1 / lengths_of(cells)
        kept, closeness = self._remembered(asking, len(cells))
        near = self.on.products(asking, asking)
        near *= scale
        stays = _greedy(near * scale[:, None] >= self.threshold, closeness * scale < self.threshold)
        filled = np.flatnonzero(stays)[self.chunk - len(self.uid) - 1 :]
        end = int(filled[0]) + 1 if len(filled) else len(uid)
        mine = np.flatnonzero(stays[:end])
        if len(mine):
            among = np.where(mine < np.arange(end)[:, None], near[:end, mine], -np.inf)
            place = among.argmax(axis=1)
            value = among[np.arange(end), place]
            closer = np.flatnonzero(value > closeness[:end])
            kept[closer], closeness[closer] = uid[mine[place[closer]]], value[closer]
        verdict = Verdict(
            np.where(stays, -1, kept)[:end], (closeness * scale)[:end], np.full(end, self.forgotten)
        )
        self._remember(cells[mine], uid[mine])
        return verdict

    def _remembered(self, asking: Any, n: int) -> tuple[Int64s, Float64s]:
        """(n,) the uid of the nearest kept document before this block, and the closeness (-inf: none)."""
        chunks = list(self.full)
        if len(self.uid):
            chunks.append((self.on.put(self.cells), 1 / lengths_of(self.cells), self.uid))
        kept, closeness = np.full(n, -1), np.full(n, -np.inf)
        for answering, scale, uid in chunks:
            value, place = self.on.best(asking, answering, scale)
            closer = value > closeness
            kept[closer], closeness[closer] = uid[place[closer]], value[closer]
        return kept, closeness

    def _remember(self, cells: Int16s, uid: Int64s) -> None:
        self.cells = np.concatenate([self.cells, cells]) if len(self.uid) else cells
        self.uid = np.concatenate([self.uid, uid])
        if len(self.uid) == self.chunk:
            self.full.append((self.on.put(self.cells), 1 / lengths_of(self.cells), self.uid))
            self.cells, self.uid = self.cells[:0], self.uid[:0]
        if (len(self.full) - 1) * self.chunk >= self.window:
            self.forgotten += self.chunk
            self.full.pop(0)


def _greedy(near: Bools, free: Bools) -> Bools:
    """(n,) who stays of documents in keep order: the free ones that are near none before them that
    stays. near: (n, n), [i, j] for i that comes after j."""
    stays = free.copy()
    pairs = np.triu(near.T & free & free[:, None], 1)
    for one in np.flatnonzero(pairs.any(axis=1)).tolist():
        if stays[one]:
            stays[pairs[one]] = False
    return stays
