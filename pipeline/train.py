"""The training comparison of a run: what each arm trains on, drawn anew for every seed, and the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import guard
from pipeline.catalog import find
from pipeline.config import Config, NodeConfig, TrainSection
from pipeline.drive import Driver, file_bounds, run_phases
from pipeline.engine import Engine
from pipeline.errors import ConfigError, DataError, ResourceError
from pipeline.export import MARK, Export, identity, write_export
from pipeline.graph import Graph
from pipeline.nodes import MAIN, SIZE, Node, Wish
from pipeline.ordered import chunk_bytes
from pipeline.progress import Progress
from pipeline.store import key_of
from pipeline.tasks import Done
from pipeline.units import short
from pipeline.view import Alive, Column

if TYPE_CHECKING:
    from gpu_ops.trainer.config import TrainConfig
    from pipeline.run import Run

# A token of any usual vocabulary is shorter than this on average, so that a sample of so many bytes
# a token always holds the tokens that are wanted.
MOST_BYTES_PER_TOKEN = 8
FILE_BYTES = 256_000_000
PLACEBO = "placebo_scores"
PATHS = ("init", "tokenizer", "reference", "folder", "passages")  # settings of the trainer that are paths


def train(run: Run, engine: Engine, section: TrainSection) -> dict[str, Any]:
    """Export every arm's documents for every seed, train on each, compare on the held-out documents.

    The subsets are drawn anew for every seed: seed 0 is the run's own selection, the others have
    other noise in whatever the config leaves to chance. Raises ConfigError for arms that cannot be."""
    from gpu_ops.trainer.compare import Arm, compare
    from gpu_ops.trainer.config import TrainConfig

    config = TrainConfig(**resolved(section.trainer, run.config.base))
    study = Study(run, engine, section, config)
    config = TrainConfig(**study.joined(config.model_dump()))
    seeds = list(range(section.seeds)) if isinstance(section.seeds, int) else list(section.seeds)
    holdout = study.holdout()
    arms = [
        Arm(
            name,
            {seed: study.folder(data, seed) for seed in seeds},
            study.shuffled(data),
            study.joined(settings),
        )
        for name, (data, settings) in _arms(section, run.config.base).items()
    ]
    run.progress.note(f"train: {len(arms)} arms x {len(seeds)} seeds, {_budget(config)} each")
    place = f"compare-{key_of(section.model_dump(), seeds)}"
    run.ledger.hold(folder=f"train/{place}")
    out = str(study.root / place)
    with told_apart():
        return compare(config, arms, seeds, holdout, out, engine.workers, shown(run.progress))


@contextmanager
def told_apart() -> Iterator[None]:
    """The trainer's errors as those with an exit code: losses that are no numbers, settings that do not fit
    and packages that are missing are a matter of the config, and a process that died may go on."""
    from gpu_ops.trainer.config_parts import Unfit
    from gpu_ops.trainer.job import Died

    try:
        yield
    except (FloatingPointError, ModuleNotFoundError, Unfit) as error:
        raise ConfigError(str(error)) from error
    except (FileNotFoundError, ValueError) as error:
        raise DataError(str(error)) from error
    except Died as error:
        raise ResourceError(str(error)) from error


def _arms(section: TrainSection, base: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """For each arm what it trains on, and which settings are its own."""
    found: dict[str, tuple[str, dict[str, Any]]] = {n: (n, {}) for n in [*section.compare, section.input]}
    for name, settings in section.arms.items():
        own = {key: value for key, value in settings.items() if key != "input"}
        found[name] = (settings.get("input") or section.input, resolved(own, base))
    return found


def resolved(fields: dict[str, Any], base: Path) -> dict[str, Any]:
    """Paths of checkpoints, tokenizers and data as seen from the config's folder, also in nested settings."""
    return {
        name: resolved(value, base)
        if isinstance(value, dict)
        else [resolved(one, base) if isinstance(one, dict) else one for one in value]
        if isinstance(value, list)
        else str(base / value)
        if name in PATHS and value
        else value
        for name, value in fields.items()
    }


