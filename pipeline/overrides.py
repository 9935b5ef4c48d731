"""`--set nodes.fuzzy.threshold=0.7`: changes a config from the command line."""

from __future__ import annotations

from typing import Any

from pipeline.errors import ConfigError
from pipeline.suggest import did_you_mean
from pipeline.yaml_positions import Document, Path, read


def apply_set(document: Document, argument: str) -> None:
    """Puts the value (read as YAML) at the dotted path; what is wrong goes to `document.problems`.

    A path may name a field that is not there yet, but not a node."""
    where = f"--set {argument}"
    dotted, equals, text = argument.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        document.problems.append(f"{where}: write it like --set nodes.NAME.FIELD=VALUE")
        return
    try:
        given = read(text, where)
    except ConfigError as error:
        document.problems.append(f"{where}: {_after(str(error), where)}")
        return
    if given.problems:
        document.problems += [f"{where}: {_after(text, where)}" for text in given.problems]
        return
    problem = _assign(document, keys, given.value, where)
    if problem:
        document.problems.append(f"{where}: {problem}")


def _after(problem: str, where: str) -> str:
    """The problem without `file:line: `, which is always line 1 of the argument."""
    return problem.removeprefix(where).lstrip(":0123456789 ")


def _assign(document: Document, keys: list[str], value: Any, where: str) -> str | None:
    holder: Any = document.value
    path: Path = ()
    for depth, key in enumerate(keys):
        shown = ".".join(keys[:depth]) or "the config"
        step: str | int = key
        if isinstance(holder, list):
            if not key.isdigit() or int(key) >= len(holder):
                return f"{shown} is a list of {len(holder)}; name one of them, from {shown}.0"
            step = int(key)
        elif not isinstance(holder, dict):
            return f"{shown} is {holder!r}, which has no keys"
        elif keys[:depth] == ["nodes"] and key not in holder:
            return f"no node {key!r}{did_you_mean(key, map(str, holder))}; --set adds no nodes"
        path = (*path, step)
        if depth == len(keys) - 1:
            holder[step] = value
            document.move(path, where)
        elif isinstance(holder, dict) and key not in holder:
            holder[key] = {}
            document.move(path, where)
        holder = holder[step]
    return None
