"""The operator contract: what an operator promises, and the shapes that say which rows may meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

# The type of the column named `drop`: the reason why a row goes, null where it stays.
DROP = pa.dictionary(pa.int8(), pa.string())
TEXT = pa.large_string()
# The type of the column named `cuts`, by which an operator edits the text of a row: byte offsets into the
# UTF-8 of `text` as the operator read it, ascending, without overlap, between characters; `text` stands in
# for what is cut (null: nothing does). Whoever is below reads the edited text.
CUTS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("text", pa.string())]))


class Kind(Enum):
    """What an operator accepts where one exact Arrow type would be too strict."""

    NUMBER = "a number"
    INTEGER = "an integer"
    STRING = "a string"
    ORDERED = "a number, a date, a time or a string"
    VECTOR = "a list of floats"
    INTEGERS = "a list of integers"
    LABEL = "a string, an integer or a boolean"
    ANY = "any type"


Reads = Mapping[str, "pa.DataType | Kind"]
Adds = Mapping[str, pa.DataType]
Columns = Mapping[str, pa.Array]
Artifact = Mapping[str, np.ndarray]
Uses = Mapping[str, Artifact]


@dataclass(frozen=True)
class UserFile:
    """Marks a field that names a file or folder, a tuple of them, or a mapping of names to them: the plan
    resolves it against the config's folder, and its content, not its name, enters the operator's identity."""

    what: str = "file"
    hub: bool = False  # a hub name (`org/model`) is accepted where no such folder exists
    index: bool = False  # near-duplicate indexes, which the plan replaces by the parts they have now


FilePath = Annotated[str, UserFile("file")]
ModelPath = Annotated[str, UserFile("model folder", hub=True)]
IndexPaths = Annotated[tuple[str, ...] | None, UserFile("near-duplicate index", index=True)]


class Operator(BaseModel):
    """A frozen set of fields: the whole configuration of one step.

    Every concrete operator is final, lives in a file of its own and is named after it. `version`
    is raised whenever the same fields and rows would give other output. `examples` are field sets
    on which the laws (DESIGN: rows, cut, engines, retry, columns, identity) are tried. `guard` is the
    share of one source's rows that it may drop before the run stops and asks (None: any share).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    guard: ClassVar[float | None] = None


class Explained(ABC):
    """Mixed into operators and recipes whose fields have consequences that a reader of the plan wants."""

    @abstractmethod
    def explain(self) -> str:
        """Lines for the plan: a function of the fields alone."""


class Telling(ABC):
    """Mixed into folds and fits whose artifact has figures that whoever reads the run must see."""

    @abstractmethod
    def tell(self, state: Artifact) -> str:
        """Lines for the end of the run and the report: a function of the fields and the artifact alone."""


class Checking(ABC):
    """Mixed into operators that can tell in the plan whether a file that they name will do."""

    @abstractmethod
    def check(self) -> None:
        """ValueError or OSError that says which file is wrong and what to give instead."""


class ColumnOp(Operator):
    """An operator that runs over batches of rows.

    Batches hold the columns of `reads` under exactly those names. Text arrives as `large_string`.
    Two columns exist for every row without being stored: `uid` (int64, the position in the ordered
    source) and `key` (uint64, a stable hash of the id column, else of the uid; all randomness is a
    function of (seed, key)).
    """

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """Column name -> type or kind. A name is `column`, `node.column` or `/part.column`
        (a part of the same recipe); `last.column` inside a loop is the round before."""

    @property
    @abstractmethod
    def adds(self) -> Adds:
        """Column name -> exact Arrow type of what `columns` returns."""


class MapOp(ColumnOp):
    """A row meets nobody."""

    # A boolean column among `reads`: only rows where it is true are computed, the others get nulls.
    where: ClassVar[str] = ""

    @abstractmethod
    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        """The added columns, each as long as the batch; a pure function of each row and `uses`."""


class ScoreOp(ColumnOp):
    """A row meets a model. Scores are measurements: equal within `tolerance` (absolute or relative,
    whichever is looser) for any batch; the first committed value is the one everybody reads."""

    tolerance: ClassVar[float] = 1e-4

    @abstractmethod
    def load(self, device: str) -> Any:
        """The model, ready on the device (`cpu`, `cuda`, `cuda:1`)."""

    @abstractmethod
    def prepare(self, batch: pa.RecordBatch, model: Any) -> Any:
        """The CPU's share of the work, such as texts to tokens; the batch itself where there is none.
        Runs beside `columns` of the batch before, so that a device need not wait: it must leave the
        model as it is."""

    @abstractmethod
    def columns(self, prepared: Any, model: Any) -> Columns:
        """The added columns, each as long as the batch that was prepared. One call at a time."""


class FoldOp(ColumnOp):
    """A row meets a bounded summary of all rows. The summary must be exact (integers, min, max), so
    that any tree of merges gives the same bytes. `fold` of an empty batch is the neutral element."""

    @property
    @abstractmethod
    def state_bytes(self) -> int:
        """Upper bound of the size of one summary."""

    @abstractmethod
    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        """The summary of these rows."""

    @abstractmethod
    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        """The summary of both; associative and commutative."""

    @abstractmethod
    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        """What other nodes use, and what `columns` gets."""

    @abstractmethod
    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        """The added columns; not called when `adds` is empty."""


