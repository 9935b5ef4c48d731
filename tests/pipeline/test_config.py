"""Configs: what is read, and that every problem is found at once with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.graph_order import order

GOOD = """\
# yaml-language-server: $schema=tamis.schema.json
source: {path: sample/*.parquet, text: body, id: id, shard_bytes: 64MB, schema: {n: int64}}
seed: 7
nodes:
  exact:  {op: exact_dedup}
  fuzzy:  {op: minhash_dedup, threshold: 0.8, keep: longest}
  late:   {op: length_filter, input: [fuzzy, end], min: 1k, uses: fuzzy}
  end:    {op: length_filter, input: exact, min: 5, resources: {workers: 2, batch: 64}, on_error: quarantine}
export: {input: late, path: out/, file_bytes: 1.5MB}
train:  {input: late, init: ./model, tokens: 150k, seq_len: 128, compare: [random, exact]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, *sets: str) -> list[str]:
    """The lines of the error, with the folder taken off."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), sets)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


@pytest.fixture
def good(tmp_path: Path) -> Config:
    return load_config(write(tmp_path, GOOD))


def test_sections_are_read(good: Config, tmp_path: Path) -> None:
    source = good.sources[""]
    assert (source.path, source.text, source.id) == ("sample/*.parquet", "body", "id")
    assert (source.shard_bytes, source.schema) == (64_000_000, {"n": "int64"})
    assert (good.seed, good.store, good.base, good.text) == (7, None, tmp_path, GOOD)
    assert good.exports[0].file_bytes == 1_500_000
    assert good.exports[0].format == "parquet"
    assert good.train is not None
    assert (good.train.input, good.train.seeds) == ("late", 3)
    assert good.train.trainer == {"init": "./model", "tokens": 150_000, "seq_len": 128}


def test_nodes_are_read(good: Config) -> None:
    late, end = good.node("late"), good.node("end")
    assert late.input == ("fuzzy", "end")
    assert (late.uses, late.fields) == ({"fuzzy": "fuzzy"}, {"min": 1000})
    assert (end.on_error, end.resources.workers, end.resources.batch, end.line) == ("quarantine", 2, 64, 8)
    assert good.node("fuzzy").input is None
    assert good.node("fuzzy").spec.build(good.node("fuzzy").fields).model_dump()["keep"] == "longest"


def test_inputs_and_order(good: Config) -> None:
    assert [good.inputs(node.name) for node in good.nodes] == [
        ("",),
        ("exact",),
        ("fuzzy", "end"),
        ("exact",),
    ]
    assert [node.name for node in good.ordered()] == ["exact", "fuzzy", "end", "late"]


def test_several_sources(tmp_path: Path) -> None:
    nodes = "nodes: {one: {op: size}, two: {op: size, input: wiki}}"
    text = f"sources: {{web: {{path: a}}, wiki: {{path: [b, c]}}}}\n{nodes}\n"
    config = load_config(write(tmp_path, text))
    assert config.inputs("one") == ("web", "wiki")
    assert config.inputs("two") == ("wiki",)


def test_the_lone_source_may_be_named(tmp_path: Path) -> None:
    text = "source: {path: a}\nnodes: {one: {op: size}, two: {op: size, input: source}}\n"
    assert load_config(write(tmp_path, text)).inputs("two") == ("",)


def test_places(good: Config, tmp_path: Path) -> None:
    assert good.where("nodes", "fuzzy", "threshold") == f"{tmp_path}/c.yaml:6"
    assert good.where("train", "no such key") == f"{tmp_path}/c.yaml:10"


def test_all_problems_come_together(tmp_path: Path) -> None:
    text = """\
source: {path: x, tex: t}
seed: -1
stor: y
nodes:
  Exact: {op: exact_dedup}
  a: {op: exact_dedupe}
  b:
    op: minhash_dedup
    treshold: 0.5
    threshold: 2
    input: [a, c]
    on_error: explode
    resources: {worker: 1}
  source: {op: size}
  d: 3
export: [{path: out, input: e}, {path: out}, {path: out, format: csv}]
train: {inputs: b, input: q, tokns: 3, compare: [rando]}
"""
    lines = problems(tmp_path, text)
    starts = [
        "c.yaml:1: source has no field 'tex'; did you mean 'text'?",
        "c.yaml:2: config: seed = -1: input should be greater than or equal to 0; seed is int, >= 0",
        "c.yaml:3: no section 'stor'; did you mean 'store'?",
        "c.yaml:5: 'Exact' cannot name a node; a node is named like [a-z][a-z0-9_]*, but not source or last",
        "c.yaml:6: no operator 'exact_dedupe'; did you mean 'exact_dedup'?",
        "c.yaml:9: minhash_dedup has no field 'treshold'; did you mean 'threshold'?",
        "c.yaml:10: minhash_dedup: threshold = 2: input should be less than or equal to 1; threshold is",
        "c.yaml:11: node b: input: nothing is named 'c'",
        "c.yaml:12: node b: on_error = 'explode': input should be 'stop' or 'quarantine'",
        "c.yaml:13: b.resources has no field 'worker'; did you mean 'workers'?",
        "c.yaml:14: 'source' cannot name a node",
        "c.yaml:15: node d is a mapping such as {op: length_filter}, not 3",
        "c.yaml:16: export: nothing is named 'e'",
        "c.yaml:16: two exports write to out; give each its own folder",
        "c.yaml:16: export: format = 'csv'",
        "c.yaml:17: train has no key 'tokns'; did you mean 'tokens'?",
        "c.yaml:17: train has no key 'inputs'; did you mean 'input'?",
        "c.yaml:17: train: nothing is named 'q'",
        "c.yaml:17: train: compare: nothing is named 'rando'; did you mean 'random'?",
    ]
    for start in starts:
        assert [line for line in lines if line.startswith(start)], f"{start!r} is not in {lines}"
    assert len(lines) == len(starts)
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ("a: {op: size, input: a}", "node a: input names the node itself"),
        ("a: {op: size, input: [source, source]}", "node a: input names a node twice"),
        ("a: {op: size, input: b}, b: {op: size}", "nodes wait for each other: a -> b -> a"),
        ("a: {op: size, uses: {x: c}}, b: {op: size}, c: {op: size}", "wait for each other"),
        ("a: {op: size, input: []}", "node a: input = "),
        ("a: {}", "node a needs the field 'op'"),
        ("a: {op: 3}", "node a: op = 3"),
        ("a: {op: ./none.py}", "no operator file"),
        ("a: {op: size, uses: {x: b/part}}", "node a: uses: nothing is named 'b'"),
    ],
)
def test_graph_problems(tmp_path: Path, nodes: str, problem: str) -> None:
    lines = problems(tmp_path, f"source: {{path: x}}\nnodes: {{{nodes}}}\n")
    assert len(lines) == 1
    assert lines[0].startswith("c.yaml:2: ")
    assert problem in lines[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "c.yaml:1: a config is a mapping with the keys source, sources"),
        ("", "c.yaml:1: a config is a mapping"),
        ("nodes: {a: {op: size}}", "give one of `source: {path: ...}`"),
        ("source: {path: a}\nsources: {b: {path: c}}\nnodes: {a: {op: size}}", "c.yaml:2: give one of"),
        ("source: {path: a}", "nodes is a mapping of names to {op: ...}, with at least one node"),
        ("source: {path: []}\nnodes: {a: {op: size}}", "an empty path; name files"),
        (
            "source: [a]\nnodes: {a: {op: size}}",
            "c.yaml:1: source is a mapping with the keys path, text, id, schema",
        ),
        ("sources: {}\nnodes: {a: {op: size}}", "sources is a mapping of names to {path: ...}"),
        ("sources: {a: {path: x}}\nnodes: {a: {op: size}}", "'a' is a source and a node; rename one"),
        ("source: {path: a, schema: {b: int65}}\nnodes: {a: {op: size}}", "b: 'int65' is no Arrow type"),
        ("source: {path: a, shard_bytes: 12XB}\nnodes: {a: {op: size}}", "'12XB' is no size"),
        (
            "source: {path: a}\nnodes: {a: {op: size}}\ntrain: 3",
            "c.yaml:3: train is a mapping with the keys input",
        ),
        (
            "source: {path: a}\nnodes: {a: {op: size}}\ntrain: {tokens: 9, init: x}",
            "train needs the field 'input'",
        ),
    ],
)
def test_section_problems(tmp_path: Path, text: str, problem: str) -> None:
    lines = problems(tmp_path, text)
    assert len(lines) == 1
    assert problem in lines[0]


def test_a_files_own_error_keeps_its_line(tmp_path: Path) -> None:
    (tmp_path / "op.py").write_text("x = (\n")
    lines = problems(tmp_path, "source: {path: a}\nnodes:\n  a: {op: ./op.py}\n")
    assert lines == ["c.yaml:3: op.py:1: not Python: '(' was never closed"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: No such file or directory; give the path"):
        load_config(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "c.yaml")


def test_set_changes_and_is_named_as_the_place(tmp_path: Path) -> None:
    sets = [
        "nodes.fuzzy.threshold=0.7",
        "source.path=[a, b]",
        "seed=11",
        "nodes.end.max=2k",
        "export.dropped=gone",
    ]
    config = load_config(write(tmp_path, GOOD), sets)
    assert config.node("fuzzy").fields["threshold"] == 0.7
    assert config.node("end").fields == {"min": 5, "max": 2000}
    assert config.sources[""].path == ["a", "b"]
    assert (config.seed, config.exports[0].dropped, config.sets) == (11, "gone", tuple(sets))
    assert config.where("nodes", "fuzzy", "threshold") == "--set nodes.fuzzy.threshold=0.7"
    assert config.where("nodes", "fuzzy", "keep").endswith("c.yaml:6")


def test_set_reaches_into_lists(tmp_path: Path) -> None:
    text = "source: {path: x}\nnodes: {a: {op: size}}\nexport: [{path: o}, {path: p}]\n"
    assert load_config(write(tmp_path, text), ["export.1.path=q"]).exports[1].path == "q"


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("nodes.fuzy.threshold=1", "no node 'fuzy'; did you mean 'fuzzy'?; --set adds no nodes"),
        ("nodes.new={op: size}", "no node 'new'"),
        ("nodes.fuzzy.threshold", "write it like --set nodes.NAME.FIELD=VALUE"),
        ("nodes..x=1", "write it like"),
        ("nodes.fuzzy.threshold=[", "not YAML"),
        ("nodes.fuzzy.keep=${UNSET_FOR_TAMIS}", "the environment variable UNSET_FOR_TAMIS is not set"),
        ("nodes.fuzzy.tresh=1", "minhash_dedup has no field 'tresh'; did you mean 'threshold'?"),
        ("nodes.fuzzy.threshold=7", "minhash_dedup: threshold = 7: input should be less than or equal to 1"),
        ("seed.x=1", "seed is 7, which has no keys"),
        (
            "nodes.late.input.5=a",
            "nodes.late.input is a list of 2; name one of them, from nodes.late.input.0",
        ),
    ],
)
def test_set_problems_name_the_argument(tmp_path: Path, argument: str, problem: str) -> None:
    lines = problems(tmp_path, GOOD, argument)
    assert len(lines) == 1
    assert lines[0].startswith(f"--set {argument}: {problem}")


def test_the_arms_of_a_comparison_have_settings_of_their_own(tmp_path: Path) -> None:
    arms = "arms: {slow: {input: exact, lr: 1e-4}, few: {tokens: 10k}}"
    text = GOOD.replace("compare: [random, exact]", f"compare: [random], {arms}")
    section = load_config(write(tmp_path, text)).train
    assert section is not None
    assert section.arms == {"slow": {"input": "exact", "lr": 1e-4}, "few": {"tokens": 10_000}}
    assert section.inputs == ["late", "random", "exact"]
    wrong = text.replace("slow: {input: exact, lr: 1e-4}", "random: {input: exat, lrr: 1e-4, seq_len: 1}")
    lines = problems(tmp_path, wrong)
    assert lines.pop(0).startswith("c.yaml:10: train: seq_len = 1: input should be greater than")
    assert lines == [
        "c.yaml:10: train has no key 'lrr'; did you mean 'lr'?",
        "c.yaml:10: train: arms: 'random' is an arm already; name it otherwise",
        "c.yaml:10: train: arms: nothing is named 'exat'; did you mean 'exact'?",
    ]


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_TEST_T", "0.5")
    config = load_config(write(tmp_path, GOOD.replace("threshold: 0.8", 'threshold: "${TAMIS_TEST_T}"')))
    operator = config.node("fuzzy").spec.build(config.node("fuzzy").fields)
    assert operator.model_dump()["threshold"] == 0.5
    assert "TAMIS_TEST_T" in config.text


@given(
    st.integers(0, 12).flatmap(
        lambda n: st.lists(st.sets(st.integers(0, max(n, 1) - 1)), min_size=n, max_size=n)
    )
)
def test_order_puts_needs_first(needs: list[set[int]]) -> None:
    edges = {str(i): [str(j) for j in sorted(need) if j < i] for i, need in enumerate(needs)}
    assert order(edges) == list(edges)
    reverse = dict(reversed(edges.items()))
    found = order(reverse)
    assert sorted(found) == sorted(edges)
    assert all(found.index(need) < found.index(name) for name, given in edges.items() for need in given)


def test_every_message_is_one_line_with_a_place(tmp_path: Path) -> None:
    for line in problems(tmp_path, GOOD.replace("op: ", "opp: ")):
        assert re.match(r"c\.yaml:\d+: \S", line)
