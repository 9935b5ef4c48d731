"""Reads YAML as plain data and remembers the line of every value, refusing what a config should not hold."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.errors import ConfigError

Path = tuple[str | int, ...]
MOST_NODES = 100_000
MOST_DEPTH = 64
PLAIN = "tag:yaml.org,2002:"
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}(?:_[0-9]{1,30}){0,10}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Loader(yaml.SafeLoader):
    """YAML 1.2's plain values, as editors read them: `no` is a text, `1e-3` a number, dates are texts."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (pyyaml's own way)


Loader.add_implicit_resolver(PLAIN + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), None)
Loader.add_implicit_resolver(PLAIN + "null", re.compile(r"^(?:~|null|Null|NULL|)$"), None)
Loader.add_implicit_resolver(PLAIN + "int", re.compile(rf"^(?:{_INTEGER.pattern})$"), None)
Loader.add_implicit_resolver(PLAIN + "float", re.compile(rf"^(?:{_FLOAT.pattern}|{_SPECIAL.pattern})$"), None)
Loader.add_implicit_resolver(PLAIN + "merge", re.compile(r"^<<$"), ["<"])


@dataclass
class Document:
    """A YAML text as data. `places` holds where each value stands: `file:line`, or a --set argument."""

    file: str
    value: Any = None
    places: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def where(self, *path: str | int) -> str:
        """`file:line` of the value at this path, or of the nearest one around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.file

    def refuse_problems(self) -> None:
        """ConfigError that lists every problem once, one a line, in the order of the lines."""
        if self.problems:
            raise ConfigError("\n".join(sorted(dict.fromkeys(self.problems), key=_line_order)))

    def line(self, *path: str | int) -> int:
        """The line of that value, 0 when it came from the command line."""
        number = self.where(*path).rpartition(":")[2]
        return int(number) if number.isdigit() else 0

    def move(self, path: Path, where: str) -> None:
        """Says that the value at this path, with all below it, now comes from elsewhere."""
        for known in [place for place in self.places if place[: len(path)] == path]:
            del self.places[known]
        self.places[path] = where


def _line_order(problem: str) -> tuple[bool, int]:
    match = re.match(r".*?:(\d+): ", problem)
    return (problem.startswith("--set"), int(match[1]) if match else 0)


def read_file(file: pathlib.Path, what: str) -> str:
    """The text of a YAML file. ConfigError where it cannot be read; `what`: should be given instead."""
    if "\0" in str(file):
        raise ConfigError(f"{str(file)!r} names no file; give the path of {what}")
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; give the path of {what}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def read(text: str, file: str, environment: Mapping[str, str] = os.environ) -> Document:
    """The document; what can be told apart (duplicate keys, missing variables) is put into `problems`.

    ConfigError for what makes the rest unreadable: broken syntax, two documents, exploding anchors."""
    document = Document(file)
    try:
        loader = Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error, text, file)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{file}:{line}: the character #x{ord(text[error.position]):02x} is not allowed"
        ) from None
    except RecursionError:
        raise ConfigError(f"{file}:1: nested more than {MOST_DEPTH} deep") from None
    if root is not None:
        document.value = _Builder(document, loader, environment).value(root, ())
    return document


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    lines = text.splitlines()
    shown = lines[line - 1].strip()[:60] if line <= len(lines) else "the end of the file"
    hint = '; inside {} or [] write a variable in quotes: "${NAME}"' if "${" in shown else ""
    if "\t" in (lines[line - 1] if line <= len(lines) else ""):
        hint = "; indent with spaces, not with tabs"
    return f"{file}:{line}: not YAML: {error.problem or error.context} ({shown}){hint}"


@dataclass
class _Builder:
    """Turns composed nodes into data, each visit counted, so that nested anchors cannot explode."""

    document: Document
    loader: Loader
    environment: Mapping[str, str]
    visits: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.visits += 1
        line = node.start_mark.line + 1
        if self.visits > MOST_NODES or len(path) > MOST_DEPTH:
            limit = f"{MOST_DEPTH} deep" if len(path) > MOST_DEPTH else f"to more than {MOST_NODES:,} values"
            raise ConfigError(f"{self.document.file}:{line}: anchors or nesting expand {limit}; write less")
        self.document.places.setdefault(path, f"{self.document.file}:{line}")
        if isinstance(node, yaml.MappingNode) and node.tag == PLAIN + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == PLAIN + "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        return self._problem(
            line, f"the tag {node.tag.replace(PLAIN, '!!')} is not allowed; write plain YAML"
        )

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        first: dict[Any, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == PLAIN + "merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(line, "a key must be a text or a number")
                continue
            key = self._plain(key_node, line)
            if key in first:
                self._problem(line, f"the key {key!r} is already in line {first[key]}; keep one of them")
                continue
            first[key] = line
            self.document.places[(*path, key)] = f"{self.document.file}:{line}"
            result[key] = self.value(value_node, (*path, key))
        for key, value_node in self._merged(node):
            if key not in result:
                result[key] = self.value(value_node, (*path, key))
        return result

    def _merged(self, node: yaml.MappingNode) -> Iterator[tuple[Any, yaml.Node]]:
        """The pairs that `<<: *anchor` brings in, the nearest first."""
        for key_node, value_node in node.value:
            if key_node.tag != PLAIN + "merge":
                continue
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                self.visits += 1
                line = key_node.start_mark.line + 1
                if not isinstance(source, yaml.MappingNode) or self.visits > MOST_NODES:
                    self._problem(line, "<< takes an anchor of a mapping, or a list of them")
                    continue
                if any(key.tag == PLAIN + "merge" for key, _ in source.value):
                    self._problem(line, "<< takes no mapping that itself uses <<")
                yield from ((self._plain(key, line), value) for key, value in source.value)

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Any:
        value = self._plain(node, line)
        return self._with_variables(value, line) if isinstance(value, str) else value

    def _plain(self, node: yaml.Node, line: int) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(PLAIN):
            case "str":
                return text
            case "null" if text in ("", "~") or text.lower() == "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if _INTEGER.fullmatch(text):
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            case "float" if _FLOAT.fullmatch(text) or _SPECIAL.fullmatch(text):
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return self._problem(line, f"the tag {node.tag.replace(PLAIN, '!!')} is not allowed for {text!r}")

    def _with_variables(self, text: str, line: int) -> str:
        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name, closed = match[1], match[2]
            if not closed or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                self._problem(line, f"{match[0]!r} is no variable; write ${{NAME}}, or $${{ for the text ${{")
            elif name in self.environment:
                return self.environment[name]
            else:
                self._problem(line, f"the environment variable {name} is not set; export {name}=...")
            return match[0]

        return _VARIABLE.sub(replace, text)

    def _problem(self, line: int, text: str) -> None:
        self.document.problems.append(f"{self.document.file}:{line}: {text}")
