"""Adversarial filtering: of generated wrong endings, those that a discriminator takes for real ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.endings import Features, Game, features, first_choice, split
from gpu_ops.kernels.tokens import strings
from operators.contract import TEXT, Adds, Artifact, Columns, FitOp, Reads, Uses
from operators.kernels.counter import random_bits
from operators.kernels.lists import bounds
from operators.kernels.lookup import places

_STREAM = 0x73776167  # keeps apart from other operators that share a seed
_FOLDS = 5


class AdversarialFilter(FitOp):
    """Chooses, for every row, the generated endings that are hardest to tell from the real one.

    The method of SWAG (Zellers et al. 2018, arXiv 1808.05326, section 3): it makes multiple-choice sets
    without cheap stylistic clues. It filters distractors by a model; it removes no duplicates and drops no
    row. Every iteration trains a discriminator on a random part of the rows, real endings against those
    that are chosen now; in the other rows up to `replace` chosen ones that it scores below the real
    ending make way for others of the pool that it scores above it. It ends after `iterations`, or once
    the accuracy on held-out rows is at chance, 1 / (distractors + 1): going on would push it below, where the
    fakes can be told from real endings by looking more real (.06 to .11 after 50 iterations).

    `chosen` are the places in the pool, `distractors` their texts; `solved` says whether, in the end, a new
    discriminator that was not trained on the row still scores the real ending highest (5-fold): the
    share of `true` is its accuracy. Rows whose ending is null, or whose pool has fewer different texts than
    `distractors` (null, empty ones and the ending itself not counted), take no part and have nulls. All
    randomness depends on (seed, key). 1,500 rows with pools of 50 from a trigram model take 20 s of one
    core, from .586 to .255 (`workflows/adversarial.py`).

    The artifact has the accuracy on held-out rows before each iteration's replacements, `accuracy`, and how
    many there were, `replaced`. A filtered set is hard for the kind of discriminator that filtered it;
    another kind may do better. Needs scikit-learn. One job, which holds the texts and the sparse features of
    every candidate: some 24 bytes a word for `words`, 36 a character for `characters`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"ending": "text", "distractors": 1, "iterations": 3, "seed": 1},
        {"ending": "text", "context": "domain", "distractors": 2, "iterations": 2, "replace": 1, "seed": 2}
        | {"discriminators": ("words", "characters")},
    )

    ending: str = "ending"
    """The text column of real endings."""
    pool: str = "pool"
    """The column of generated endings: lists of strings."""
    context: str | None = None
    """The text column of what the endings continue: its last two words are read with them."""
    distractors: Annotated[int, Field(ge=1)] = 3
    """Generated endings that are chosen for a row."""
    iterations: Annotated[int, Field(ge=0)] = 50
    """Rounds of training and replacing at most."""
    replace: Annotated[int, Field(ge=1)] = 2
    """Endings at most that one iteration replaces in a row."""
    train_share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """The share of the rows on which an iteration trains."""
    discriminators: Annotated[tuple[Features, ...], Field(min_length=1)] = ("words",)
    """Logistic regressions on `words` (1- and 2-grams) or `characters` (2- to 4-grams within words); of
    several, the one that is best on the held-out rows decides, as in the paper."""
    seed: int | None = None
    """Seed of the splits and draws; the plan derives one from the run's seed and the node's name."""

    @property
    def reads(self) -> Reads:
        texts = {self.ending: TEXT, self.pool: pa.list_(TEXT)}
        context = {self.context: TEXT} if self.context else {}
        return {"uid": pa.int64(), "key": pa.uint64(), **texts, **context}

    @property
    def adds(self) -> Adds:
        return {"chosen": pa.list_(pa.int32()), "distractors": pa.list_(TEXT), "solved": pa.bool_()}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact, for n rows that took part, by uid: `uid`, `chosen` (n, distractors) int32, `solved`;
        and `accuracy`, `replaced`, one number an iteration."""
        gathered = [row for batch in rows for row in self._rows(batch)]
        gathered.sort(key=lambda row: (row[1], row[0]))
        uid, key = (
            np.array([row[i] for row in gathered], kind) for i, kind in ((0, np.int64), (1, np.uint64))
        )
        if len(uid) < 2:
            gathered, uid, key = [], uid[:0], key[:0]
        luck = random_bits((self.seed or 0) ^ _STREAM, key.astype(np.uint64))
        first = np.cumsum([0, *(len(row[2]) for row in gathered)])
        texts = [text for row in gathered for text in row[2]]
        game = Game(first, first_choice(first, self.distractors, luck), self._features(texts))
        history = list(self._iterate(game, luck)) if len(uid) else []
        solved = self._solved(game, luck)
        numbers = np.array([-1 if i is None else i for row in gathered for i in row[3]], np.int32)
        order = np.argsort(uid)
        return {
            "uid": uid[order],
            "chosen": numbers[game.chosen][order] if len(uid) else np.zeros((0, self.distractors), np.int32),
            "solved": solved[order],
            "accuracy": np.array([accuracy for accuracy, _ in history]),
            "replaced": np.array([count for _, count in history], np.int64),
        }

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        uid, known, count = np.asarray(batch.column("uid")), state["uid"], self.distractors
        place, part = places(uid, known)
        chosen, solved = np.zeros((len(uid), count), np.int32), np.zeros(len(uid), bool)
        chosen[part], solved[part] = state["chosen"][place[part]], state["solved"][place[part]]
        pool = batch.column(self.pool)
        starts, _ = bounds(pool)
        texts = pool.values.take(pa.array((starts[part, None] + chosen[part]).reshape(-1)))
        ends = pa.array(np.concatenate([[0], np.cumsum(part)]) * count, pa.int32())
        numbers = pa.array(chosen[part].reshape(-1))
        absent = pa.array(~part)
        return {
            "chosen": pa.ListArray.from_arrays(ends, numbers, mask=absent),
            "distractors": pa.ListArray.from_arrays(ends, texts, mask=absent),
            "solved": pa.array(solved, mask=~part),
        }

    def _rows(self, batch: pa.RecordBatch) -> Iterator[tuple[int, int, list[str], list[int | None]]]:
        """(uid, key, texts of the candidates, their places in the pool) of the rows that take part."""
        real, pool = batch.column(self.ending), batch.column(self.pool)
        contexts = strings(batch.column(self.context)) if self.context else [""] * batch.num_rows
        ahead = [" ".join([*text[-1000:].split()[-2:], ""]) for text in contexts]
        starts, lengths = bounds(pool)
        uid, key = (batch.column(name).to_pylist() for name in ("uid", "key"))
        for row, ending in enumerate(strings(real)):
            made = strings(pool.values.slice(int(starts[row]), int(lengths[row])))
            places = {text: place for place, text in reversed(list(enumerate(made)))}
            fakes = sorted(place for text, place in places.items() if text and text != ending)
            if real[row].is_valid and len(fakes) >= self.distractors:
                texts = [ahead[row] + text for text in (ending, *(made[place] for place in fakes))]
                yield uid[row], key[row], texts, [None, *fakes]

    def _features(self, texts: list[str]) -> list[Any]:
        return [features(texts, kind) for kind in self.discriminators] if texts else []

    def _iterate(self, game: Game, luck: Any) -> Iterator[tuple[float, int]]:
        """For each iteration the accuracy on held-out rows, and how many endings were replaced there."""
        for stream in range(1, 4 * self.iterations, 4):
            train = split(luck, self.train_share, stream)
            score, solved = game.play(train)
            accuracy = float(solved[~train].mean())
            if accuracy <= 1 / (1 + self.distractors):
                yield accuracy, 0
                return
            yield accuracy, game.replace(score, np.flatnonzero(~train), luck, self.replace, stream + 1)

    def _solved(self, game: Game, luck: Any) -> Any:
        """(n,) whether a discriminator that was not trained on the row finds its real ending."""
        solved = np.zeros(len(luck), bool)
        for fold in np.array_split(np.argsort(luck, kind="stable"), min(_FOLDS, len(luck)) or 1):
            train = np.ones(len(luck), bool)
            train[fold] = False
            if len(fold):
                solved[fold] = game.play(train)[1][fold]
        return solved
