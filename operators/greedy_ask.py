"""What has become of the near duplicates before a document: one round of the greedy decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Columns, Emission, Reads, ShuffleOp, Uses
from operators.kernels.asking import GONE, KEPT, TWIN, UNDECIDED, answered, ask
from operators.kernels.edges import EDGES, best_of_each, open_edges
from operators.kernels.lists import filled, listed

_NO, _WAITS = -1, -2  # in the place of who it goes for: not for this partner; the partner is undecided


class GreedyAsk(ShuffleOp):
    """Every document asks those partners on whose fate its own depends still.

    A part of `near_decision` and `near_sure`: reads parts of the recipe around them. `kept`,
    `similarity`: the nearest partner that is now known to stay (null: none is); a twin gets what its
    first got. `open`, `nearness`: the partners to ask again, and how similar they are. `asked`: there
    were questions.
    """

    version: ClassVar[int] = 3
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    order: ClassVar[tuple[str, ...]] = ("side",)

    first: bool = True
    """Whether this is the first round of questions, in which all edges are open."""
    again: bool = False
    """Whether candidates were verified a second time; before, who may have more of them stays open."""

    @property
    def reads(self) -> Reads:
        ends = {name: pa.bool_() for name in self._answering()}
        known = {"status": pa.int8(), "kept": pa.int64(), "similarity": pa.float32()}
        settled = {f"last.settle.{name}": kind for name, kind in known.items()}
        return {"uid": pa.int64(), **ends, **settled, **EDGES[self._source()]}

    @property
    def adds(self) -> Adds:
        best = {"kept": pa.int64(), "similarity": pa.float32()}
        edges = {"open": pa.list_(pa.int64()), "nearness": pa.list_(pa.float32())}
        return {**best, **edges, "asked": pa.bool_()}

    @property
    def emits(self) -> Adds:
        return {"side": pa.uint8(), "status": pa.int8(), "kept": pa.int64(), "similarity": pa.float32()}

    @property
    def replies(self) -> Adds:
        return {
            "partner": pa.int64(),
            "nearness": pa.float32(),
            "kept": pa.int64(),
            "similarity": pa.float32(),
        }

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        lengths, edges, nearness = open_edges(batch, self._source())
        status = np.asarray(batch.column("last.settle.status"))
        answers = np.zeros(len(status), bool)
        for name in self._answering():
            answers |= batch.column(name).to_numpy(zero_copy_only=False)
        row, key, side = ask(np.asarray(batch.column("uid")), answers, lengths, edges)
        own = side == 0
        final = (status == GONE) & (lengths == 0)
        kept = np.where(final, filled(batch.column("last.settle.kept"), _NO), _NO)[row]
        similarity = filled(batch.column("last.settle.similarity"), 0)[row]
        similarity[~own] = nearness
        payload = {"side": side, "status": status[row], "kept": kept, "similarity": similarity}
        return Emission(row, key, {name: pa.array(values) for name, values in payload.items()})

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        carry: dict[str, Any] = {}
        for batch in messages:
            side, nearness = np.asarray(batch.column("side")), np.asarray(batch.column("similarity"))
            names = ("status", "kept", "similarity")
            found = answered(side, {name: np.asarray(batch.column(name)) for name in names}, carry)
            status, partner = found["status"], np.asarray(batch.column("key")).astype(np.int64)
            asks, twin = side == 1, (side == 1) & (nearness == TWIN)
            inherits = twin & (status == GONE)
            waits = asks & ((status == UNDECIDED) | (inherits & (found["kept"] < 0)))
            kept = np.where(asks & (status == KEPT), partner, np.where(inherits, found["kept"], _NO))
            similarity = np.where(inherits, found["similarity"], np.minimum(nearness, np.float32(1)))
            yield {
                "partner": pa.array(partner),
                "nearness": pa.array(nearness),
                "kept": pa.array(np.where(waits, _WAITS, kept)),
                "similarity": pa.array(similarity),
            }

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row, partner, nearness, kept, similarity = (
            np.asarray(replies.column(name)) for name in ("row", "partner", "nearness", "kept", "similarity")
        )
        n, waits, goes = batch.num_rows, kept == _WAITS, kept >= 0
        asks = partner != np.asarray(batch.column("uid"))[row]
        best, near = best_of_each(n, row[goes], kept[goes], similarity[goes])
        lengths = np.bincount(row[waits], minlength=n)
        return {
            "kept": pa.array(best, mask=best < 0),
            "similarity": pa.array(near, mask=best < 0),
            "open": listed(lengths, partner[waits], pa.int64()),
            "nearness": listed(lengths, nearness[waits], pa.float32()),
            "asked": pa.array(np.bincount(row[asks], minlength=n) > 0),
        }

    def _source(self) -> str:
        return ("reverify" if self.again else "verify") if self.first else "last.ask"

    def _answering(self) -> tuple[str, ...]:
        """Who may be asked: the columns that say so."""
        return ("/followed.followed", "/same.twinned", "/heard.followed" if self.again else "/near.cut")
