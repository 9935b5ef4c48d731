"""Languages and probabilities are those of py3langid's own classify, on any text."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_engine import run
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from operators.kernels import language
from operators.kernels.text_buffers import text_buffers
from operators.language_id import LanguageId

SAMPLE = Path(__file__).parents[2] / "configs" / "quickstart" / "sample"
SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "zh": "人人生而自由，在尊严和权利上一律平等。",
}


@cache
def theirs(among: tuple[str, ...] | None = None) -> LanguageIdentifier:
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages(among)
    return model


def ours(texts: list[Any], **fields: Any) -> list[dict[str, Any]]:
    column = pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), len(column), column.buffers(), column.null_count)
    batch = pa.RecordBatch.from_pydict({"text": text})
    return pa.RecordBatch.from_pydict(dict(LanguageId(**fields).columns(batch, {}))).to_pylist()


def agrees(got: dict[str, Any], text: bytes, among: tuple[str, ...] | None = None) -> None:
    """The same probability, and the same language unless the next one is as likely but for rounding."""
    ranked = theirs(among).rank(text)
    if got["language"] is None:
        assert len({share for _, share in ranked}) <= 2  # py3langid knows nothing: all alike
        return
    assert got["probability"] == pytest.approx(ranked[0][1], abs=2e-5)
    assert got["language"] in {name for name, share in ranked if share > ranked[0][1] - 2e-5}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence(name: str) -> None:
    text = SENTENCES[name]
    forms = [text, text.upper(), unicodedata.normalize("NFD", text), text.title()]
    for got, form in zip(ours(forms), forms, strict=True):
        agrees(got, form.encode())
        assert got["language"] == name


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(codec="utf-8")) | st.binary(max_size=40), max_size=4))
@example(
    ["ǅ", "ǅA", "É", "e\u0301", "\u1112\u1161\u11ab", "\ufffd", b"\xff abc", b"caf\xc3", b"\xed\xa0\x80"]
)
def test_any_text(texts: list[str | bytes]) -> None:
    raw = [t.encode() if isinstance(t, str) else t for t in texts]
    for got, text in zip(ours(raw), raw, strict=True):
        agrees(got, text)


def test_real_texts_and_a_limit() -> None:
    texts = pq.read_table(SAMPLE / "part-0.parquet").column("text").to_pylist()[:40]
    for most in (200, 4096):
        for got, text in zip(ours(texts, max_bytes=most), texts, strict=True):
            beginning = text.encode()[:most].decode(errors="ignore").encode()
            agrees(got, beginning)


def test_fewer_languages_and_labels_with_two_columns() -> None:
    among = ("sr", "ru", "uz", "en")
    texts = [
        "Сва људска бића рађају се слободна и једнака",
        "Sva ljudska bića rađaju se slobodna",
        "Barcha odamlar",
    ]
    got = ours(texts, among=among)
    assert [row["language"] for row in got] == ["sr", "sr", "uz"]
    for row, text in zip(got, texts, strict=True):
        agrees(row, text.encode(), among)


def test_reasons() -> None:
    texts = [SENTENCES["en"], SENTENCES["fr"], "Hello", None, "", SENTENCES["de"]]
    got = ours(texts, keep=["en", "de"], min_probability=0.5)
    assert [row["drop"] for row in got] == [
        None, "other_language", "other_language", "no_language", "no_language", None,
    ]  # fmt: skip
    assert got[2]["language"] == "br"
    assert got[3]["language"] is got[3]["probability"] is None
    assert {row["drop"] for row in ours(texts)} == {None}
    sure = ours([SENTENCES["en"]])[0]["probability"]
    at, above = sure, float(np.nextafter(np.float32(sure), np.float32(1)))
    assert [ours([SENTENCES["en"]], min_probability=p)[0]["drop"] for p in (at, above)] == [
        None,
        "uncertain_language",
    ]


def test_texts_that_need_no_preparation_are_told_apart() -> None:
    """Over all code points behind a letter: what is left alone is what NFC and py3langid leave alone."""
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    column = pa.array(["a" + char for char in chars] + ["A" + char for char in chars], pa.large_string())
    flags = np.zeros(len(column), np.bool_)
    language._find_unprepared(*text_buffers(column), language._classes(), flags)
    left = [text for text, flag in zip(column.to_pylist(), flags, strict=True) if not flag]
    changed = [t for t in left if t.isupper() or not unicodedata.is_normalized("NFC", t)]
    assert not changed
    assert sum(text[0] == "a" for text in left) > len(chars) - 5_000


def test_languages_are_those_of_the_model() -> None:
    assert list(language.LANGUAGES) == theirs().labels


def test_another_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MODEL", "0" * 32)
    with pytest.raises(ValueError, match=r"another model .* install py3langid 0\.4"):
        language._load.__wrapped__()


@pytest.mark.parametrize("field", ["keep", "among"])
def test_unknown_languages_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="no language 'german'; there are ace af am"):
        LanguageId(**{field: ["en", "german"]})


def test_kept_languages_must_be_considered() -> None:
    with pytest.raises(ValueError, match="keep names 'de', which is not in among"):
        LanguageId(keep=["en", "de"], among=["en", "fr"])


def test_any_cut_gives_the_same() -> None:
    texts = pa.table({"text": [*SENTENCES.values(), *(t.upper() for t in SENTENCES.values())]})
    whole = run(LanguageId(), texts)
    assert run(LanguageId(), texts, batch_rows=3).equals(whole)
