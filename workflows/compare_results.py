"""What a comparison of a DAG with its controls found: tables, verdicts and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workflows.selecting.pages import FAINT, NEUTRAL, STRONG, Panel, forest, panel, write_compared
from workflows.selecting.results import Comparison, Line
from workflows.selecting.statistics import FEWEST, LOSES, UNKNOWN, WINS, Estimate, estimate, paired

CURATED, RANDOM, AGAIN, RAW, PLACEBO = "curated", "random", "again", "raw", "placebo"
DEDUP, ORACLE, MACRO = "dedup", "oracle", "macro"
CONTROLS = (AGAIN, RAW, PLACEBO)  # what must tie with random; the placebo but for duplicates
CASES = 2  # on which a difference must be seen
STYLES = {RANDOM: NEUTRAL, CURATED: STRONG}


@dataclass(frozen=True)
class Case:
    """One corpus with one target. arms: what the trainer says of each."""

    corpus: str
    target: str | None
    tokens: int
    arms: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.corpus} for {self.target}" if self.target else self.corpus

    @property
    def judged(self) -> str:
        """The domain, or the mean over domains, that the verdict is about."""
        return self.target or MACRO

    @property
    def domains(self) -> list[str]:
        """The judged one first, then the mean, then the others."""
        every = list(self.arms[RANDOM]["final"]["domains"])
        return list(dict.fromkeys([self.judged, MACRO, *every]))

    def losses(self, arm: str, domain: str) -> list[float]:
        """Held-out nats per byte, seed by seed."""
        return _cell(self.arms[arm]["final"], domain)

    def gain(self, arm: str, other: str, domain: str) -> Estimate:
        """By how much an arm's loss is lower than another's on the same seeds."""
        return paired(self.losses(other, domain), self.losses(arm, domain))

    def comparison(self, domain: str) -> Comparison:
        """All arms against random on one domain, the controls last."""
        base = self.losses(RANDOM, domain)
        order = [a for a in (CURATED, ORACLE, DEDUP, PLACEBO, RAW, AGAIN) if a in self.arms]
        lines = []
        for arm in order:
            gain = self.gain(arm, RANDOM, domain)
            relative = gain.mean / float(np.mean(base))
            lines.append(Line(arm, estimate(self.losses(arm, domain)), gain, relative, 0, arm in CONTROLS))
        return Comparison(self.name, domain, self.tokens, "nats per byte", estimate(base), lines)


def _cell(point: dict[str, Any], domain: str) -> list[float]:
    found: list[float] = (point[MACRO] if domain == MACRO else point["domains"][domain])["values"]
    return found


def show(case: Case) -> str:
    """A row a domain: random's loss, and how much lower that of each arm is."""
    arms = [line.name for line in case.comparison(MACRO).lines]
    lines = [
        f"{case.name}: {case.tokens:,} tokens; random's nats per byte, and by how much others' are lower",
        f"  {'':12}{RANDOM:>8}" + "".join(f"{arm:>17}" for arm in arms),
    ]
    for domain in case.domains:
        one = case.comparison(domain)
        cells = "".join(f"{_short(line.gain):>17}" for line in one.lines)
        lines.append(f"  {domain:12}{one.random.mean:8.3f}{cells}")
    seen = "".join(f"{np.mean(case.arms[arm]['repeats']):>17.2f}" for arm in arms)
    lines.append(f"  {'epochs':12}{np.mean(case.arms[RANDOM]['repeats']):8.2f}{seen}")
    return "\n".join(lines)


def _short(gain: Estimate) -> str:
    mark = {WINS: "+", LOSES: "-"}.get(gain.verdict, " ")
    return f"{gain.mean:+.3f} ± {gain.error:.3f}{mark}"


