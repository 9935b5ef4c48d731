"""Substring deduplication: the whole recipe against brute force, a suffix array, and hostile texts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, emitted, find, run
from pydantic import ValidationError
from pydivsufsort import divsufsort, kasai

from operators.contract import ReduceOp
from operators.kernels.cuts import apply_cuts
from operators.kernels.tokens import reference as tokens_of
from operators.substring_dedup import SubstringDedup

SAMPLE = Path(__file__).parent.parent.parent / "configs" / "quickstart" / "sample" / "part-0.parquet"
WORDS = [f"w{i}" for i in range(200)]


def table(texts: list[str | None]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.large_string())})


def left(texts: list[str | None], **fields: object) -> list[str | None]:
    """The texts after the cuts; None for those that go."""
    out = run(SubstringDedup(**fields), table(texts), 3)
    after = apply_cuts(table(texts)["text"].combine_chunks(), out["cuts"].combine_chunks()).to_pylist()
    return [None if reason else text for reason, text in zip(out["drop"].to_pylist(), after, strict=True)]


def words(first: int, last: int, between: str = " ") -> str:
    return between.join(WORDS[first:last])


def by_definition(texts: list[list[str]], length: int) -> set[tuple[int, int]]:
    """(text, token) of every token that goes, with a dictionary of all windows."""
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    gone = set()
    for uid, tokens in enumerate(texts):
        for i in range(len(tokens) - length + 1):
            source, place = first.setdefault(tuple(tokens[i : i + length]), (uid, i))
            if source < uid or i - place >= length:
                gone |= {(uid, k) for k in range(i, i + length)}
    return gone


def gone_tokens(texts: list[list[bytes]], joined: list[bytes], cuts: list) -> set[tuple[int, int]]:
    """(text, token) of every token that begins inside a cut; every cut begins and ends between tokens."""
    gone = set()
    for uid, (tokens, text, mine) in enumerate(zip(texts, joined, cuts, strict=True)):
        at, spans = 0, []
        for token in tokens:
            at = text.index(token, at)
            spans.append((at, at + len(token)))
            at += len(token)
        for one in mine or []:
            inside = [i for i, (a, _) in enumerate(spans) if one["start"] <= a < one["end"]]
            assert all(b <= one["end"] for _, b in (spans[i] for i in inside))
            gone |= {(uid, i) for i in inside}
    return gone


LETTERS = st.lists(st.lists(st.sampled_from("aabc中."), max_size=40), max_size=6)


@settings(max_examples=60)
@given(LETTERS, st.integers(2, 7), st.integers(0, 3), st.lists(st.integers(0, 7), max_size=3))
def test_a_token_goes_if_and_only_if_a_window_of_it_stands_wholly_before(
    texts: list[list[str]], length: int, alike: int, cut: list[int]
) -> None:
    texts = texts + [tokens[i : i + 25] for i, tokens in enumerate(texts[:alike])]
    joined = [" ".join(tokens) for tokens in texts]
    out = run(SubstringDedup(length=length), table(joined), cut=sorted(cut))
    encoded = [[token.encode() for token in tokens] for tokens in texts]
    gone = gone_tokens(encoded, [text.encode() for text in joined], out["cuts"].to_pylist())
    assert gone == by_definition(texts, length)
    whole: dict[tuple[str, ...], tuple[int, int]] = {}
    for uid, tokens in enumerate(texts):
        for i in range(len(tokens) - length + 1):
            if not gone & {(uid, k) for k in range(i, i + length)}:
                source, place = whole.setdefault(tuple(tokens[i : i + length]), (uid, i))
                assert source == uid
                assert i - place < length
    for uid, tokens in enumerate(texts):
        everything = tokens and {(uid, i) for i in range(len(tokens))} <= gone
        assert (out["drop"][uid].as_py() == "too_short_after_substring_dedup") == bool(everything)


def by_suffix_array(texts: list[list[bytes]], length: int) -> set[tuple[int, int]]:
    """The same from the suffix array and LCP array of all texts, each ended by a token of its own."""
    number = {token: i for i, token in enumerate(sorted({t for tokens in texts for t in tokens}))}
    runs = [[*(len(texts) + number[token] for token in tokens), i] for i, tokens in enumerate(texts)]
    sequence = np.array([token for tokens in runs for token in tokens], np.uint32)
    uid = np.repeat(np.arange(len(texts)), [len(tokens) for tokens in runs])
    begin = np.cumsum([0, *(len(tokens) for tokens in runs)])
    order = divsufsort(sequence)
    group = np.concatenate([[0], np.cumsum(kasai(sequence, order)[:-1] < length)])
    first = np.full(group[-1] + 1, len(sequence))
    np.minimum.at(first, group, order)
    source = first[group]
    before = (uid[source] < uid[order]) | (order - source >= length)
    starts = order[before & (source != order)]
    return {(int(uid[at]), int(k - begin[uid[at]])) for at in starts for k in range(at, at + length)}


@pytest.fixture(scope="module")
def sample() -> World:
    """Real text and all columns of all parts; the text as it was."""
    texts = pq.ParquetFile(SAMPLE).read(columns=["text"]).slice(0, 300)
    made = World(texts, 128, None)
    made.execute("face", SubstringDedup(), {})
    made.columns["text"] = texts["text"].combine_chunks()
    return made


def test_real_text_against_a_suffix_array(sample: World) -> None:
    joined = [text.encode() for text in sample.columns["text"].to_pylist()]
    texts = [tokens_of(text) for text in joined]
    gone = gone_tokens(texts, joined, sample.columns["/face.cuts"].to_pylist())
    assert gone == by_suffix_array(texts, 50)
    assert len(gone) > 5000


def test_the_evidence_is_true(sample: World) -> None:
    """The tokens of every copy stand in the earlier document, and their union is what is cut."""
    joined = [text.encode() for text in sample.columns["text"].to_pylist()]
    texts = [b" " + b" ".join(tokens_of(text)) + b" " for text in joined]
    copies = sample.columns["/face.copies"].to_pylist()
    assert sum(len(mine or []) for mine in copies) > 50
    for uid, mine in enumerate(copies):
        for one in mine or []:
            tokens = tokens_of(joined[uid][one["start"] : one["end"]])
            assert len(tokens) >= 50
            assert one["uid"] <= uid
            assert b" " + b" ".join(tokens) + b" " in texts[one["uid"]]


def test_less_than_half_a_byte_is_shuffled_per_byte(sample: World) -> None:
    """Before messages of one task are combined."""
    sent = 0
    for part in SubstringDedup().parts():
        op = find(part.op)(**part.fields)
        if isinstance(op, ReduceOp):
            rows = np.arange(len(sample.columns["uid"]))
            message = emitted(op, sample.pick(op.reads, rows), {})
            wide = 16 if message.key2 is not None else 8
            sent += wide * len(message.key) + sum(array.nbytes for array in message.payload.values())
            assert len(message.key)
    assert sent < 0.5 * sum(len(text.encode()) for text in sample.columns["text"].to_pylist())


def test_periodic_text_keeps_its_beginning() -> None:
    """A window that overlaps its own first occurrence is left, so a whole copy stays."""
    assert left(["na " * 200]) == ["na " * 49 + "na "]
    assert left(["x " + "na " * 200 + "y"]) == ["x " + "na " * 50 + "y"]
    assert left(["a b c " * 100], length=9) == ["a b c " * 3]
    assert left(["na " * 20, "na " * 60, "la " * 3], length=5) == ["na " * 5, None, "la " * 3]


def test_a_repeat_in_one_document_and_in_others() -> None:
    para = words(0, 60)
    texts = [f"One\n\n{para}\n\nTwo\n\n{para}\n\nThree", f"Four {para}\nFive", para, words(0, 49)]
    assert left(texts) == [f"One\n\n{para}\n\nTwo\n\nThree", "Four\nFive", None, words(0, 49)]


def test_white_space_is_not_compared() -> None:
    assert left([words(0, 60), words(0, 60, "\r\n"), words(0, 60, "\u3000"), "x"]) == [
        words(0, 60),
        None,
        None,
        "x",
    ]


def test_case_is_compared_unless_it_is_folded() -> None:
    texts = ["Alpha beta ΓΑΜΜΑΣ d", "alpha BETA γαμμας d"]
    assert left(texts, length=4) == texts
    assert left(texts, length=4, case="fold") == [texts[0], None]


@pytest.mark.parametrize(
    "passage",
    [
        "筛子让细小的颗粒通过，把石头留下。最先落下的是最细的粉尘，然后是沙子。",
        "المنخل يمرر الحبوب الصغيرة ويحجز الحجارة ثم يسقط الغبار الناعم أولا وبعده الرمل",
        "👩\u200d👩\u200d👧 👍\U0001f3fd 🇩🇪 ⚠\ufe0f 🎈 🎉 🧪 🧬 🪐 ☂\ufe0f",
        "e\u0301le\u0301phant n\u0303 Z\u0351\u036ba\u0321l o\u0308 i\u0308 u\u0308 a\u030a c\u0327",
        "ตะแกรงปล่อยให้เม็ดเล็กผ่านและกันหินไว้",
        "छलनी छोटे दाने जाने देती है और पत्थर रोक लेती है",
    ],
)
def test_scripts(passage: str) -> None:
    """The second copy goes, what stands around it stays whole."""
    texts = [f"甲 {passage} 乙", f"e\u0301 {passage}\r\no\u0308"]
    assert left(texts, length=8) == [texts[0], "e\u0301\r\no\u0308"]


def test_one_line_of_ten_megabytes() -> None:
    line = " ".join(f"t{i}" for i in range(1_450_000))
    start, end = (len(line[: line.index(f" t{i} ")]) for i in (1_000_000, 1_001_000))
    assert len(line) > 10_000_000
    head = line[:50_000].rpartition(" ")[0]
    texts = [line, f"before{line[start:end]} after", f"{head} {head}"]
    assert left(texts) == [line, "before after", None]


def test_short_empty_and_missing_texts() -> None:
    texts = ["word", "word", "", None, " \n", "a b", "a b", "\x00", "!!!"]
    assert left(texts) == texts
    assert left([]) == []
    assert left(texts, length=2) == ["word", "word", "", None, " \n", "a b", None, "\x00", "!!!"]


def test_invalid_utf8() -> None:
    data = b"a b c d e\xff\xfe f g" + b"a b c d e\xff\xfe f g x\xf0\x9f"
    offsets = np.array([0, 15, len(data)], np.int64)
    text = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    out = run(SubstringDedup(length=4), pa.table({"text": text}))
    assert out["cuts"].to_pylist() == [None, [{"start": 0, "end": 16, "text": ""}]]


def test_half_of_the_corpus_is_one_text() -> None:
    """Equal segments have nothing more to ask; what remains is one message a task, as for any key."""
    texts = [words(0, 150) if i % 2 else f"text {i} alone {i * i}" for i in range(400)]
    made = World(table(texts), 50, None)
    made.execute("face", SubstringDedup(), {})
    assert made.columns["/face.drop"].is_valid().to_pylist() == [bool(i % 2 and i > 1) for i in range(400)]
    assert not any(made.columns["/contested.some"].to_pylist())


def test_near_copies_behind_each_other() -> None:
    """Each differs in another word; every one keeps the words around it that no window covers."""
    texts = [" ".join([*WORDS[:100], f"n{i}", *WORDS[100:200]]) for i in range(40)]
    assert left(texts) == [texts[0]] + [f"n{i}" for i in range(1, 40)]


def test_documents_of_which_little_is_left_go() -> None:
    texts = [words(0, 60), f"one two {words(0, 60)}", f"one two three {words(0, 60)}", "alone"]
    assert left(texts) == [words(0, 60), "one two", "one two three", "alone"]
    assert left(texts, min_tokens=3) == [words(0, 60), None, "one two three", "alone"]
    assert left(texts, min_tokens=0)[1] == "one two"


def test_golden() -> None:
    """The same rows and fields gave these bytes when it was written: other bytes need a new version."""
    rng = np.random.default_rng(5)
    texts = [" ".join(WORDS[i] for i in rng.integers(0, 3, 60)) for _ in range(40)]
    out = run(SubstringDedup(length=5), table(texts), 7)
    text = str(out.select(["cuts", "copies"]).to_pylist())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "4e763f6092d8225b"


def test_what_the_plan_says() -> None:
    assert SubstringDedup().explain() == (
        "finds every repeat of 50 tokens or more: of any 35 runs of 16 tokens in a row it sends one\n"
        "that shuffles 0.50 B a token (9 B for 2 of 36 tokens), 0.10 B per byte of text at 5 B a token; "
        "repeats cost more"
    )
    assert SubstringDedup.guard == 0.95


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="min_tokens = 51 is more than length = 50: documents would go"):
        SubstringDedup(min_tokens=51)
    with pytest.raises(ValidationError, match="length"):
        SubstringDedup(length=1)
