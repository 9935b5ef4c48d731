"""What must not be shown: credentials always; on request also what documents say and are called."""

from __future__ import annotations

import hashlib
import os
import re
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pipeline.errors import TooMuchDropped

HIDDEN = "***"
SALT = "redact.salt"  # a name in the store: without it nobody can tell an id from its hash by trying ids
SHORTEST = 8  # characters of a variable's value that is looked for in texts

_NAMES = r"(?:token|secret|passw(?:or)?d|pwd|signature|credential|api[_-]?key|access[_-]?key|account[_-]?key)"
# user:password@ after ://, where the password may hold a slash (as S3's do), but is no port and path.
_LOGIN = re.compile(r"(:///?)(?:[^\s/@'\"<>]+|[^\s/@:'\"<>]*:(?!\d+(?:/|$))[^\s@'\"<>]+)@")
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.-]*{_NAMES}[\w.-]*|key|sig|sas|auth)=)[^&#\s'\"<>]+")
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/-]{8,}=*")
_KEYS = (
    r"(?:secret[_-]?access[_-]?key|secret[_-]?key|account[_-]?key|api[_-]?key|access[_-]?token|passw(?:or)?d)"
)
_ASSIGNED = re.compile(rf"(?i)(\b\w*{_KEYS}['\"]?\s*[=:]\s*['\"]?)(?![\s'\"$*])[^\s'\",;&}}]{{8,}}")
_SECRET_VARIABLE = re.compile(rf"(?i)(?:{_NAMES}|(?:^|_)sas)(?!s|izer)(?!.*_(?:file|path|dir|mode)$)")
_NO_SECRET = re.compile(r"/.*|[\d.,_]+|")  # paths and numbers


def without_secrets(text: str) -> str:
    """The text without credentials: those in URLs and their queries, and the values of the environment's
    variables that are named like secrets."""
    for value in _of_environment():
        text = text.replace(value, HIDDEN)
    text = _LOGIN.sub(rf"\1{HIDDEN}@", text)
    for pattern in (_QUERY, _BEARER, _ASSIGNED):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


@cache
def _of_environment() -> tuple[str, ...]:
    named = (value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name.replace("PWD", "")))
    found = {value for value in named if len(value) >= SHORTEST and not _NO_SECRET.fullmatch(value)}
    return tuple(sorted(found, key=len, reverse=True))


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """JSON-able data with every string in it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(k)): mapped(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(v, change) for v in value]
    return value


def masked(value: Any) -> Any:
    """JSON-able data without credentials."""
    return mapped(value, without_secrets)


class Veil:
    """Hides documents: their texts become lengths, their ids and other strings from the data hashes."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def name(self, value: Any) -> str:
        """A hash that stands for an id: the same for the same id and store."""
        digest = hashlib.blake2b(str(value).encode("utf-8", "replace"), key=self._salt, digest_size=8)
        return f"#{digest.hexdigest()}"

    def text(self, value: str | None) -> str:
        return f"(redacted: {len(value or ''):,} characters)"

    def value(self, value: Any) -> Any:
        """Evidence: numbers stay, strings do not."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {key: self.value(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v) for v in value]
        return self.name(value)

    def run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Run data that shows no document. What operators tell of their artifacts may name values of any
        column, so it goes; the names of domains and drop reasons stay."""
        if run.get("redacted"):
            return dict(run)
        nodes = [{**node, "tells": None} for node in run.get("nodes") or []]
        samples = [self._sample(sample) for sample in run.get("samples") or []]
        return {**run, "nodes": nodes, "samples": samples, "redacted": True}

    def _sample(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        sides = {side: self.document(sample.get(side)) for side in ("dropped", "kept")}
        return {**sample, **sides, "evidence": self._evidence(sample.get("evidence"))}

    def _evidence(self, found: Any) -> Any:
        if isinstance(found, str):
            return self.text(found)
        return self.value(found)

    def document(self, found: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A document as `samples.documents` gives it."""
        if found is None:
            return None
        return {**found, "id": self.name(found.get("id")), "text": self.text(found.get("text"))}


def veil_of(store: Any) -> Veil:
    """The veil of a store: its hashes mean the same in all of its runs, and nothing without the store."""
    if not store.exists(SALT):
        store.commit(SALT, os.urandom(32))
    return Veil(store.read(SALT))


# Node and operator come from the config, file and row from the source's listing: neither quotes a document.
_LOCATED = re.compile(r"^[\w/@.-]+ \([\w./-]+\)(?:, \w+)? failed(?: on \S+:row \d+(?: to \S+:row \d+)?)?")
_PLACE = re.compile(r"^\S+\.\w+:(?:row )?\d+")


def brief(error: BaseException) -> str:
    """An error's message down to what quotes no document: where it was, and of what kind."""
    text = str(error)
    if isinstance(error, TooMuchDropped):
        return text.splitlines()[0]  # figures; then come the documents
    found = _LOCATED.match(text) or _PLACE.match(text)
    cause = error.__cause__ or error
    where = without_secrets(f"{found.group()}: ") if found else ""
    return f"{where}{type(cause).__name__} (the message is redacted; error.log names the place in the code)"


def bare(error: BaseException) -> str:
    """An error by its kind and its places in code alone: messages and values may quote a document."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        frames = traceback.extract_tb(seen.__traceback__)
        places = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        lines += [f"{type(seen).__name__} (message redacted)", *places]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(lines)


def traced(error: BaseException) -> str:
    """The whole traceback without credentials."""
    return without_secrets("".join(traceback.format_exception(error)))
