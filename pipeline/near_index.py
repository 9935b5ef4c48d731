"""A near-duplicate index on disk: a folder that grows by whole parts, of which each version stays valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.contract import Recipe
from operators.kernels.minhash import scheme
from operators.kernels.near_index import Index
from operators.kernels.near_part import DAMAGED, FORMAT, Part
from operators.minhash_signature import MinhashSignature
from pipeline.config import NodeConfig
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest
from pipeline.store import Store, _digest

VERSIONS, PARTS, DATA, SCRATCH = "versions", "parts", "data", "scratch"


@dataclass(frozen=True)
class State:
    """One version of an index: its number (0: nothing was added yet) and the names of its parts in order."""

    number: int = 0
    parts: tuple[str, ...] = ()


class NearIndex:
    """The folder `versions/`, `parts/`, `data/` of an index.

    Parts and data never change and are named by their content; a version names its parts, the highest
    number is the index as it is. A version is committed at once or not at all, and only by one."""

    def __init__(self, path: str | Path) -> None:
        if "://" in str(path):
            raise ConfigError(
                f"{path}: an index is mapped into memory: copy it to a folder that all workers see"
            )
        self.store = Store(str(Path(path).expanduser().resolve()))
        self.path = self.store.url

    def state(self) -> State:
        """The newest version; DataError when it cannot be read."""
        names = self.store.list(VERSIONS)
        if not names:
            return State()
        try:
            record = self.store.record(names[-1])
            if record is None:
                raise ValueError("somebody has just deleted it")
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']!r}, this tamis reads {FORMAT!r}")
            return State(int(Path(names[-1]).stem), tuple(map(str, record["parts"])))
        except (DataError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.store.path(names[-1])} cannot be read ({error}); if it is damaged, delete it: the "
                "version before it is whole"
            ) from error

    def existing(self) -> State:
        """The newest version; ConfigError where there is no index."""
        state = self.state()
        if not state.number:
            raise ConfigError(f"{self.path} is no near-duplicate index; make one with `tamis index add`")
        return state

    def commit(self, before: State, parts: Sequence[str]) -> State:
        """The version after `before`; ConfigError when somebody else was quicker."""
        number = before.number + 1
        record = {"format": FORMAT, "parts": list(parts)}
        if not self.store.commit_record(f"{VERSIONS}/{number:06d}.json", record):
            raise ConfigError(
                f"{self.path} has changed meanwhile: somebody else added to it; run the config again, and add"
            )
        return State(number, tuple(parts))

    def part_path(self, name: str) -> str:
        return self.store.path(f"{PARTS}/{name}.json")

    def paths(self, state: State) -> tuple[str, ...]:
        """The files of a version's parts."""
        return tuple(self.part_path(name) for name in state.parts)

    def open(self, state: State) -> Index:
        """All parts; DataError when one is missing or damaged."""
        return opened(self.paths(state))


def prune(index: NearIndex) -> int:
    """Delete what the newest version does not need; the bytes that are free again.

    Runs that met an older version cannot be looked into by `tamis why` any more. Raises ConfigError
    while documents are being added."""
    state, store = index.existing(), index.store
    if store.list(SCRATCH):
        raise ConfigError(
            f"documents are being added to {index.path}, or an addition was killed: let `tamis index add` "
            f"finish, or delete {store.path(SCRATCH)}, then prune"
        )
    parts = index.open(state).parts
    needed = {f"{VERSIONS}/{state.number:06d}.json", *(f"{PARTS}/{name}.json" for name in state.parts)}
    needed |= {f"{DATA}/{name}" for part in parts for name, _ in files_of(part.record)}
    gone = [name for folder in (VERSIONS, PARTS, DATA) for name in store.list(folder) if name not in needed]
    freed = sum(Path(store.path(name)).stat().st_size for name in gone)
    for name in gone:
        store.delete(name)
    return freed


