"""What the training runs showed, in words that claim no more than was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.measures import measure_of, spent, views
from pipeline.units import known, signed

RANDOM = "random"
PLACEBO = "placebo"
MEANS = ("macro", "all")
TITLES = {"macro": "Mean over domains", "all": "All held-out text"}
# Keys of a paired comparison.
DIFFERENCE, ERROR, HIGHER = "mean difference to random", "standard error", "higher is better"
# Student's t at 95 %, two-sided, by degrees of freedom: with few seeds two standard errors are not enough.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
        2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)  # fmt: skip
MANY = 2.0  # beyond the table
ALIKE = 0.02  # computation that differs by less is the same


def judge(cell: Mapping[str, Any]) -> str:
    """`better` or `worse` than random if the 95 % interval of the paired difference (Student's t over the
    seeds) leaves zero out, else `tie`; `unknown` where there is no error, for example with one seed.
    Lower is better, unless the cell says otherwise, as accuracies do."""
    difference, error = cell.get(DIFFERENCE), cell.get(ERROR)
    if difference is None or error is None or not known(difference) or not known(error):
        return "unknown"
    if abs(difference) <= errors_needed(cell.get("n")) * error:
        return "tie"
    return "better" if (difference > 0) == bool(cell.get(HIGHER)) else "worse"


def errors_needed(n: int | None) -> float:
    """How many standard errors a mean over n seeds must be from zero."""
    return T_95[n - 2] if n is not None and 2 <= n < len(T_95) + 2 else MANY


def verdict(train: Mapping[str, Any] | None) -> list[str]:
    """One sentence for every curated arm, then one for the placebo; empty when nothing was trained.
    Classifiers are judged by their accuracy."""
    view = views(train or {})[0]
    arms, paired = view.get("arms") or {}, view.get("paired") or {}
    if not arms:
        return []
    curated = [a for a in arms if a not in (RANDOM, PLACEBO) and paired.get(a)]
    if not curated:
        return ["No arm was compared with random, so training says nothing about the selection."]
    sentences = [
        f"{_arm(arm, paired[arm], measure_of(view).unit, spent(view))}{_price(arms, arm)}" for arm in curated
    ]
    if paired.get(PLACEBO):
        sentences.append(_placebo(paired[PLACEBO]))
    return sentences


def price(arms: Mapping[str, Any], arm: str) -> float | None:
    """An arm's computation by that of random; None where it is not known."""
    cost, base = ((arms.get(name) or {}).get("flops") for name in (arm, RANDOM))
    return cost / base if cost and base else None


def _price(arms: Mapping[str, Any], arm: str) -> str:
    """What an arm costs where that is another price than random's, as with selection inside the loop."""
    times = price(arms, arm)
    return f" It took {times:.2f} times the computation." if times and abs(times - 1) > ALIKE else ""


def title_of(domain: str) -> str:
    """A domain's name, or what a mean over domains is called."""
    return TITLES.get(domain, domain) or "(none)"


def domains_of(row: Mapping[str, Any]) -> list[str]:
    """The domains themselves, without the means over them."""
    return [d for d in row if d not in MEANS]


def judged(row: Mapping[str, Any]) -> dict[str, list[str]]:
    """The domains by how the arm did on them."""
    result: dict[str, list[str]] = {"better": [], "worse": [], "tie": [], "unknown": []}
    for domain in domains_of(row):
        result[judge(row[domain])].append(domain)
    return result


def plus_minus(cell: Mapping[str, Any], sign: bool = True) -> str:
    """A difference with its standard error: −0.310 ± 0.020."""
    value, error = cell.get(DIFFERENCE), cell.get(ERROR)
    text = signed(value) if sign or value is None else f"{abs(value):.3f}"
    return (
        f"{text}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{error:.3f}"
        if error is not None and known(error)
        else text
    )


def _arm(arm: str, row: Mapping[str, Any], unit: str, equal: str) -> str:
    by = judged(row)
    total = sum(map(len, by.values()))
    headline = row.get("macro") or (row[domains_of(row)[0]] if total == 1 else row.get("all"))
    if headline is None:
        return f"At equal {equal} against random, {arm} is {_tally(row, by, total)}."
    where = "" if total == 1 else f" on the mean over {total} domains"
    size = f"{plus_minus(headline, sign=False)} {unit}{where}{_seeds(headline.get('n'))}"
    offset = f"{plus_minus(headline)} {unit}{where}{_seeds(headline.get('n'))}"
    verb = judge(headline)
    claim = {
        "better": f"{arm} beats random by {size}",
        "worse": f"{arm} loses to random by {size}",
        "tie": f"{arm} is within noise of random, {offset}",
        "unknown": f"{arm} is at {offset} from random, with too few seeds to judge it",
    }[verb]
    tally = "" if total == 1 or verb == "unknown" else f": {_tally(row, by, total)}"
    return f"At equal {equal}, {claim}{tally}."


def _seeds(n: int | None) -> str:
    return f" ({n} seed{'s' if n != 1 else ''})" if n else ""


def _tally(row: Mapping[str, Any], by: Mapping[str, Sequence[str]], total: int) -> str:
    def extreme(domains: Sequence[str]) -> str:
        most = max(domains, key=lambda d: abs(row[d][DIFFERENCE]))
        return f"{'most on ' if len(domains) > 1 else ''}{most} {plus_minus(row[most])}"

    parts = [
        f"{word} on {len(by[word])} of {total} ({extreme(by[word])})"
        for word in ("better", "worse")
        if by[word]
    ]
    if by["tie"]:
        parts.append(f"within noise on {len(by['tie'])}" + ("" if parts else f" of {total}"))
    if by["unknown"]:
        parts.append(f"not to be judged on {len(by['unknown'])}")
    return ", ".join(parts)


def _placebo(row: Mapping[str, Any]) -> str:
    by = judged(row)
    total = sum(map(len, by.values()))
    differs = by["better"] + by["worse"]
    mean = row.get("macro") or {}
    off_mean = judge(mean) in ("better", "worse")
    if by["unknown"] and not differs:
        return "The placebo (the same scores, dealt to other rows) cannot be judged with so few seeds."
    if not differs and not off_mean:
        every = "" if total == 1 else f" on the mean and on all {total} domains"
        return f"The placebo (the same scores, dealt to other rows) ties with random{every}, as it must."
    places = [f"on {len(differs)} of {total} domains"] if differs else []
    places += ["on the mean"] if off_mean else []
    return (
        f"The placebo (the same scores, dealt to other rows) differs from random {' and '.join(places)}: "
        "it must tie, so read differences of that size as noise."
    )