class FitOp(ColumnOp):
    """A row meets a training run over all rows, one job."""

    @property
    def columns_read(self) -> Reads:
        """What of `reads` the batches of `columns` hold: all of it, where an operator does not say less."""
        return self.reads

    @abstractmethod
    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """The fitted arrays. Rows come in the order of their uids."""

    @abstractmethod
    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        """The added columns; not called when `adds` is empty."""


@dataclass(frozen=True)
class Emission:
    """What a batch sends to the shuffle: n messages, any number from any row.

    row: (n,) int64, the emitting row's index in the batch, ascending.
    key: (n,) uint64; messages with equal (key, key2) meet.
    key2: (n,) uint64, for keys of 128 bits; zeros when not given.
    payload: column -> array of n values, of the types in `emits`.
    """

    row: np.ndarray
    key: np.ndarray
    payload: Mapping[str, pa.Array] = field(default_factory=dict)
    key2: np.ndarray | None = None


class ShuffleOp(ColumnOp):
    """A row meets the rows that share a key with one of its messages."""

    # Payload columns that order the messages of one key (ascending, numeric); the uid breaks ties.
    order: ClassVar[tuple[str, ...]] = ()
    # A boolean column among `reads`: only rows where it is true are read for `emit`.
    where: ClassVar[str] = ""

    @property
    @abstractmethod
    def emits(self) -> Adds:
        """The payload's columns and types."""

    @property
    @abstractmethod
    def replies(self) -> Adds:
        """The reply's columns and types."""

    @abstractmethod
    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        """The messages of these rows."""

    @abstractmethod
    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        """For every batch of messages, in turn, one set of columns aligned with it.

        Batches have columns key, key2 (uint64), uid (int64, the sender) and the payload, sorted by
        key, then `order`, then uid. A key may straddle batches and may hold half of all messages:
        keep a bounded state, never all messages of a key. Different keys may come to different
        calls of `reply`; one key never does. Read-ahead is not allowed: yield, then take the next.
        """

    @abstractmethod
    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        """The added columns. `batch` holds `uid` only; `replies` has `row` (int64, ascending: the
        index in the batch) and the reply's columns, in the order in which they were emitted."""


class ReduceOp(ColumnOp):
    """A row meets an associative summary of the messages that share its key, so that a key with
    half of all rows costs one message a task."""

    # A boolean column among `reads`: only rows where it is true are read for `emit`.
    where: ClassVar[str] = ""

    @property
    @abstractmethod
    def emits(self) -> Adds:
        """The payload's columns and types: also those of the summary."""

    @abstractmethod
    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        """The messages of these rows."""

    @abstractmethod
    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        """One row of payload for every run of equal keys; run i begins at messages[starts[i]] and ends
        where the next one begins. `messages` has key, key2 and the payload. Associative, commutative,
        exact."""

    @abstractmethod
    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        """As in ShuffleOp; each reply is the final summary of the message's key."""


@dataclass(frozen=True)
class Part:
    """One node inside a recipe or a loop's round.

    name: unique in the recipe; other parts read its columns as `/name.column` and name its artifact
        in `uses`. op: the operator's name. fields: its fields. uses: the name under which the
        operator gets an artifact -> the part that makes it. source: a data file or glob which this
        part (a fold, a fit) runs over instead of the recipe's input; its `text` is the column named in
        the config's own source, or else `text`, if it has one; all columns have their own names too.
    """

    name: str
    op: str
    fields: dict[str, Any] = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)
    source: str | None = None


class LoopOp(ColumnOp):
    """A row meets what a body of parts makes of all rows, round after round.

    In round r > 0 a part reads the round before as `last.part.column`, and gets its artifacts under
    the name `last.part` in `uses` where it asks for them (`uses={"edge": "last.part"}`). After the
    last round `columns` runs once: `reads` may name `last.part.column` too, and `uses["last"]` is
    the artifact of the last round's last part.
    """

    @abstractmethod
    def step(self, round: int) -> list[Part]:
        """The body of one round; its last part is a fold whose artifact says how far things are."""

    @abstractmethod
    def done(self, state: Artifact, round: int) -> bool:
        """Whether the artifact of this round's last part ends the loop."""

    @abstractmethod
    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        """The added columns."""


class Recipe(Operator):
    """Expands into parts that are nodes of their own: cached, shown in the plan, reusable.

    The parts run in order over the recipe's input. The last one is the recipe's face: it takes the
    recipe's name, so its columns are the recipe's columns.
    """

    @abstractmethod
    def parts(self) -> list[Part]:
        """The parts, in order."""


def drop_column(reasons: np.ndarray, names: list[str]) -> pa.DictionaryArray:
    """The `drop` column from reasons (n,) int: -1 stays, i goes because of names[i]."""
    codes = pa.array(reasons.astype(np.int8), mask=reasons < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))
