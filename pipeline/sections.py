"""The sections of a config as models: what each key takes and means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from pipeline.allotment import FLOOR
from pipeline.catalog import OpSpec
from pipeline.engine import Resources
from pipeline.errors import ConfigError
from pipeline.sizes import parse_bytes
from pipeline.unify import arrow_type

NAME = r"[a-z][a-z0-9_]*"
RESERVED = ("source", "last")
ARMS = ("random", "placebo", "shuffled")


def _bytes(value: Any) -> Any:
    return parse_bytes(value) if isinstance(value, str) else value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _same_names(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    return {name: name for name in names} if isinstance(names, list) else value


def _json(*alternatives: dict[str, Any], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(alternatives), **more})


STRING = {"type": "string"}
STRINGS = {"type": "array", "items": STRING}
Size = Annotated[
    int,
    BeforeValidator(_bytes),
    Field(ge=1),
    _json({"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[0-9._]+ *[kMGTP]?i?B?$"}),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(min_length=1), _json(STRING, STRINGS)]
Uses = Annotated[
    dict[str, str],
    BeforeValidator(_same_names),
    _json(STRING, STRINGS, {"type": "object", "additionalProperties": STRING}),
]


class Section(BaseModel):
    """A part of the config: frozen, and nothing in it is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SourceConfig(Section):
    """Where the documents come from."""

    path: str | list[str]
    """Files: a glob, a folder or a URL, or a list of them; relative to the config's folder."""
    text: str = "text"
    """The column that holds the document."""
    id: str | None = None
    """The column that names the document; without it the position in the source does."""
    types: dict[str, str] | None = Field(None, alias="schema")
    """Column -> Arrow type, where files disagree or a type is to be another one."""
    format: Literal["auto", "parquet", "arrow", "jsonl", "csv"] = "auto"
    """The files' format; auto goes by their names."""
    shard_bytes: Size | None = None
    """How much of the source one shard holds, such as 256MB."""

    @field_validator("path")
    @classmethod
    def _some_path(cls, path: str | list[str]) -> str | list[str]:
        if not path or not all(path):
            raise ValueError("an empty path; name files, such as data/*.parquet")
        return path

    @field_validator("types")
    @classmethod
    def _arrow_types(cls, types: dict[str, str] | None) -> dict[str, str] | None:
        for column, name in (types or {}).items():
            try:
                arrow_type(name)
            except ConfigError:
                raise ValueError(
                    f"{column}: {name!r} is no Arrow type; such are string, int64, float, list<string>"
                ) from None
        return types

    @property
    def schema(self) -> dict[str, str] | None:  # type: ignore[override]
        """The `schema` of the config; the name is taken by an old method of pydantic's."""
        return self.types


