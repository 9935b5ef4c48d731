"""The laws that every operator obeys, tried on its examples, with a text for its author."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from pipeline.catalog import OpSpec, find
from pipeline.engine import Engine, make_engine
from pipeline.law_bench import Bench, BrokenLaw, Trial, trials
from pipeline.law_columns import columns
from pipeline.law_direct import tried
from pipeline.law_form import form
from pipeline.law_identity import identity
from pipeline.law_runs import Found, Subject, agrees, cut, on_engine, retry, rows

LAWS: dict[str, Callable[[Subject], str]] = {"rows": rows, "cut": cut, "retry": retry, "columns": columns}

Result = tuple[str, bool, str]


def check(subject: Subject, found: Mapping[str, Found]) -> Iterator[Result]:
    """The laws about one example that can be a node of its own: (law, holds, what was tried or is wrong).

    found: engine -> what the trials gave on it (`on_engine`)."""
    trial = subject.trial
    for name, law in LAWS.items():
        yield _tried(trial.spec, name, law, subject)
    for engine, given in found.items():
        yield _tried(trial.spec, "engines", agrees, subject, given[trial.name], engine)


def check_operator(spec: OpSpec, some: Sequence[Trial], bench: Bench, part: bool) -> Iterator[Result]:
    """The laws about an operator as a whole."""
    yield _tried(spec, "form", form, spec, part)
    yield _tried(spec, "identity", identity, bench, list(some))


def _tried(spec: OpSpec, name: str, law: Callable[..., str], *arguments: Any) -> Result:
    try:
        with tried(f"trying the law {name!r}", spec.cls()):
            return name, True, law(*arguments)
    except BrokenLaw as error:
        return name, False, str(error)


def check_file(path: str, engines: Sequence[str]) -> list[Result]:
    """All laws over a user's operator; ConfigError when the file holds none."""
    spec = find(path if path.endswith(".py") else f"{path}.py", Path.cwd())
    base = Path(spec.path).parent
    some = trials(spec, base)
    with tempfile.TemporaryDirectory(prefix="tamis-laws-") as folder:
        bench = Bench(Path(folder))
        results = list(check_operator(spec, some, bench, part=False))
        if not results[0][1]:
            return results[:1]
        with _others(engines) as others:
            found = {engine.name: on_engine(bench, some, engine) for engine in others}
            each = [(trial, list(check(Subject(trial, bench), found))) for trial in some]
    return results + _together(each)


@contextmanager
def _others(names: Sequence[str]) -> Iterator[list[Engine]]:
    """The engines beside the local one, which always runs: it is the reference."""
    with ExitStack() as stack:
        made = [make_engine(name, 2, "local") for name in names if name != "local"]
        yield [stack.enter_context(closing(engine)) for engine in made]


def _together(each: Sequence[tuple[Trial, Sequence[Result]]]) -> list[Result]:
    """One result a law: that of the first example that breaks it, else of the first one."""
    merged: dict[str, Result] = {}
    for trial, results in each:
        for law, holds, text in results:
            if law not in merged or (merged[law][1] and not holds):
                merged[law] = (law, holds, text if holds else f"{text} (example {dict(trial.fields)})")
    return list(merged.values())
