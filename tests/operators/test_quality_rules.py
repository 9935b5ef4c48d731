"""Each rule with a text just inside and one just outside of its published threshold; C4 against its code."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run

from operators.quality_rules import _RULES, QualityRules, _rules

Case = tuple[str, str, str, float]


def alone(reason: str) -> QualityRules:
    """The operator with this rule alone."""
    group = next(name for name in _RULES if any(reason == rule for rule, _, _ in _rules(name)))
    fields = {field.partition(".")[0] for rule, _, field in _rules(group) if rule != reason}
    off: dict[str, Any] = {
        name: {}
        if name.endswith("grams")
        else False
        if name in ("c4_lorem_ipsum", "c4_curly_bracket")
        else None
        for name in fields - {"c4_bad_words"}
    }
    mine = next(field for rule, _, field in _rules(group) if rule == reason)
    name, _, n = mine.partition(".")
    if n:
        off[name] = {int(n): QualityRules.model_fields[name].default[int(n)]}
    if reason == "c4_bad_words":
        off["c4_bad_words"] = ("blast", "c++ (old)")
    return QualityRules(rules=(group,), **off)


def verdicts(op: QualityRules, *texts: str | None) -> list[tuple[str | None, float | None]]:
    got = run(op, pa.table({"text": pa.array(texts, pa.large_string())}))
    return list(zip(got.column("drop").to_pylist(), got.column("value").to_pylist(), strict=True))


def lines(special: str, some: int, of: int) -> str:
    """`of` different lines, `some` of them with what is special in place of the $."""
    return "\n".join((special if i < some else "$").replace("$", f"line {i}") for i in range(of))


def twice(n: int, length: int) -> str:
    """n words of one letter, twice, in so many characters."""
    head = " ".join("abcdefghij"[:n])
    return f"{head} X {head} ".ljust(length, "z")


def short_lines(some: int) -> str:
    """100 lines, some of them of 30 characters, the others of 31."""
    return "\n".join(f"{i:0{30 if i < some else 31}}" for i in range(100))


def gram_cases() -> list[Case]:
    limits = {2: 20, 3: 18, 4: 16, 5: 15, 6: 14, 7: 13, 8: 12, 9: 11, 10: 10}  # table A1, in per cent
    cases = []
    for n, limit in limits.items():
        size = 2 * (2 * n - 1) if n < 5 else n
        length = ceil(size * 100 / limit)
        reason = f"gopher_top_{n}grams" if n < 5 else f"gopher_repeated_{n}grams"
        cases.append((reason, twice(n, length), twice(n, length - 1), size / (length - 1)))
    return cases


SENTENCE = "This is a sentence here. "
CASES: list[Case] = [
    ("gopher_few_words", "word " * 50, "word - " * 49, 49),
    ("gopher_many_words", "a " * 100_000, "a " * 100_001, 100_001),
    ("gopher_short_words", "abc (abc)", "abc ab", 2.5),
    ("gopher_long_words", "a" * 10 + ".", "a" * 11, 11),
    ("gopher_hashes", "#" + " w" * 9 + " x", "#w" + " w" * 8, 1 / 9),
    ("gopher_ellipses", "w... " * 1 + "w " * 9, "w… " + "w " * 8, 1 / 9),
    ("gopher_bullet_lines", lines("  • $", 45, 50), lines("- $", 46, 50), 0.92),
    ("gopher_ellipsis_lines", lines("$... ", 15, 50), lines("$ …", 16, 50), 0.32),
    ("gopher_alpha_words", "1 " * 10 + "a1 " * 40, "1 " * 11 + "é " * 39, 0.78),
    ("gopher_stop_words", "(the) of", "the the The th", 1),
    ("gopher_repeated_lines", lines("same", 16, 50), lines("same", 17, 50), 0.32),
    (
        "gopher_repeated_paragraphs",
        lines("same", 16, 50).replace("\n", "\n\n"),
        lines(" same", 17, 50).replace("\n", "\r\n\r\n"),
        0.32,
    ),
    ("gopher_repeated_line_characters", "ab\nab\ncdef", "ab\nab\ncde", 2 / 9),
    ("gopher_repeated_paragraph_characters", "ab\n\nab\n\nxy", "ab\n\nab\n\nx", 2 / 9),
    *gram_cases(),
    ("c4_lorem_ipsum", SENTENCE + "Lorem  ipsum.\nLorem ipsum", SENTENCE + "LOREM ipsum.", 1),
    ("c4_curly_bracket", SENTENCE + "\n{", SENTENCE + "{.", 1),
    ("c4_few_sentences", SENTENCE * 2 + 'Yes?"', SENTENCE * 2, 2),
    ("c4_bad_words", "Blasted c++ (older) über_blast", "a BLAST, then", 1),
    ("fineweb_line_ends", lines("$. x。", 3, 25), lines("$!", 2, 25) + '"', 0.08),
    ("fineweb_short_lines", short_lines(67), short_lines(68), 0.68),
    ("fineweb_repeated_characters", "a\na\n" + "b" * 98, "a\na\n" + "b" * 97, 1 / 99),
    ("fineweb_line_feeds", "w\n" * 3 + "w " * 7, "w\n" * 3 + "w " * 6, 1 / 3),
]


@pytest.mark.parametrize(("reason", "inside", "outside", "value"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_at_its_threshold(reason: str, inside: str, outside: str, value: float) -> None:
    stays, goes = verdicts(alone(reason), inside, outside)
    assert stays == (None, None)
    assert goes == (reason, pytest.approx(value, rel=1e-6))


def test_each_rule_has_its_case() -> None:
    assert {reason for group in _RULES for reason, _, _ in _rules(group)} == {case[0] for case in CASES}


PROSE = "\n".join(
    f"The {i}th of the stones that the river {verb} was with the others, and had to be {how} again."
    for i, (verb, how) in enumerate(
        [("brought", "washed"), ("found", "weighed"), ("polished", "counted"), ("took", "carried")]
    )
)


def test_prose_stays_whatever_the_rules() -> None:
    every = QualityRules(rules=("gopher_quality", "gopher_repetition", "c4", "fineweb"), min_words=40)
    off = every.model_copy(update={"max_top_grams": {}, "max_repeated_grams": {}})
    assert verdicts(off, PROSE, PROSE.replace("\n", "\r\n")) == [(None, None)] * 2


def test_the_first_broken_rule_is_the_reason() -> None:
    text = "# # #\n# # #"
    for first, reason in (("gopher_quality", "gopher_few_words"), ("fineweb", "fineweb_line_ends")):
        rules = (first, "gopher_repetition", *({"gopher_quality", "fineweb"} - {first}))
        assert verdicts(QualityRules(rules=rules), text)[0][0] == reason


@pytest.mark.parametrize("text", [None, "", " \n\r\n\u3000", "筛子让细小的颗粒通过，把石头留下。" * 40])
def test_nothing_to_count_and_scripts_without_spaces(text: str | None) -> None:
    """The latter have one word: Gopher's rules would take them; FineWeb's say what they say of lines."""
    assert verdicts(QualityRules(), text)[0][0] == "gopher_few_words"
    fineweb = QualityRules(rules=("fineweb",))
    assert verdicts(fineweb, text)[0][0] == (None if text and text.strip() else "fineweb_line_ends")


C4 = [
    ("One two three four five.", "One two three four five."),
    ("One two three four.", ""),
    ("One two three four five", ""),
    ('He said "one two three!"', 'He said "one two three!"'),
    ("One two three four five...", ""),
    ("One two three four " + "x" * 1000 + ".", ""),
    ("One two three four " + "x" * 999 + ".", "One two three four " + "x" * 999 + "."),
    ("Please enable JavaScript to see this.", ""),
    ("We read the Privacy Policy twice a day.", ""),
    ("Nobody here uses Cookies, not even one.", ""),
    ("One[1] two[edit] three [citation needed]four five[].", "One two three four five."),
    ("One two three four five. [12]", ""),  # C4 looks at the end before it strips again
    ("One two [x] three four five.", "One two [x] three four five."),
    ("  One two three four five.\t", "One two three four five."),
]


@pytest.mark.parametrize(("line", "kept"), C4)
def test_what_c4_does_with_a_line(line: str, kept: str) -> None:
    text = f"The first line of this text.\r\n\r\n{line}\r\n\nThe last line of this text.\n"
    got = run(QualityRules(rules=("c4",), c4_min_sentences=2), pa.table({"text": [text]}))
    cuts = got.column("cuts").to_pylist()[0]
    left = text.encode()
    for cut in reversed(cuts):
        left = left[: cut["start"]] + left[cut["end"] :]
    want = [line for line in ("The first line of this text.", kept, "The last line of this text.") if line]
    assert left.decode().split("\n") == want
    assert got.column("lines_cut").to_pylist() == [3 - len(want)]


def test_a_dropped_document_is_not_cut() -> None:
    text = "The first line of this text.\nsecond\nThird, with lorem ipsum in it."
    got = run(QualityRules(rules=("c4",)), pa.table({"text": [text, SENTENCE * 3]}))
    assert got.column("drop").to_pylist() == ["c4_lorem_ipsum", None]
    assert got.column("lines_cut").to_pylist() == [0, 0]
    assert got.column("cuts").to_pylist() == [None, [{"start": 74, "end": 75, "text": None}]]


def test_statistics_as_columns() -> None:
    op = QualityRules(rules=("fineweb", "gopher_quality"), statistics=True)
    got = run(op, pa.table({"text": ["The end.\nof", None]}))
    assert set(got.column_names) == {
        "drop", "value", "line_ends", "short_lines", "repeated_characters", "line_feeds", "words",
        "word_length", "hashes", "ellipses", "bullet_lines", "ellipsis_lines", "alpha_words", "stop_words",
    }  # fmt: skip
    first, second = got.to_pylist()
    assert first["line_ends"] == 0.5
    assert first["line_feeds"] == np.float32(1 / 3)
    assert first["word_length"] == np.float32(8 / 3)
    assert (first["stop_words"], first["words"]) == (1, 3)
    assert set(second.values()) == {0.0, "fineweb_line_ends"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rules": ["c4", "c4"]}, "rules names one twice"),
        ({"rules": ["fineweb"], "min_words": 3}, "min_words is for gopher_quality, which is not among rules"),
        ({"max_top_grams": {5: 0.1}}, "max_top_grams is for n of 2 to 4, not 5"),
        ({"max_repeated_grams": {4: 0.1}}, "for n of 5 to 10, not 4"),
        ({"stop_words": ["to be", "a", "b"]}, "'to be' is no word"),
        ({"stop_words": ["a"]}, "min_stop_words is 2, but stop_words has only 1"),
        ({"min_words": 100, "max_words": 50}, "min_words is 100, above max_words, 50"),
        ({"min_alpha_words": 80}, "less than or equal to 1"),
        ({"max_hashes": float("inf")}, "finite number"),
        ({"rules": ["c4"], "c4_bad_words": [" "]}, "' ' is no word"),
        ({"rules": []}, "at least 1 item"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QualityRules(**fields)
