"""JSON Lines and CSV that are wrong in a line."""

from __future__ import annotations

from bad_input.file_kinds import CSV, JSONL, LINES, THREE, TWO
from bad_input.kinds import Kind, config


def _json(what: str, gets: int, says: tuple[str, ...], data: bytes, **more: object) -> Kind:
    more = {"config": JSONL} | more
    return Kind("JSON Lines", what, gets, says, {"a.jsonl": data}, **more)  # type: ignore[arg-type]


def _csv(what: str, gets: int, says: tuple[str, ...], data: bytes, **more: object) -> Kind:
    return Kind("CSV", what, gets, says, {"a.csv": data}, CSV, **more)  # type: ignore[arg-type]


_ONE = "{folder}/a.jsonl:1: "
_THIRD = "{folder}/a.jsonl:3: "

KINDS = [
    _json("invalid UTF-8", 3, ("{folder}/a.jsonl:2: invalid UTF-8", "caf\\xe9"), b'{"id":"a","text":"x"}\n{"id":"b","text":"caf\xe9"}\n'),
    _json("UTF-16", 3, (_ONE + "not lines of text but UTF-16",), LINES.decode().encode("utf-16")),
    _json("a byte-order mark", 0, (), b"\xef\xbb\xbf" + LINES, rows=TWO, then="passed over"),
    _json("lines that end in CRLF", 0, (), LINES.replace(b"\n", b"\r\n"), rows=TWO, then="as LF"),
    _json("lines that end in CR only", 3, (_ONE + "2 JSON objects on one line",), LINES.replace(b"\n", b"\r")),
    _json("blank lines, and no newline at the end", 0, (), b"\n" + LINES.replace(b"\n", b"\n\n") + b'{"id":"c","text":"x"}', rows=THREE, then="blank lines are no rows"),
    _json("NUL as \\u0000", 0, (), b'{"id":"a","text":"x\\u0000y"}\n{"id":"b","text":"z"}\n', rows=TWO, then="a character like any other"),
    _json("a raw NUL", 3, ("{folder}/a.jsonl:3: not valid JSON",), LINES + b'{"id":"c","text":"x\0y"}\n'),
    _json("a line cut off", 3, (_THIRD + "not valid JSON", '{"id":"c","te'), LINES + b'{"id":"c","te', by="run"),
    _json("a broken line in the middle", 3, (_THIRD + "not valid JSON (Missing a closing quotation mark",), LINES + b'{"id":"c","text":"x\n' + LINES),
    _json("a comma after the object", 3, (_THIRD + "not valid JSON", '"x"},'), LINES + b'{"id":"c","text":"x"},\n'),
    _json("a comma before the brace", 3, (_THIRD + "not valid JSON (Missing a name for object member",), LINES + b'{"id":"c","text":"x",}\n'),
    _json("a JSON array instead of lines", 3, (_ONE + "a line must be one JSON object, this is [",), b'[\n{"id":"c","text":"x"}\n]\n'),
    _json("one object over several lines", 3, (_ONE + "not valid JSON", "one JSON object a line"), b'{\n "id":"c",\n "text":"x"\n}\n'),
    _json("two objects on a line", 3, (_ONE + "2 JSON objects on one line",), b'{"id":"c","text":"x"}{"id":"d","text":"y"}\n'),
    _json("a line that is a string or a number", 3, (_THIRD + "a line must be one JSON object",), LINES + b'"text"\n'),
    _json("a line that is null", 3, (_THIRD + "a line must be one JSON object, this is null",), LINES + b"null\n"),
    _json("an object without keys", 0, (), LINES + b"{}\n", rows=THREE, then="a row of nulls"),
    _json("a key twice", 3, (_ONE + "not valid JSON (Column(/text) was specified twice)",), b'{"id":"c","text":"x","text":"y"}\n'),
    _json("a text that is a number in one line", 3, (_THIRD + "Column(/text) changed from string to number", "`schema: {text: string}`"), LINES + b'{"id":"c","text":5}\n'),
    _json("a column of two types", 3, ("{folder}/a.jsonl:2: column 'n' is large_string here and int64 before",), b'{"id":"c","text":"x","n":1}\n{"id":"d","text":"y","n":"z"}\n'),
    _json("integer ids above 2^53", 0, (), b'{"id":9007199254740993,"text":"x"}\n{"id":9007199254740992,"text":"y"}\n', rows=TWO, then="exact up to 64 bits"),
    _json("integer ids above 2^64", 3, (_ONE + "column 'id': 9007199254740993 would lose digits", "`schema: {id: string}`"), b'{"id":9007199254740993,"text":"x"}\n{"id":18446744073709551617,"text":"y"}\n'),
    _json("half a surrogate pair", 3, (_ONE + "not valid JSON (The surrogate pair in string is invalid",), b'{"id":"c","text":"\\ud800"}\n'),
    _json("100,000 nested lists", 3, (_THIRD + "nested more than 40 deep",), LINES + b'{"id":"c","text":"x","n":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"),
    _json("a text full of brackets", 0, (), LINES + b'{"id":"c","text":"' + b"[{" * 2000 + b'"}\n', rows=THREE, then="only real nesting counts"),
    _json("CSV called .jsonl", 3, (_ONE + "not valid JSON", "id,text"), b"id,text\n1,2\n"),
    _json("a text that `schema:` says is a number", 3, ("{folder}/a.jsonl:2: Column(/n) changed from number to string",), b'{"id":"a","text":"x","n":1}\n{"id":"b","text":"y","n":"z"}\n', config=config("{path: a.jsonl, schema: {n: int64}}")),
    _csv("a row with too few fields", 3, ("{folder}/a.csv:3: 1 fields where the header has 2: 'c'",), b"id,text\na,b\nc\n"),
    _csv("a row with too many fields", 3, ("{folder}/a.csv:3: 3 fields where the header has 2: 'c,d,e'", "quote fields"), b"id,text\na,b\nc,d,e\n"),
    _csv("a quote that is never closed", 3, ("{folder}/a.csv:3: a quote is opened in the row that begins here and never closed",), b'id,text\na,b\nc,"d\ne,f\ng,h\n', by="run"),
    _csv("a lone quote inside a field", 0, (), b'id,text\na,5" disk\nb,"x ""y"" z"\nc,"two\nlines"\n', rows=THREE, then="part of the text"),
    _csv("two columns of one name", 3, ("{folder}/a.csv:1: the header has two columns named 'text'",), b"id,text,text\na,b,c\n"),
    _csv("a column without a name", 3, ("{folder}/a.csv:1: the header has a column without a name",), b"id,text,\na,b,c\n"),
    _csv("semicolons", 2, ("a.csv has no column 'text'", "it has: id;text"), b"id;text\na;b\n"),
    _csv("a byte-order mark and CRLF", 0, (), b"\xef\xbb\xbfid,text\r\na,b\r\nc,d\r\n", rows=TWO, then="passed over; as LF"),
    _csv("UTF-16", 3, ("{folder}/a.csv:1: not lines of text but UTF-16",), "id,text\na,b\n".encode("utf-16")),
    _csv("Latin-1", 3, ("{folder}/a.csv:2: column 'text': invalid UTF-8 in b'caf\\xe9'",), b"id,text\na,caf\xe9\n"),
    _csv("a NUL", 0, (), b"id,text\na,x\0y\nb,z\n", rows=TWO, then="a character like any other"),
    _csv("only a header", 3, ("the source has no documents", "a.csv"), b"id,text\n", by="run"),
]  # fmt: skip