def shown(progress: Progress) -> Callable[[dict[str, Any]], None]:
    """The trainer's events as lines of a display."""
    last: dict[str, int] = {}

    def show(event: dict[str, Any]) -> None:
        name = f"train {event['arm']}-{event['seed']}"
        if name not in last:
            last[name] = event["step"] - 1
            progress.start(name, event["steps"], "steps", last[name])
        progress.advance(name, event["step"] - last[name])
        last[name] = event["step"]
        if event["step"] == event["steps"]:
            progress.finish(name, f"loss {event['loss']:.3f}, {short(event['tokens_per_s'])} tokens/s")

    return show


class Study:
    """The exports that the arms of a comparison train on."""

    def __init__(self, run: Run, engine: Engine, section: TrainSection, config: TrainConfig) -> None:
        self.run, self.engine, self.section, self.trainer = run, engine, section, config
        # Training reads local files: a store elsewhere is mirrored to the folder of the config.
        store = run.store
        self.root = Path(store.root if store.is_local else run.config.base / ".tamis-train") / "train"
        self.root.mkdir(parents=True, exist_ok=True)
        holdouts = [node.name for node in run.config.nodes if node.op == "holdout"]
        self.reserved = section.holdout or holdouts[0]  # `check_train` has seen that there is one

    def shuffled(self, name: str) -> bool:
        """Whether an arm's documents have no order of their own."""
        if name in ("random", "placebo", "shuffled"):
            return True
        return self.run.graph.order_above(name) is None

    def holdout(self) -> str:
        """The folder of the documents that were reserved."""
        node = self.run.graph.nodes[self.reserved]
        if not node.drops:
            raise ConfigError(
                f"{self.run.config.where('train')}: {self.reserved} drops nothing, so it reserves nothing"
            )
        taken = Alive("dropped", node.name, node.key, node.positional, (node.after,))
        return self._write(self.run.graph, taken, node.name, ordered=False)

    def joined(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Settings with the nodes of `joint` as folders of their documents, the same for every seed."""
        parts = [
            {**part, "input": None, "folder": self.folder(part["input"], 0, labelled=False)}
            if part.get("input")
            else part
            for part in fields.get("joint") or ()
        ]
        return {**fields, "joint": parts} if parts else fields

    def folder(self, name: str, seed: int, labelled: bool = True) -> str:
        """The folder of an arm's documents for one seed. labelled: with the columns that are learned from."""
        config = replace(self.run.config, seed=_seed(self.run.config.seed, seed))
        match name:
            case "random":
                graph, node = self._random(config)
            case "placebo":
                graph, node = self._placebo(config)
            case "shuffled":
                graph, node = Graph(config, self.run.sources), self.section.input
                graph.build()
            case _:
                graph, node = Graph(config, self.run.sources), name
                graph.build()
                if node not in graph.nodes:
                    raise ConfigError(f"{config.where('train')}: no node {name!r} to train on")
        self._compute(graph, node)
        after, ordered = graph.nodes[node].after, not self.shuffled(name)
        return self._write(graph, after, node, ordered, labelled)

    def _random(self, config: Config) -> tuple[Graph, str]:
        """Documents drawn from the raw corpus, the reserved ones left out."""
        graph = Graph(config, self.run.sources)
        graph.build()
        wish = Wish("train/random", "random_key", {"seed": int(key_of(config.seed, "train/random")[:15], 16)})
        graph.add(wish, (self.reserved,))
        by = {"by": "train/random.priority", "reason": "not_drawn"}
        cut = Wish("train/random/cut", "cut", {**by, **self._needed()})
        graph.add(cut, ("train/random",))
        return graph, "train/random/cut"

    def _needed(self) -> dict[str, Any]:
        """The documents that a random arm needs for the budget, as `cut` takes it: for epochs as many as the
        selection of the run has."""
        trainer = self.trainer
        if trainer.epochs is not None:
            return {"keep_rows": self._rows_of_input()}
        if trainer.objective == "classification" and trainer.examples is not None:
            return {"keep_rows": trainer.examples}
        tokens = trainer.tokens or (trainer.examples or 0) * trainer.seq_len
        return {"keep_weight": tokens * MOST_BYTES_PER_TOKEN, "weight": f"{SIZE}.bytes"}

    def _rows_of_input(self) -> int:
        mark = Path(self.folder(self.section.input, 0)) / MARK
        return int(json.loads(mark.read_text("utf-8"))["rows"])

    def _placebo(self, config: Config) -> tuple[Graph, str]:
        """The selection with its scores dealt to other documents at random."""
        chooser = self._chooser(config)
        scores = replace(
            chooser, name=PLACEBO, op="permute", spec=find("permute", config.base), uses={},
            fields={"column": chooser.fields["score"]}, input=config.inputs(chooser.name),
        )  # fmt: skip
        fields = {**chooser.fields, "score": f"{PLACEBO}.value"}
        placebo = replace(chooser, input=(PLACEBO,), fields=fields, join="all")
        nodes = tuple(placebo if node.name == chooser.name else node for node in config.nodes)
        graph = Graph(replace(config, nodes=(*nodes, scores)), self.run.sources)
        graph.build()
        return graph, chooser.name

    def _chooser(self, config: Config) -> NodeConfig:
        """The node nearest above the training input that chooses by a score."""
        waiting = [self.section.input]
        while waiting:
            name = waiting.pop(0)
            node = next((n for n in config.nodes if n.name == name), None)
            if node is None:
                continue
            if "score" in node.fields:
                return node
            waiting += config.inputs(name)
        raise ConfigError(
            f"{config.where('train')}: a placebo permutes the scores of a node such as importance, and none "
            f"is above {self.section.input}; leave placebo out of compare"
        )

    def _compute(self, graph: Graph, name: str) -> None:
        """Whatever of the variant the store does not have yet."""
        wanted: dict[str, Node] = {}
        waiting = [name, SIZE]
        while waiting:
            node = graph.nodes[waiting.pop()]
            if node.name not in wanted:
                wanted[node.name] = node
                waiting += [n for n in (*node.needs, *node.inputs) if n in graph.nodes]
        nodes = [n for n in graph.nodes.values() if n.name in wanted]
        self.run.ledger.hold(nodes)
        run_phases(self._driver(graph), nodes, _ignore)

    def _driver(self, graph: Graph) -> Driver:
        main = self.run.driver
        return Driver(graph, self.run.store, self.engine, main.device, main.batch_rows, allow=(guard.ALL,))

    def _write(self, graph: Graph, alive: Alive, node: str, ordered: bool, labelled: bool = True) -> str:
        """An export of some rows in a folder named by what it holds."""
        order = graph.order_above(node) if ordered else None
        store, manifest = self.run.store, self.run.sources[MAIN]
        above = (node,) if alive.kind != "dropped" else graph.nodes[node].inputs
        edits = graph.edits(above)
        columns = self._columns(graph, node) if labelled else {}
        plain = Export(store, manifest, alive, "", "parquet", order, columns, (), FILE_BYTES, edits=edits)
        key = identity(plain)
        export = replace(plain, path=str(self.root / "data" / key), key=key)
        if order is not None:
            bounds, size = file_bounds(self._driver(graph), node, FILE_BYTES, _ignore)
            export = replace(export, bounds=bounds, chunk=chunk_bytes(size))
        self.run.ledger.hold(folder=f"train/data/{key}")
        if not write_export(export, self.engine.run)["rows"]:
            what = "reserved no document" if alive.kind == "dropped" else "leaves no document"
            raise ConfigError(
                f"{self.run.config.where('train')}: {node} {what}, so there is nothing to train or test on"
            )
        return export.path

    def _columns(self, graph: Graph, node: str) -> dict[str, Column]:
        """The columns of nodes that are learned from, beside the source's own."""
        names = [name for name in (self.trainer.label, self.trainer.features) if name]
        found = {name: graph.column_above(name, node) for name in names}
        return {name: column for name, column in found.items() if column.origin == "node"}


def _budget(config: TrainConfig) -> str:
    """What every run is trained for."""
    for name in ("tokens", "examples"):
        if (count := getattr(config, name)) is not None:
            return f"{count:,} {name}"
    return f"{config.epochs:g} epochs"


def _seed(seed: int, number: int) -> int:
    """The run's own seed first, then others that follow from it."""
    return seed if number == 0 else int(key_of("train", seed, number)[:15], 16)


def _ignore(node: Node, done: Done, which: dict[str, Any]) -> None:
    """The variants' work is not booked: it is the comparison's, not the run's."""