class ResourcesSection(Section):
    """What a node may use: execution only, never part of what it computes."""

    workers: int | None = Field(None, ge=1)
    """Model copies or tasks at a time."""
    gpus: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Devices, or a share of one, for each worker."""
    batch: int | None = Field(None, ge=1)
    """Rows that the operator gets at once."""
    device: str | None = Field(None, pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")
    """auto, cpu, cuda or cuda:1."""


class NodeSection(Section):
    """One step. Beside these keys it takes the fields of its operator."""

    op: str
    """The operator: a name of `tamis ops`, or the path of a file such as ./my_op.py."""
    input: Names | None = None
    """The nodes (or sources) that give the rows; the node above when it is left out. Of several, the
    rows that all of them keep."""
    join: Literal["all", "any"] = "all"
    """Whether a row must be alive in all inputs, or in any."""
    uses: Uses = Field(default_factory=dict)
    """Artifacts: the name that the operator knows -> the node that makes it; one name when both agree."""
    resources: ResourcesSection = ResourcesSection()
    """Execution only: workers, gpus, batch, device."""
    on_error: Literal["stop", "quarantine"] = "stop"
    """Stop the run, or set the rows aside on which the operator fails."""
    max_drop_share: float | None = Field(None, ge=0, le=1)
    """The run stops where the node would drop more than this share of the documents of one source, told
    apart by a column such as `domain` or `source` where there is one; `--allow NODE` goes on. Deduplication
    has 0.95 unless it is given here (then sources of fewer than 100 documents are judged as well)."""


PACKED_ONLY = ("tokenizer", "seq_len", "packing", "window", "labels")
_IF_PACKED: dict[str, Any] = {
    "if": {"properties": {"format": {"const": "packed"}}, "required": ["format"]},
    "then": {"required": ["tokenizer", "seq_len"]},
    "else": {"properties": dict.fromkeys(PACKED_ONLY, False)},
}


class ExportConfig(Section):
    """Where the kept documents go, in their order."""

    model_config = ConfigDict(json_schema_extra=_IF_PACKED)

    input: str | None = None
    """The node whose rows are written; the last one when it is left out."""
    path: str
    """A folder or URL, relative to the config's folder."""
    format: Literal["parquet", "arrow", "jsonl.zst", "index", "packed"] = "parquet"
    """index writes the order and ids only, over the untouched source; packed writes training sequences of
    token ids as Parquet (`input_ids`, `position_ids`, and which documents they are of)."""
    columns: list[str] | None = None
    """Computed columns to write beside the document, such as loss.loss."""
    file_bytes: Size = 256_000_000
    """The size at which the next file begins."""
    dropped: str | None = None
    """A folder for the dropped rows, with reason and evidence."""
    tokenizer: str | None = None
    """packed: a folder with tokenizer.json, such as a model's, relative to the config's folder. Its BOS goes
    before each document, or where there is none its EOS after."""
    seq_len: int | None = Field(None, ge=2)
    """packed: the tokens of a sequence."""
    packing: Literal["best_fit", "concatenate"] = "best_fit"
    """packed: best_fit cuts only documents longer than a sequence; concatenate pads only the last sequence
    of a file, and cuts a document at every sequence's end. Attention stays inside a document either way."""
    window: int = Field(10_000, ge=1)
    """packed, best_fit: consecutive documents that are placed together. An order survives up to this;
    smaller ones pad more. No window goes beyond a file."""
    labels: bool = False
    """packed: also write `labels`, input_ids with -100 wherever position_ids is 0, for trainers that take
    them from the data; they double the bytes."""

    @model_validator(mode="after")
    def _packed_or_not(self) -> Self:
        given = self.model_fields_set.intersection(PACKED_ONLY)
        if self.format != "packed":
            if given:
                raise ValueError(f"{min(given)} is of format: packed, and the format is {self.format}")
            return self
        missing = [name for name in ("tokenizer", "seq_len") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"format: packed needs {' and '.join(missing)}")
        if self.columns:
            raise ValueError(f"format: packed has no place for the column {self.columns[0]} of a document")
        if "window" in given and self.packing == "concatenate":
            raise ValueError("window is of packing: best_fit; concatenate keeps the order as it is")
        return self


class TrainSection(Section):
    """Trains on the result and on what it is compared with. Every other key goes to the trainer."""

    input: str
    """The node whose rows the model is trained on."""
    holdout: str | None = None
    """The node whose drop reason `holdout` gives the evaluation rows."""
    compare: list[str] = []
    """The arms: random, placebo, shuffled, or nodes."""
    arms: dict[str, dict[str, Any]] = {}
    """More arms by name: each an `input` (a node, random, placebo or shuffled; else the section's) and
    settings of the trainer that are other than the section's, such as `{input: random, lr: 1e-3}`."""
    seeds: int | list[int] = 3
    """How many seeds, or which ones."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """The trainer's own settings; a config writes them beside the keys above, without this key."""

    @property
    def inputs(self) -> list[str]:
        """What the arms train on: nodes, random, placebo or shuffled."""
        own = [str(arm.get("input") or self.input) for arm in self.arms.values()]
        return list(dict.fromkeys([self.input, *self.compare, *own]))


class TopSection(Section):
    """The keys of a config that are plain values."""

    seed: int = Field(0, ge=0, lt=2**63)
    """All randomness is a function of this number, the node's name and the document."""
    store: str | None = None
    """Folder or URL of computed columns; `.tamis` beside the config when it is left out."""
    memory: Annotated[Size, Field(ge=FLOOR)] | None = None
    """What each worker may take, such as 2GiB; how a run is run, never what comes of it. `--memory` overrules
    it; without either workers share the machine."""
    redact: bool = False
    """Logs, reports and `tamis why` show no text and no id of a document, but lengths and hashes."""


@dataclass(frozen=True)
class NodeConfig:
    """One node: which operator, over which rows, with which fields (counts such as 150k are numbers)."""

    name: str
    op: str
    spec: OpSpec
    input: tuple[str, ...] | None
    join: Literal["all", "any"]
    uses: dict[str, str]
    fields: dict[str, Any]
    resources: Resources
    on_error: Literal["stop", "quarantine"]
    line: int
    max_drop_share: float | None = None