def verdicts(cases: Sequence[Case]) -> str:
    """Curated against every other arm by the rule of the study, then what it costs elsewhere, then the
    controls."""
    told = []
    for other in (RANDOM, RAW, PLACEBO, DEDUP, ORACLE):
        known = [case for case in cases if other in case.arms]
        if known:
            told.append(_against(other, known))
    gains = {
        (case.name, domain): case.gain(CURATED, RANDOM, domain)
        for case in cases
        for domain in case.domains
        if domain not in (case.judged, MACRO)
    }
    if gains:
        told.append(f"elsewhere, curated against random: {_tally(gains)}")
    means = {(c.name, MACRO): c.gain(CURATED, RANDOM, MACRO) for c in cases if c.judged != MACRO}
    if means:
        told.append(f"mean over domains, curated against random: {_tally(means)}")
    for arm in CONTROLS:
        known = [case for case in cases if arm in case.arms]
        cells = {(c.name, d): c.gain(arm, RANDOM, d) for c in known for d in c.domains if d != MACRO}
        if cells:
            told.append(f"control {arm} against random: {_tally(cells)}; chance alone gives 12 in 100")
    return "\n".join(told)


def _against(other: str, cases: Sequence[Case]) -> str:
    gains = [case.gain(CURATED, other, case.judged) for case in cases]
    better = sum(gain.verdict == WINS for gain in gains)
    worse = sum(gain.verdict == LOSES for gain in gains)
    few = min(gain.n for gain in gains) < FEWEST
    name = "reproduced" if better >= CASES else "not reproduced"
    where = ", ".join(
        f"{case.judged} of {case.corpus} {gain.text(signed=True)}"
        for case, gain in zip(cases, gains, strict=True)
    )
    told = f"curated better than {other}: {name}, better on {better} and worse on {worse} of {len(cases)}"
    return f"{told} ({where})" + (f" (fewer than {FEWEST} seeds)" if few else "")


def _tally(gains: dict[tuple[str, str], Estimate]) -> str:
    verdict = [gain.verdict for gain in gains.values()]
    told = f"better on {verdict.count(WINS)}, worse on {verdict.count(LOSES)} of {len(gains)}"
    if verdict.count(UNKNOWN):
        return f"{told}, {verdict.count(UNKNOWN)} with too few seeds"
    (name, domain), worst = min(gains.items(), key=lambda item: item[1].mean)
    return told + (f", the worst {domain} of {name} {worst.text(signed=True)}" if worst.mean < 0 else "")


def curves(case: Case, domain: str) -> Panel:
    """The losses of all arms over tokens, random's and curated's in front."""
    series = {}
    for arm in [a for a in case.arms if a not in STYLES] + [RANDOM, CURATED]:
        points = case.arms[arm]["curve"]
        series[arm] = [(point["tokens"], estimate(_cell(point, domain))) for point in points[1:]]
    styles = {arm: STYLES.get(arm, FAINT) for arm in series}
    return panel(f"{case.name}: {domain}", series, styles)


def write(file: Path, config: str, cases: Sequence[Case]) -> str:
    """The page: differences domain by domain, curves, all tables. Returns the verdicts."""
    told = verdicts(cases)
    shown = [(case, domain) for case in cases for domain in case.domains]
    forests = [
        (
            f"{case.name}: {'mean over domains' if domain == MACRO else domain}",
            forest(case.comparison(domain)),
        )
        for case, domain in shown
    ]
    panels = [curves(case, d) for case in cases for d in dict.fromkeys([case.judged, MACRO])]
    seeds = len(cases[0].losses(RANDOM, MACRO))
    about = (
        "Held-out loss (nats per byte) of models of random documents minus that of each arm, on the same "
        f"of {seeds} seeds and as many tokens; whiskers are 2 standard errors, hollow marks cannot be told "
        "from random. Every seed has another initialisation and another pool."
    )
    legend = {CURATED: STRONG, RANDOM: NEUTRAL, "others": FAINT}
    text = [told, *(show(case) for case in cases)]
    write_compared(file, f"{config} against random", about, forests, panels, legend, text, "tokens")
    return told
