"""Claim: a few examples of a domain find the rest of it in a mixed pool, and the best share of the pool
teaches a language model of that domain more than all of it.

    python -m workflows.bench.selection_dsir DEBIAN_DOCS_MIX.parquet PAIRS.parquet OUT

Per domain and seed: 100 documents are the target, 95 are held out to test a model, 300 stay in a pool with up
to 300 of each of 14 other domains (about 6 % are wanted); what is a near-copy (a Jaccard of 0.5 or more, the
pairs' file) of a target or test document is in no pool; documents are cut after 4,000 characters. All scores
come from one `tamis run` of a pool. Prints precision at 100 and 300, per cent of the wanted, minus random of
the same seed; then, by the share that is kept, precision, KL reduction and perplexity on the test documents
of a bigram model of words trained on the kept ones. Two controls: random against random, and DSIR's scores
permuted.

Found (4 domains, 5 seeds, 4 minutes): precision at 300, mean / sum / BM25, python .794 / .829 / .741, rust
.859 / .803 / .751, database .838 / .819 / .734, cpp .953 / .953 / .785, random .07. Both controls tie with
random, but in database, where random was lucky at 100 (again: -.040 +- .008). BM25 has the lower precision,
but models of its first 2 and 5 % beat those of the highest means in all domains. The curve is U-shaped: 10 %
(database: 20 %) of the pool beats all of it by 12 / 21 / 16 / 40 % of perplexity. Sums correlate with
length by -.48 to -.59, means by +.28 to -.09; the ESS of sums is 1, so that Gumbel noise of temperature 1
changes nothing; with means a temperature of 0.1 costs 5 to 26 points of precision at 300: use 0.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from operators.kernels.divergence import divergence
from operators.ngram_counts import NgramCounts
from pipeline.cli import main as tamis
from workflows.bench.tables import table
from workflows.bench.word_model import Vocabulary, WordModel

TARGET, TEST, MOST, LONGEST = 100, 95, 300, 4000
DOMAINS = ("python", "rust", "database", "cpp")
AT = (100, 300)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.36, 0.6, 1.0)
CONFIG = """\
source: {{path: pool.parquet, text: text, id: id}}
seed: {seed}
nodes:
  mean: {{op: dsir, target: target.parquet}}
  sum: {{op: dsir, target: target.parquet, normalise: sum}}
  bm25: {{op: bm25, target: target.parquet, mark: true}}
  gumbel: {{op: importance_key, score: sum.log_weight}}
  gumbel_mean: {{op: importance_key, score: mean.log_weight, temperature: 0.1}}
  random: {{op: random_key}}
  again: {{op: random_key}}
  curve: {{op: keep_curve, score: mean.log_weight, target: target.parquet, truth: wanted}}
export: {{path: out, format: parquet, columns: [{columns}]}}
"""
COLUMNS = (
    "mean.log_weight",
    "sum.log_weight",
    "bm25.rank",
    "gumbel.priority",
    "gumbel_mean.priority",
    "random.priority",
    "again.priority",
)
Int64s = npt.NDArray[np.int64]
Orders = dict[str, Int64s]


@dataclass(frozen=True)
class Split:
    """Texts of the target, of the test, and of the pool; and which of the pool are of the target's domain."""

    target: list[str]
    test: list[str]
    pool: list[str]
    wanted: npt.NDArray[np.bool_]


def read(corpus: Path, pairs: Path) -> tuple[dict[str, list[str]], dict[str, str], dict[str, set[str]]]:
    """The ids of each domain, in the file's order; texts, cut; and of every id its near-copies."""
    rows = pq.read_table(corpus, columns=["id", "domain", "text"]).to_pydict()
    domains: dict[str, list[str]] = defaultdict(list)
    for name, domain in zip(rows["id"], rows["domain"], strict=True):
        domains[domain].append(name)
    near: dict[str, set[str]] = defaultdict(set)
    both = pq.read_table(pairs, columns=["id_a", "id_b"]).to_pydict()
    for a, b in zip(both["id_a"], both["id_b"], strict=True):
        near[a].add(b)
        near[b].add(a)
    texts = {name: text[:LONGEST] for name, text in zip(rows["id"], rows["text"], strict=True)}
    return dict(domains), texts, near


