"""What `tamis budget` does: fits, plans, and says what repeats are worth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError
from pipeline.units import number, short


def budget(arguments: argparse.Namespace) -> int:
    """One of the commands on a budget."""
    return {"fit": _fit, "plan": _plan, "epochs": _epochs}[arguments.action](arguments)


def _fit(arguments: argparse.Namespace) -> int:
    from pipeline.budget.fit import choose, overfitted
    from pipeline.budget.laws import FORMS
    from pipeline.budget.runs import read_runs
    from pipeline.budget.text import chosen_text, groups_text, law_text
    from pipeline.suggest import did_you_mean

    kinds = [kind.strip() for kind in arguments.kind.split(",")]
    for kind in kinds:
        if kind not in FORMS:
            raise ConfigError(f"--kind {arguments.kind}: no law {kind!r}{did_you_mean(kind, FORMS)}")
    reads = tuple(dict.fromkeys(name for kind in kinds for name in FORMS[kind].reads))
    laws: dict[str, Any] = {}
    for value, runs in read_runs(arguments.runs, reads, arguments.group).items():
        if value or arguments.group:
            print(f"== {arguments.group} {value}")
        if arguments.drop_overfitted:
            gone = overfitted(runs, arguments.drop_overfitted)
            print(
                f"{int(gone.sum())} of {len(runs)} runs are above {arguments.drop_overfitted:g} times the "
                "published law"
            )
            runs = runs.at(~gone)
        if not 0 <= arguments.drop_outliers < len(runs):
            raise ConfigError(f"--drop-outliers {arguments.drop_outliers}: there are {len(runs)} runs")
        try:
            law, tried = _one(arguments, runs, kinds, choose)
        except DataError as error:
            raise DataError(
                f"{arguments.runs}: {f'{arguments.group} {value}: ' * bool(value)}{error}"
            ) from error
        if len(kinds) > 1:
            print(chosen_text(tried))
        print(law_text(law, runs))
        laws[value] = law
    if arguments.group and len(laws) > 1:
        print(groups_text(laws, arguments.group))
    if arguments.out:
        made = (
            {"groups": {k: v.as_json() for k, v in laws.items()}} if arguments.group else laws[""].as_json()
        )
        _write(Path(arguments.out), json.dumps(made, indent=1, allow_nan=False) + "\n")
        print(f"wrote {arguments.out}")
    return 0


def _one(arguments: argparse.Namespace, runs: Any, kinds: list[str], choose: Any) -> tuple[Any, Any]:
    from pipeline.budget.fit import fit

    options = {
        "bootstrap": arguments.bootstrap, "holdout": arguments.holdout,
        "drop_outliers": arguments.drop_outliers, "fixed": dict(arguments.fix), "over": arguments.over,
        "seed": arguments.seed,
    }  # fmt: skip
    if len(kinds) > 1:
        return choose(runs, kinds, **options)
    law = fit(runs, kinds[0], **options)
    return law, {kinds[0]: law}


def _plan(arguments: argparse.Namespace) -> int:
    from pipeline.budget.page import render
    from pipeline.budget.planner import plan
    from pipeline.budget.settings import settings
    from pipeline.budget.text import plan_text

    given = settings(arguments)
    made = plan(
        given.flops, given.pools, given.law,
        score_flops_per_token=2 * given.score_params, max_epochs=given.max_epochs,
    )  # fmt: skip
    print(plan_text(made, given))
    if arguments.out:
        folder = Path(arguments.out)
        _write(folder / "plan.json", json.dumps(given.as_json(made), indent=1, allow_nan=False) + "\n")
        _write(folder / "plan.html", render(made, given))
        print(f"wrote {folder / 'plan.json'} and {folder / 'plan.html'}")
    return 0


def _epochs(arguments: argparse.Namespace) -> int:
    from pipeline.budget.planner import epochs_worth_it

    unique, tokens, star = arguments.unique, arguments.tokens, arguments.r_star
    worth, epochs = epochs_worth_it(unique, tokens, star), tokens / unique
    print(f"{short(tokens)} tokens over {short(unique)} unique ones are {epochs:.3g} epochs")
    print(f"they are worth {short(worth)} first passes ({worth / tokens:.1%} of fresh tokens)")
    if epochs > 1:
        import math

        last = math.exp(-(epochs - 1) / star)
        print(f"a token of the last epoch is worth {last:.1%} of a fresh one")
        more = max(0.0, unique * (1 + star) - worth)
        print(f"more epochs add at most {short(more)} first passes, however many (R_D* = {number(star)})")
        print(
            "R_D* is weakly identified: 11.8 to 15.4 on the published runs, depending on which are left out"
        )
    return 0


def _write(path: Path, text: str) -> None:
    """All of it or nothing; ConfigError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
