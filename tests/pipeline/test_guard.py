"""The guard: a node that would drop nearly all of a source stops the run, and can be allowed to."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import documents, go, nodes_of, write_config, write_cut

from pipeline.cli import main
from pipeline.errors import ConfigError, DataError

CONFIG = """
    source: {path: data, id: id, shard_bytes: 1}
    nodes:
      long: {op: length_filter, unit: words, min: 3, max_drop_share: 0.5}
"""
TEXTS = ["a b c d"] * 4 + ["a"] * 3 + ["short"] * 2 + ["now a long one"]
DOMAINS = ["web"] * 7 + ["wiki"] * 3


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_cut(tmp_path / "data", documents(TEXTS, domain=DOMAINS), files=3)
    return write_config(tmp_path, CONFIG)


def test_the_source_the_figures_and_documents_are_named(config: Path) -> None:
    with pytest.raises(DataError) as caught:
        go(config)
    text = str(caught.value)
    assert "long would drop more than 0.5 of the documents of 1 of 2 sources" in text
    assert "domain 'wiki': 2 of 3 (66.7 %)" in text
    assert "web" not in text
    assert "doc-7: short" in text
    assert "doc-8: short" in text
    assert "--allow long" in text


def test_allowed_by_name_or_all_the_run_goes_on(config: Path) -> None:
    for allow in (("long",), ("all",)):
        assert nodes_of(go(config, allow=allow))["long"]["rows_out"] == 5
    with pytest.raises(ConfigError, match="--allow lang: no node of that name; did you mean 'long'"):
        go(config, allow=("lang",))


def test_a_share_that_is_not_passed_is_fine(config: Path) -> None:
    go(config, ["nodes.long.max_drop_share=0.67"])


def test_the_command_line_says_what_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(config)]) == 3
    assert capsys.readouterr().err.splitlines()[-1].endswith("--allow long")
    assert main(["run", str(config), "--allow", "long"]) == 0


def test_without_groups_the_whole_source_is_judged(tmp_path: Path) -> None:
    write_cut(tmp_path / "data", documents(TEXTS), files=2)
    config = write_config(tmp_path, CONFIG.replace("0.5", "0.4"))
    with pytest.raises(DataError, match=r"the source: 5 of 10 \(50.0 %\)"):
        go(config)


def test_deduplication_has_a_guard_of_its_own_for_larger_sources(tmp_path: Path) -> None:
    texts = ["the same text"] * 199 + ["another one"]
    domains = ["big"] * 150 + ["small"] * 50
    write_cut(tmp_path / "data", documents(texts, domain=domains), files=2)
    config = write_config(tmp_path, "source: {path: data, id: id}\nnodes:\n  exact: {op: exact_dedup}\n")
    with pytest.raises(DataError, match=r"(?s)domain 'big': 149 of 150 .*kept: doc-0: the same text"):
        go(config)
    assert nodes_of(go(config, ["nodes.exact.max_drop_share=1"]))["exact"]["rows_out"] == 2


def test_many_small_sources_are_judged_together(tmp_path: Path) -> None:
    """Each of 60 rows, so that none is judged by itself."""
    texts = ["the same words in all of these documents"] * 180
    write_cut(tmp_path / "data", documents(texts, domain=["a", "b", "c"] * 60), files=2)
    config = write_config(tmp_path, "source: {path: data, id: id}\nnodes: {exact: {op: exact_dedup}}\n")
    with pytest.raises(DataError, match=r"all sources together: 179 of 180 \(99\.4 %\)"):
        go(config)
    assert nodes_of(go(config, allow=("exact",)))["exact"]["rows_out"] == 1


def test_a_node_that_drops_nothing_takes_no_share(config: Path) -> None:
    text = "source: {path: data}\nnodes:\n  n: {op: size, max_drop_share: 0.5}\n"
    config.write_text(text)
    with pytest.raises(ConfigError, match="n \\(size\\) drops nothing"):
        go(config)
