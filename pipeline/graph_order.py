"""The nodes of a config as a graph: unknown inputs, cycles, and an order in which inputs come first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pipeline.suggest import did_you_mean
from pipeline.yaml_positions import Document, Path


def graph_problems(document: Document, nodes: Mapping[Any, Any], sources: Sequence[str]) -> list[str]:
    """Inputs and uses that nothing has, and circles; from the raw nodes, so that a node which is
    broken in another way is checked as well."""
    known = [str(name) for name in nodes]
    problems: list[str] = []
    edges: dict[str, list[str]] = {}
    for index, (name, body) in enumerate(nodes.items()):
        given = _named(body, "input")
        used = {key: value.split("/")[0] for key, value in _named(body, "uses").items()}
        problems += _unknown(document, ("nodes", name, "input"), given, [*known, *sources])
        problems += _unknown(document, ("nodes", name, "uses"), used, known)
        above = known[index - 1 : index] if index and not given else []
        edges[str(name)] = [*above, *given.values(), *used.values()]
    return problems or _circle(document, edges)


def _named(body: Any, key: str) -> dict[str | int, str]:
    """The names under `input` or `uses`, however written, each with its place; nothing if it is broken."""
    value = body.get(key) if isinstance(body, dict) else None
    if isinstance(value, str):
        return {0: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {place: name for place, name in pairs if isinstance(name, str)}


def _unknown(
    document: Document, path: Path, given: Mapping[str | int, str], known: Sequence[str]
) -> list[str]:
    problems = []
    for place, name in given.items():
        owner = f"{document.where(*path, place)}: node {path[1]}: {path[2]}"
        if name == path[1]:
            problems.append(f"{owner} names the node itself")
        elif name not in known:
            near = did_you_mean(name, [other for other in known if other != path[1]])
            problems.append(f"{owner}: nothing is named {name!r}{near}")
    if len(set(given.values())) < len(given) and path[2] == "input":
        problems.append(f"{document.where(*path)}: node {path[1]}: input names a node twice")
    return problems


def _circle(document: Document, edges: Mapping[str, Sequence[str]]) -> list[str]:
    """A line with the whole circle, when nodes wait for each other."""
    real = {name: [need for need in needs if need in edges] for name, needs in edges.items()}
    try:
        TopologicalSorter(real).prepare()
    except CycleError as error:
        circle: list[str] = list(error.args[1])
        name = circle[1]
        key = "input" if ("nodes", name, "input") in document.places else "uses"
        text = f"nodes wait for each other: {' -> '.join(circle)}; change an input of one"
        return [f"{document.where('nodes', name, key)}: {text}"]
    return []


def order(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Every name after the names that it needs, otherwise as given; needs without an entry are ignored.

    There must be no circle."""
    rank = {name: index for index, name in enumerate(edges)}
    waits = {name: {need for need in needs if need in rank} for name, needs in edges.items()}
    followers: dict[str, list[str]] = {name: [] for name in edges}
    for name, needs in waits.items():
        for need in needs:
            followers[need].append(name)
    ready = [rank[name] for name, needs in waits.items() if not needs]
    names, done = list(edges), []
    while ready:
        name = names[heapq.heappop(ready)]
        done.append(name)
        for follower in followers[name]:
            waits[follower].discard(name)
            if not waits[follower]:
                heapq.heappush(ready, rank[follower])
    return done
