"""The quickstart's sample is what its page and its licences say, and its script draws as it promises."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows import make_quickstart_sample as sample

FOLDER = Path(__file__).parents[2] / "configs" / "quickstart"
LICENSES = {part.package: part.license for part in sample.PARTS}
DOMAINS = {part.package: part.domain for part in sample.PARTS}


@pytest.fixture(scope="module")
def files() -> list[list[dict[str, str]]]:
    return [pq.ParquetFile(path).read().to_pylist() for path in sorted(FOLDER.glob("sample/*.parquet"))]


@pytest.fixture(scope="module")
def pool(files: list[list[dict[str, str]]]) -> list[dict[str, str]]:
    return [row for rows in files for row in rows]


@pytest.fixture(scope="module")
def target() -> list[dict[str, str]]:
    lines = (FOLDER / "sample" / "target_python.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[k:] for k in range(5)), strict=False)) if len(words) > 5 else {tuple(words)}


def test_sizes(pool: list[dict[str, str]], target: list[dict[str, str]]) -> None:
    sizes = [len(row["text"].encode()) for row in pool]
    assert 3_000_000 <= sum(sizes) <= 5_000_000
    assert min(sizes) >= 200
    assert max(sizes) <= 64_000
    assert 100_000 <= sum(len(row["text"].encode()) for row in target) <= 200_000
    assert sum(path.stat().st_size for path in FOLDER.glob("sample/*")) <= 2_500_000


def test_every_file_has_every_domain(files: list[list[dict[str, str]]]) -> None:
    assert len(files) == sample.FILES
    for rows in files:
        assert {row["domain"] for row in rows} == set(DOMAINS.values())


def test_a_holdout_of_six_percent_leaves_ten_documents_a_domain(pool: list[dict[str, str]]) -> None:
    counts = Counter(row["domain"] for row in pool)
    assert set(counts) == set(DOMAINS.values())
    assert min(counts.values()) * 0.06 >= 9.5


def test_licences_are_named_and_explained(pool: list[dict[str, str]]) -> None:
    page = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for row in pool:
        assert row["license"] == LICENSES[row["package"]]
        assert row["domain"] == DOMAINS[row["package"]]
    for part in sample.PARTS:
        assert f"`{part.package}`" in page
        assert part.license.removeprefix("LicenseRef-").replace("-domain", " domain").lower() in page.lower()


def test_ids_are_unique_and_the_duplication_is_there(pool: list[dict[str, str]]) -> None:
    assert len({row["id"] for row in pool}) == len(pool)
    assert len(pool) - len({row["text"] for row in pool}) >= 10  # exact copies, found in the sources


def test_target_has_no_near_copy_in_the_pool(
    pool: list[dict[str, str]], target: list[dict[str, str]]
) -> None:
    """Exact Jaccard over all pairs, by an inverted index of the target's shingles."""
    sets = [shingles(row["text"]) for row in target]
    holders: dict[tuple[str, ...], list[int]] = {}
    for number, grams in enumerate(sets):
        for gram in grams:
            holders.setdefault(gram, []).append(number)
    worst = 0.0
    for row in pool:
        grams = shingles(row["text"])
        shared = Counter(number for gram in grams & holders.keys() for number in holders[gram])
        for number, common in shared.items():
            worst = max(worst, common / (len(grams) + len(sets[number]) - common))
    assert 0.0 < worst < sample.SAME
    assert not {row["id"] for row in pool} & {row["id"] for row in target}


def write_sources(folder: Path) -> list[str]:
    """Two small sources, with a family of three near-copies, one of fifty, and pages to be left out."""
    names = [f"d{k:02d}" for k in range(60)]
    paths = ["license.rst" if k == 59 else f"{k}.rst" for k in range(60)]
    texts = [f"{name} " * 100 if k % 7 else "short" for k, name in enumerate(names)]
    docs = {"id": names, "package": ["python3.11-doc"] * 60, "path": paths, "text": texts}
    pq.write_table(pa.table(docs), folder / "docs.parquet")
    notices = [f"n{k:02d}" for k in range(60)]
    pq.write_table(
        pa.table({"id": notices, "text": [f"{name} " * 100 for name in notices]}), folder / "notices.parquet"
    )
    pairs = [("n00", f"n{k:02d}", 0.9) for k in range(1, 50)] + [("n50", "n51", 0.8), ("n51", "n52", 0.7)]
    columns = dict(zip(("id_a", "id_b", "jaccard5w"), zip(*pairs, strict=True), strict=True))
    pq.write_table(pa.table({**columns, "jaccard5w": pa.array(columns["jaccard5w"])}), folder / "p.parquet")
    return [str(folder / name) for name in ("docs.parquet", "notices.parquet", "p.parquet")]


def test_the_script_draws_whole_clusters_and_repeats_itself(tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    for out in ("once", "twice"):
        sample.main([*sources, "--out", str(tmp_path / out)])
    written = sorted((tmp_path / "once").iterdir())
    assert [path.read_bytes() for path in written] == [
        (tmp_path / "twice" / path.name).read_bytes() for path in written
    ]
    ids = {
        row["id"]
        for path in written
        if path.suffix == ".parquet"
        for row in pq.ParquetFile(path).read().to_pylist()
    }
    lines = (tmp_path / "once" / "target_python.jsonl").read_text(encoding="utf-8").splitlines()
    of_target = {json.loads(line)["id"] for line in lines}
    # All notices but the family of fifty, which is over the limit; the family of three is whole.
    assert {name for name in ids if name.startswith("n")} == {f"n{k:02d}" for k in range(50, 60)}
    expected = {f"d{k:02d}" for k in range(59) if k % 7}
    assert (ids | of_target) - {f"n{k:02d}" for k in range(60)} == expected
    assert not ids & of_target