def opened(paths: Sequence[str]) -> Index:
    """The parts as an index, every file of them there and as long as it was; DataError says which is not."""
    try:
        index = Index(paths)
    except ValueError as error:
        raise DataError(str(error)) from error
    for part in index.parts:
        for name, size in files_of(part.record):
            path = Path(part.data, name)
            if not path.is_file() or path.stat().st_size != size:
                what = f"has not its {size} bytes" if path.is_file() else "is missing"
                raise DataError(f"{path} {what}: {DAMAGED}")
    return index


def files_of(record: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """(name, bytes) of a part's data files."""
    for docs in record["docs"]:
        if docs["rows"]:
            yield docs["docs"], docs["docs_bytes"]
            yield docs["sketch"], docs["sketch_bytes"]
    for keys in record["keys"]:
        yield keys["file"], keys["bytes"]
    if record["removes"] is not None:
        yield record["removes"]["file"], record["removes"]["bytes"]


def check_content(part: Part) -> None:
    """Reads all files of a part; DataError names the one whose content is not what was written."""
    for name, _ in files_of(part.record):
        path = str(Path(part.data, name))
        if _digest(path, name) != Path(name).stem:
            raise DataError(f"the content of {path} does not match its name: {DAMAGED}")


def signing(signature: MinhashSignature) -> dict[str, Any]:
    """What a part says of its signatures: the name of their scheme, and the fields that make it up."""
    shape = {name: getattr(signature, name) for name in ("permutations", "bands", "rows", "seed")}
    fields = signature.model_dump(exclude={"column"})
    return {"scheme": scheme(signature.shingling(), **shape), "fields": fields}


def signature_from(part: Part, path: str) -> MinhashSignature:
    """The operator that makes such signatures; DataError when this tamis makes others."""
    signature = MinhashSignature.model_validate(part.record["signing"]["fields"])
    if signing(signature)["scheme"] != part.scheme:
        raise DataError(
            f"{path} holds signatures of the scheme {part.scheme}, and this version of tamis makes others: "
            "build the index anew with `tamis index add`"
        )
    return signature


def check_scheme(part: Part, signature: MinhashSignature, index: str, where: str) -> None:
    """Raises ConfigError that says in what the signatures of an index and of a node differ."""
    mine, its = signing(signature), part.record["signing"]
    if mine["scheme"] == its["scheme"]:
        return
    names = [name for name in mine["fields"] if its["fields"].get(name) != mine["fields"][name]]
    differ = "; ".join(f"{n}: {its['fields'].get(n)} there, {mine['fields'][n]} here" for n in names)
    if names:
        fields = ", ".join(f"{name}: {its['fields'].get(name)}" for name in names)
        advice = f"({differ}); give the node {fields}, or make an index of its own for it"
    else:
        advice = (
            f"({its['scheme']} there, {mine['scheme']} here): another version of tamis made it, build it anew"
        )
    raise ConfigError(f"{where}: the signatures in {index} cannot be compared with this node's {advice}")


def own_parts(parts: Sequence[Part], manifest: Manifest, index: str) -> list[Part]:
    """The parts that were made of this very source: a run must not meet its own documents in an index."""
    shards = {shard.id for shard in manifest.shards}
    own = []
    for part in parts:
        theirs = {docs["shard"] for docs in part.record["docs"]}
        if theirs and theirs <= shards:
            own.append(part)
        elif theirs & shards:
            raise ConfigError(
                f"{len(theirs & shards)} of {len(theirs)} shards of part {part.name} of the index {index} "
                "belong to this source: run over all files that the part was made of, or give an index "
                "without them"
            )
    return own


def signature_of(node: NodeConfig) -> MinhashSignature:
    """The operator that signs for a recipe."""
    recipe = node.spec.build(node.fields)
    assert isinstance(recipe, Recipe)
    return next(MinhashSignature(**part.fields) for part in recipe.parts() if part.op == "minhash_signature")
