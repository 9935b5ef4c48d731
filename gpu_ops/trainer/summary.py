"""What the runs of a comparison say together: curves by arm, and paired differences to random."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RANDOM = "random"  # the arm that the others are compared with
# What points of a curve may have beside their losses, in the same form.
BESIDE = ("accuracy", "memorised", "memorised_loss")
Result = dict[str, Any]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation (None for a single value)."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": list(values)}


def point_spread(points: Sequence[Result]) -> Result:
    """One point of a curve over the seeds."""
    return {
        "tokens": points[0]["tokens"],
        **_spreads(points),
        **{name: _spreads([point[name] for point in points]) for name in BESIDE if name in points[0]},
        **({"macro_f1": spread([p["macro_f1"] for p in points])} if "macro_f1" in points[0] else {}),
    }


def _spreads(parts: Sequence[Result]) -> Result:
    return {
        "domains": {d: spread([p["domains"][d] for p in parts]) for d in parts[0]["domains"]},
        "macro": spread([p["macro"] for p in parts]),
        "all": spread([p["all"] for p in parts]),
    }


def arm_summary(results: Sequence[Result]) -> Result:
    """An arm's curve, as far as all seeds came, and the evaluations of the models that were kept; `repeats`:
    how often its corpus was seen, per seed (1.0 is one epoch); `steps`: after which each run ended;
    `flops`: of one run, what it looked at to choose by included."""
    curve = [point_spread(points) for points in zip(*(r["curve"] for r in results), strict=False)]
    return {
        "seeds": [result["seed"] for result in results],
        "curve": curve,
        "final": point_spread([final(result) for result in results]),
        "steps": [result.get("steps") for result in results],
        "corpus_tokens": [result["corpus_tokens"] for result in results],
        "flops": float(np.mean([result["flops"] for result in results])),
        "repeats": [result["tokens"] / result["corpus_tokens"] for result in results],
    }


def final(result: Result) -> Result:
    """The evaluation of the model that was kept: the last one, or the best where a run stops early."""
    found: Result = result["curve"][result.get("kept", -1)]
    return found


def paired(arms: Mapping[str, Sequence[Result]], what: str | None = None) -> Result:
    """Each arm's final loss minus random's on the same seed, by domain, with macro and all: nats per byte (or
    per row that is classified), negative is better. The standard error is over seeds; what the seeds share is
    not in it. what: one of BESIDE for the differences of that; of accuracy, positive is better."""
    finals = {name: [_flat(result, what) for result in results] for name, results in arms.items()}
    if RANDOM not in arms or not finals[RANDOM][0]:
        return {}
    base = finals[RANDOM]
    better = {"higher is better": True} if what == "accuracy" else {}
    return {
        name: {
            key: {**_difference([found[key] for found in results], [b[key] for b in base]), **better}
            for key in base[0]
        }
        for name, results in finals.items()
        if name != RANDOM
    }


def _flat(result: Result, what: str | None) -> dict[str, float]:
    found = final(result)
    found = found.get(what, {}) if what else found
    return {**found["domains"], "macro": found["macro"], "all": found["all"]} if found else {}


def _difference(values: Sequence[float], base: Sequence[float]) -> Result:
    differences = np.subtract(values, base)
    n = len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(n) if n > 1 else None
    return {"mean difference to random": float(differences.mean()), "standard error": error, "n": n}


def resources(results: Sequence[Result]) -> Result:
    """Sums over the runs (flops, seconds, energy), means (speeds) and the largest peaks."""
    return {
        "parameters": results[0]["parameters"],
        "model_bytes": results[0]["model_bytes"],
        "runs": len(results),
        "tokens": sum(result["tokens"] for result in results),
        "bytes_by_dtype": results[0]["bytes_by_dtype"],
        "flops": sum(result["flops"] for result in results),
        "looking_flops": sum(result["looking_flops"] for result in results),
        **{
            name: _mean(results, name) for name in ("tokens_per_s", "step_seconds", "step_seconds_p95", "mfu")
        },
        **{name: _sum(results, name) for name in ("kwh", "kg_co2e")},
        "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        "peak_gpu_bytes": max(result["peak_gpu_bytes"] for result in results),
        "seconds": sum(result["seconds"] for result in results),
        "cpu_seconds": sum(result["cpu_seconds"] for result in results),
    }


def _mean(results: Sequence[Result], name: str) -> float | None:
    known = [result[name] for result in results if result[name] is not None]
    return float(np.mean(known)) if known else None


def _sum(results: Sequence[Result], name: str) -> float | None:
    known = [result[name] for result in results if result[name] is not None]
    return float(np.sum(known)) if known else None


def warnings(arms: Mapping[str, Sequence[Result]]) -> list[str]:
    """What a reader of the numbers has to know."""
    found = []
    for name, results in arms.items():
        fewest = min(results, key=lambda result: int(result["corpus_tokens"]))
        if fewest["corpus_tokens"] < fewest["tokens"]:
            found.append(
                f"{name}: {fewest['corpus_tokens']:,} tokens for a budget of {fewest['tokens']:,}: repeated "
                f"{fewest['tokens'] / fewest['corpus_tokens']:.2f} times"
            )
    early = [name for name, results in arms.items() if any(r.get("stopped") for r in results)]
    if early:
        found.append(f"runs of {', '.join(early)} stopped early, so that arms differ in what they trained on")
    if len(arms) == 1:
        return found
    if RANDOM not in arms:
        found.append(f"no arm is called {RANDOM!r}, so there are no paired differences")
    if any(len(results) < 2 for results in arms.values()):
        found.append("one seed says nothing about the spread; take at least three")
    return found
