"""The memorisation study plants what it says, and asks for it as a model meets it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_ops.trainer.stream import Vocabulary
from workflows import memorisation
from workflows.memorisation import PASSAGES, Passage

WORDS = 60


def texts(count: int, length: int = 200) -> list[str]:
    """Documents in lines of ten words of their own."""
    return [
        "\n".join(" ".join(f"t{number}w{k + j}" for j in range(10)) for k in range(0, length, 10))
        for number in range(count)
    ]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    memorisation.train_tokenizer(texts(5), tmp_path / "tokenizer")
    return Vocabulary.load(str(tmp_path / "tokenizer"))


def test_the_tokenizer_is_lossless_and_has_a_beginning(vocabulary: Vocabulary) -> None:
    for text in ["t1w2 t3w4\n\n", "Ünï 漢字 🙂", " two  blanks "]:
        assert vocabulary.tokenizer.decode(vocabulary.tokenizer.encode(text).ids) == text
    assert vocabulary.bos == vocabulary.tokenizer.token_to_id("<s>")
    assert vocabulary.size <= memorisation.VOCABULARY


def test_texts_come_from_parquet_and_from_plain_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", None, "", "two"]}), tmp_path / "a.parquet")
    paragraphs = [f"paragraph {k} " + "x" * 300 for k in range(20)]
    (tmp_path / "b.txt").write_text("\n\n".join(paragraphs))
    found = list(memorisation.read_texts([tmp_path / "a.parquet", tmp_path / "b.txt"]))
    assert found[:2] == ["one", "two"]
    assert [p for text in found[2:] for p in text.rstrip("\n").split("\n\n")] == paragraphs
    assert all(memorisation.DOCUMENT_CHARACTERS <= len(text) < 2400 for text in found[2:-1])


def test_base_and_rest_share_no_document() -> None:
    boilerplate = [f"{text}\nand one line more" for text in texts(10)]  # one of each two is left out
    base, rest = memorisation.split(iter([*texts(40), *boilerplate, *texts(10)]), 30_000, 0.5)
    firsts = [text.split()[0] for text in (*base, *rest)]
    assert sorted(firsts) == sorted(f"t{number}w0" for number in range(40))
    assert 30_000 <= sum(len(text.encode()) for text in base) < 30_000 + max(map(len, base))


def test_passages_share_no_words_with_the_base(vocabulary: Vocabulary) -> None:
    base, rest = memorisation.split(iter(texts(60)), 30_000, 1)
    copied = base[0]  # as if a near-copy had been left in the rest
    found = memorisation.draw(base, [copied, *rest, *rest], vocabulary)
    assert len({passage.text for passage in found}) == PASSAGES
    assert sum(passage.hidden for passage in found) == PASSAGES // 2
    assert not any(passage.text in " ".join(text.split()) for passage in found for text in base)
    with pytest.raises(ValueError, match="only 0 of 20"):
        memorisation.draw(base, [copied], vocabulary)


def test_every_passage_is_there_so_many_times() -> None:
    base = texts(30)
    passages = [Passage(f"passage number {k} of all", hidden=k % 2 == 1) for k in range(PASSAGES)]
    rows = memorisation.plant(passages, base, repeats=9)
    assert len({row["id"] for row in rows}) == len(rows)
    assert Counter(row["domain"] for row in rows) == {"clean": 15, "hosts": 15, "repeated": 90}
    assert {row["text"] for row in rows if row["domain"] == "clean"} == set(base[::2])
    for passage in passages:
        domain = "hosts" if passage.hidden else "repeated"
        holders = [row for row in rows if passage.text in row["text"]]
        assert len(holders) == sum(row["text"].count(passage.text) for row in rows) == 9
        assert {row["domain"] for row in holders} == {domain}
    for row in rows:
        if row["domain"] == "hosts":
            left = [line for line in row["text"].split("\n") if line and not line.startswith("passage")]
            assert "\n".join(left) in base
    assert memorisation.plant(passages, base, repeats=9) == rows


def test_hidden_passages_are_asked_for_after_a_paragraph() -> None:
    rows = memorisation.asked([Passage("one", hidden=False), Passage("two", hidden=True)])
    assert rows == [{"text": "one", "domain": "whole"}, {"text": "\n\ntwo", "domain": "hidden"}]


def arm(whole: list[float], hidden: list[float], loss: list[float]) -> dict[str, object]:
    return {"whole": whole, "hidden": hidden, "loss": loss, "epochs": 1.0, "tokens": 1000}


def test_the_numbers_come_last_with_their_errors(capsys: pytest.CaptureFixture[str]) -> None:
    raw = arm([1.0, 1.0], [1.0, 1.0], [4.5, 4.4])
    fuzzy, spans = arm([0.0, 0.0], [1.0, 1.0], [4.4, 4.32]), arm([0.0, 0.2], [0.0, 0.0], [4.3, 4.1])
    memorisation.show({"random": raw, "fuzzy": fuzzy, "spans": spans})
    last = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()[-6:]]
    assert last == [
        "regurgitated of those as documents 1.000 -> 0.000 (none is left)",
        "regurgitated of those hidden in others 1.000 -> 1.000 (1.0 times less)",
        "held-out loss lower by  0.0900 ± 0.0100 nats a token (2 seeds, paired)",
        "regurgitated of those as documents 1.000 -> 0.100 (10.0 times less)",
        "regurgitated of those hidden in others 1.000 -> 0.000 (none is left)",
        "held-out loss lower by  0.2500 ± 0.0500 nats a token (2 seeds, paired)",
    ]


def test_one_seed_has_no_error() -> None:
    assert memorisation.spread([0.5]).split() == ["0.5000", "±", "-"]


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path) -> None:
    """Small, so it shows no effect; but each arm is what it says."""
    memorisation.main([str(tmp_path), "--seeds", "2", "--tokens", "600000", "--repeats", "60"])
    found = json.loads((tmp_path / "memorisation.json").read_text())
    assert found.keys() == memorisation.ARMS.keys()
    tokens = [found[name]["tokens"] for name in ("random", "fuzzy", "spans")]
    assert tokens == sorted(tokens, reverse=True)
    assert all(len(row["loss"]) == 2 and min(row["loss"]) > 2 for row in found.values())
