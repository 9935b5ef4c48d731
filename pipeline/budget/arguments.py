"""The arguments of `tamis budget`; only the standard library is imported, for `tamis --help`."""

from __future__ import annotations

import argparse
import math
from typing import Any

from pipeline.cli_arguments import count, plain, share

KINDS = (
    "chinchilla, data_constrained, kaplan, kaplan_n, kaplan_d, transfer, hestness, m4, bnsl or exponential; "
    "several with commas: the one that meets the largest runs best is taken"
)


def amount(text: str) -> float:
    """A positive number such as 2e11."""
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        value = -1.0
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number such as 2e11")
    return value


def pool(text: str) -> tuple[str, float, str | None]:
    """NAME=TOKENS or NAME=TOKENS:CURVE."""
    name, equals, rest = text.partition("=")
    tokens, _, curve = rest.partition(":")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no pool; write it as web=2e11 or web=2e11:curve.csv")
    return name, amount(tokens), curve or None


def constant(text: str) -> tuple[str, float]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    try:
        return name, float(value if equals else "none")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no constant; write it as alpha=0.35") from None


def add_budget(commands: Any) -> None:
    made = commands.add_parser(
        "budget", help="fit scaling laws, and plan size, tokens and kept share",
        description="Fit scaling laws to training runs, and plan what a budget of compute and pools of\n"
        "tokens should be spent on: model size, tokens, how much of a pool to keep, how often to repeat it.",
        epilog="examples:\n  tamis budget fit runs.csv --out law.json\n"
        "  tamis budget plan --law law.json --flops 1e20 --pool web=2e11:keep_curve.csv --pool wiki=4e9\n"
        "  tamis budget epochs --unique 2e9 --tokens 1e10",
    )  # fmt: skip
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    _fit(actions)
    _plan(actions)
    _epochs(actions)


def _fit(actions: Any) -> None:
    example = (
        "tamis budget fit runs.csv --kind chinchilla --drop-outliers 5 --out law.json\n"
        "  tamis budget fit runs.parquet --kind data_constrained --drop-overfitted 1.1\n"
        "  tamis budget fit runs.jsonl --kind hestness,m4,bnsl,exponential --over D\n"
        "  tamis budget fit runs.csv --group architecture"
    )
    fit = plain(
        actions, "fit", "fit a law to runs", example,
        "RUNS (.parquet, .csv, .jsonl) has the columns N (parameters), D (tokens) or flops, loss, and\n"
        "optionally U (unique tokens) and name. Of the law of transfer, loss is the tokens that\n"
        "pre-training was worth.",
    )  # fmt: skip
    fit.add_argument("runs", metavar="RUNS", help="the table of runs")
    fit.add_argument("--kind", default="chinchilla", metavar="KIND", help=f"{KINDS} (default: chinchilla)")
    fit.add_argument("--group", metavar="COLUMN", help="fit a law for each value of this column")
    fit.add_argument(
        "--drop-outliers", type=count, default=0, metavar="N",
        help="leave out the N runs that the law meets worst, one after the other (default: 0)",
    )  # fmt: skip
    fit.add_argument(
        "--drop-overfitted", type=amount, metavar="F",
        help="leave out runs whose loss is above F times the published law of repeats",
    )  # fmt: skip
    fit.add_argument(
        "--fix", type=constant, action="append", default=[], metavar="NAME=VALUE",
        help="a constant that is known, as alpha=0.35; may be given again",
    )  # fmt: skip
    fit.add_argument(
        "--over", choices=("N", "D"), default="D", help="axis of laws of one variable (default: D)"
    )
    fit.add_argument("--holdout", type=share, default=0.1, metavar="S", help="share held out (default: 0.1)")
    fit.add_argument("--bootstrap", type=count, default=200, metavar="B", help="refits (default: 200)")
    fit.add_argument("--seed", type=count, default=0, metavar="N", help="of the bootstrap (default: 0)")
    fit.add_argument("--out", metavar="FILE", help="write the law as JSON")


def _plan(actions: Any) -> None:
    example = (
        "tamis budget plan --law law.json --flops 1e20 --pool web=2e11:curve.csv --pool wiki=4e9 \\\n"
        "      --score-params 135e6 --out plan/\n"
        "  tamis budget plan --law epoch --flops 6e18 --pool all=1e9\n"
        "  tamis budget plan budget.yaml"
    )
    plan = plain(
        actions, "plan", "plan size, tokens, kept share and epochs", example,
        "A keep curve is a CSV or JSON with the columns keep and q (what a token of the best share is\n"
        "worth), or keep, loss, N, D and optionally U of proxy runs at three shares or more, one of them 1.\n"
        "The operator keep_curve tells which rows a share keeps; what they teach is measured by training\n"
        "proxies on them. In a YAML file: law, group, flops, pools (name: tokens, keep_curve, multiplier),\n"
        "score_params, max_epochs.",
    )  # fmt: skip
    plan.add_argument("file", metavar="YAML", nargs="?", help="the settings; options here win over it")
    plan.add_argument(
        "--law", metavar="LAW",
        help="a file of `budget fit --out`, or constants of: epoch, chinchilla, data_constrained, kaplan",
    )  # fmt: skip
    plan.add_argument("--group", metavar="VALUE", help="whose law, where the file has one for each group")
    plan.add_argument("--flops", type=amount, metavar="C", help="the budget, training and scoring together")
    plan.add_argument(
        "--pool", type=pool, action="append", default=[], metavar="NAME=TOKENS[:CURVE]", dest="pools",
        help="unique tokens, and the file of a keep curve; may be given again",
    )  # fmt: skip
    plan.add_argument("--score-params", type=amount, metavar="N", help="size of the model that scores a pool")
    plan.add_argument("--max-epochs", type=amount, metavar="E", help="over any pool at most (default: 16)")
    plan.add_argument("--out", metavar="FOLDER", help="write plan.json and plan.html there")


def _epochs(actions: Any) -> None:
    epochs = plain(
        actions, "epochs", "say what repeating data is worth",
        "tamis budget epochs --unique 2e9 --tokens 1e10",
        "By the law of Muennighoff et al. 2023: the e-th repeat is worth exp(-e / R*) of a first pass.",
    )  # fmt: skip
    epochs.add_argument("--unique", type=amount, required=True, metavar="U", help="unique tokens")
    epochs.add_argument("--tokens", type=amount, required=True, metavar="D", help="tokens to train on")
    epochs.add_argument("--r-star", type=amount, default=15.387756, metavar="R", help="R_D* (default: 15.39)")