def split(
    domains: Mapping[str, list[str]],
    texts: Mapping[str, str],
    near: Mapping[str, set[str]],
    of: str,
    seed: int,
) -> Split:
    """One draw. The test documents are no near-copies of the target's either."""
    rng = np.random.default_rng([seed, *of.encode()])
    drawn = {name: [ids[i] for i in rng.permutation(len(ids))] for name, ids in domains.items()}
    target = drawn[of][:TARGET]
    known = set(target).union(*(near.get(name, ()) for name in target))
    test = [name for name in drawn[of][TARGET:] if name not in known][:TEST]
    known |= set(test).union(*(near.get(name, ()) for name in test))
    pool = [
        (name, domain == of)
        for domain, names in drawn.items()
        for name in [name for name in names if name not in known][:MOST]
    ]
    pool = [pool[i] for i in rng.permutation(len(pool))]
    wanted = np.array([mine for _, mine in pool])
    mine, tested, others = ([texts[n] for n in some] for some in (target, test, [n for n, _ in pool]))
    return Split(mine, tested, others, wanted)


def scored(one: Split, folder: Path, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """What one run of tamis gives every document of the pool, in order; NaN for none."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:06d}" for i in range(len(one.pool))]
    pq.write_table(pa.table({"id": names, "text": one.pool, "wanted": one.wanted}), folder / "pool.parquet")
    pq.write_table(pa.table({"text": one.target}), folder / "target.parquet")
    config = folder / "select.yaml"
    config.write_text(CONFIG.format(seed=seed, columns=", ".join(COLUMNS)))
    if code := tamis(["run", str(config), "--store", str(folder / "store")]):
        raise SystemExit(code)
    parts = [pq.ParquetFile(file).read(COLUMNS) for file in sorted((folder / "out").glob("*.parquet"))]
    found = pa.concat_tables(parts)
    return {name: found.column(name).cast(pa.float64(), safe=False).to_numpy() for name in COLUMNS}


def orders(found: Mapping[str, npt.NDArray[np.float64]], seed: int) -> Orders:
    """Method -> documents, the best first; BM25's list ends where no example finds more."""
    weight = np.nan_to_num(found["mean.log_weight"], nan=-np.inf)
    permuted = np.random.default_rng(seed).permutation(weight)
    rank = np.argsort(found["bm25.rank"], kind="stable")[: int(np.isfinite(found["bm25.rank"]).sum())]

    def largest(values: npt.NDArray[np.float64]) -> Int64s:
        return np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")

    return {
        "random": largest(found["random.priority"]),
        "DSIR, mean, the best": largest(weight),
        "DSIR, mean, Gumbel at 0.1": largest(found["gumbel_mean.priority"]),
        "DSIR, sum, the best": largest(found["sum.log_weight"]),
        "DSIR, sum, Gumbel": largest(found["gumbel.priority"]),
        "BM25, best rank": rank,
        "random again": largest(found["again.priority"]),
        "DSIR, mean, permuted": largest(permuted),
    }


def precisions(one: Split, ways: Orders) -> dict[str, list[float]]:
    """Method -> the share of wanted documents among the first, for each k."""
    return {name: [float(one.wanted[order[:k]].mean()) for k in AT] for name, order in ways.items()}


def curve(one: Split, ways: Orders) -> dict[str, list[list[float]]]:
    """Method -> for each share precision, KL reduction and perplexity; NaN beyond BM25's list."""
    words = Vocabulary(one.pool)
    ids, test = [words.ids(text) for text in one.pool], [words.ids(text) for text in one.test]
    target = counts_of(one.target)
    whole = divergence(target, counts_of(one.pool), 1.0)
    found: dict[str, list[list[float]]] = {}
    for name, order in ways.items():
        lines = found.setdefault(name, [])
        for k in (round(share * len(one.pool)) for share in SHARES):
            kept = order[:k]
            if len(kept) < k:
                lines.append([np.nan] * 3)
                continue
            kl = divergence(target, counts_of([one.pool[i] for i in kept]), 1.0)
            model = WordModel(len(words), [ids[i] for i in kept])
            lines.append([float(one.wanted[kept].mean()), float(whole - kl), model.perplexity(test)])
    return found


def counts_of(texts: Sequence[str]) -> Int64s:
    """(10000,) hashed n-grams."""
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    return np.asarray(NgramCounts().fold(batch, {})["counts"])


def shape(one: Split, found: Mapping[str, npt.NDArray[np.float64]]) -> list[float]:
    """Of the sums and of the means: the correlation with the length, and ESS at temperature 1."""
    length = np.array([len(text) for text in one.pool])
    figures = []
    for name in ("sum.log_weight", "mean.log_weight"):
        known = np.isfinite(found[name])
        value = found[name][known]
        w = np.exp(value - value.max())
        figures += [float(np.corrcoef(length[known], value)[0, 1]), float(w.sum() ** 2 / (w * w).sum())]
    return figures


def paired(values: npt.NDArray[np.float64], base: npt.NDArray[np.float64]) -> str:
    """Mean difference and its standard error, over seeds."""
    if np.isnan(values).any():
        return "-"
    difference = values - base
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return f"{difference.mean():+.3f} ± {error:.3f}"


def report(
    domain: str, found: list[tuple[list[float], dict[str, list[float]], dict[str, list[list[float]]]]]
) -> str:
    """The tables of one domain, over its seeds."""
    at = {name: np.array([one[1][name] for one in found]) for name in found[0][1]}
    head = ("", *(cell for k in AT for cell in (f"precision at {k}", "minus random")))
    lines = [
        [
            name,
            *(
                c
                for i in range(len(AT))
                for c in (f"{x[:, i].mean():.3f}", paired(x[:, i], at["random"][:, i]))
            ),
        ]
        for name, x in at.items()
    ]
    out = [f"\n{domain}, {len(found)} seeds\n\n{table(head, lines)}"]
    r_sum, ess_sum, r_mean, ess_mean = np.mean([one[0] for one in found], axis=0)
    out.append(
        f"\ncorrelation with length: sum {r_sum:+.2f}, mean {r_mean:+.2f}; ESS: sum {ess_sum:.1f}, "
        f"mean {ess_mean:.0f} of the pool"
    )
    bend = {name: np.array([one[2][name] for one in found]) for name in found[0][2]}
    head = ("kept", *(f"{share:.0%}" for share in SHARES))
    for i, what in enumerate(("precision", "KL reduction, nats", "perplexity", "perplexity minus random")):
        lines = []
        for name, x in bend.items():
            if i < 3:
                lines.append([name, *(f"{v:.3g}" for v in x[:, :, i].mean(axis=0))])
            else:
                base = bend["random"][:, :, 2]
                lines.append([name, *(paired(x[:, j, 2], base[:, j]) for j in range(len(SHARES)))])
        out.append(f"\n{what}\n\n{table(head, lines)}")
    best = bend["DSIR, mean, the best"][:, :, 2]
    place = int(best.mean(axis=0).argmin())
    gain = best[:, place] / best[:, -1]
    out.append(
        f"\nDSIR, mean: perplexity is lowest at {SHARES[place]:.0%}, {100 * (gain.mean() - 1):+.1f} % ± "
        f"{100 * gain.std(ddof=1) / len(gain) ** 0.5:.1f} against the whole pool"
        if len(gain) > 1
        else ""
    )
    return "\n".join(out)


CURVES = ("random", "DSIR, mean, the best", "DSIR, sum, the best", "BM25, best rank", "DSIR, mean, permuted")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    given = parser.parse_args(arguments)
    domains, texts, near = read(given.corpus, given.pairs)
    for domain in given.domains:
        found = []
        for seed in range(given.seeds):
            one = split(domains, texts, near, domain, seed)
            scores = scored(one, given.out / f"{domain}-{seed}", seed)
            ways = orders(scores, seed)
            bends = curve(one, {name: ways[name] for name in CURVES})
            found.append((shape(one, scores), precisions(one, ways), bends))
        print(report(domain, found), flush=True)


if __name__ == "__main__":
    main()
