"""Which passages of a document are shown and cut."""

from __future__ import annotations

import pyarrow as pa
from memory_engine import World

from operators.contamination import Contamination
from operators.evaluation_ngrams import EvaluationNgrams

GRAMS = {"ngram": 3, "min_ngram": 2}


def looked_up(text: str, evaluation: list[str], **fields: object) -> dict[str, object]:
    side = World(pa.table({"text": pa.array(evaluation, pa.large_string())}), 10, None)
    side.execute("evaluation", EvaluationNgrams(**GRAMS), {})
    world = World(pa.table({"text": pa.array([text], pa.large_string())}), 10, None)
    world.artifacts.update(side.artifacts)
    world.execute("face", Contamination(**GRAMS, **fields), {"evaluation": "evaluation"})
    return {
        n.removeprefix("/face."): c[0].as_py() for n, c in world.columns.items() if n.startswith("/face.")
    }


def cut(text: str, evaluation: list[str], **fields: object) -> list[str]:
    cuts = looked_up(text, evaluation, action="cut", **fields)["cuts"] or []
    return [text.encode()[c["start"] : c["end"]].decode() for c in cuts]  # type: ignore[attr-defined]


def test_the_longest_passage_is_shown() -> None:
    text = "a b c; no: b c d, e no a b c"
    assert looked_up(text, ["z", "a b c d e"])["matched"] == "b c d, e"
    assert looked_up("a b c no b c d", ["a b c d"])["matched"] == "a b c"


def test_only_passages_of_the_row_that_is_named() -> None:
    out = looked_up("a b c then v w x y z", ["a b c then v", "q r"], min_overlap=2)
    assert (out["evaluation_row"], out["matched"], out["overlap"]) == (0, "a b c then v", 3)
    out = looked_up("p q r s t u v then a b", ["p q r s t u v w x y z 1 2 3", "a b"], min_share=1)
    assert (out["drop"], out["evaluation_row"], out["matched"]) == ("contaminated", 1, "a b")


def test_all_bad_rows_are_cut_and_no_others() -> None:
    text = "one a b c two d e f g three x y four"
    evaluation = ["a b c", "d e f z z z z z", "x y"]
    assert cut(text, evaluation) == ["a b c", "d e f", "x y"]
    assert cut(text, evaluation, min_share=0.5) == ["a b c", "x y"]
    assert cut(text, ["f g three x", "e f g"], min_overlap=2) == ["e f g three x"]


def test_margins_join_and_stop_at_the_ends() -> None:
    text = "é a b c 中 d e f"
    assert cut(text, ["a b c", "d e f"], margin=1) == [" a b c ", " d e f"]
    assert cut(text, ["a b c", "d e f"], margin=2) == [text]
