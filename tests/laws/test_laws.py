"""Every law over every operator of the package, found by walking it, on all its examples."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from operators.contract import ScoreOp
from pipeline.catalog import OpSpec, names
from pipeline.engine import Engine
from pipeline.errors import ConfigError
from pipeline.law_bench import Bench, Trial, trials
from pipeline.law_compare import compare, fingerprint, given
from pipeline.law_corpus import corpus
from pipeline.law_runs import Found, Subject, agrees, on_engine
from pipeline.laws import check, check_operator

ROOT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).with_name("golden.json")
UPDATE = "TAMIS_GOLDEN=update pytest tests/laws"


def valid(trial: Trial) -> bool:
    try:
        return trial.operator is not None
    except ConfigError:  # the law of form says so
        return False


TRIALS = [trial for name in names() for trial in trials(OpSpec(name), ROOT) if valid(trial)]
WHOLE = [trial for trial in TRIALS if not trial.inner()]
PARTS = {part.op for trial in WHOLE for part, _ in trial.body}
# A model actor imports torch for every trial, so one example of each model operator is enough on Ray.
ON_RAY = [t for t in WHOLE if not isinstance(t.operator, ScoreOp) or t.number == 0]
each = pytest.mark.parametrize("trial", WHOLE, ids=lambda trial: trial.name)
every = pytest.mark.parametrize("name", names())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def subjects(bench: Bench) -> dict[str, Subject]:
    """Trial -> subject, which keeps its first run."""
    return {trial.name: Subject(trial, bench) for trial in WHOLE}


@pytest.fixture(scope="module")
def on_ray(bench: Bench, ray_engine: Engine) -> Found:
    """What the trials gave on Ray, many in one run."""
    return on_engine(bench, ON_RAY, ray_engine)


@each
def test_an_example_obeys_the_laws(trial: Trial, subjects: dict[str, Subject]) -> None:
    broken = [f"{law}: {text}" for law, holds, text in check(subjects[trial.name], {}) if not holds]
    assert not broken, "\n".join(broken)


@pytest.mark.ray
@pytest.mark.parametrize("trial", ON_RAY, ids=lambda trial: trial.name)
def test_ray_gives_what_the_local_engine_gives(
    trial: Trial, subjects: dict[str, Subject], on_ray: Found
) -> None:
    agrees(subjects[trial.name], on_ray[trial.name], "ray")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("curriculum", {"pacing": "linear"}),
        ("cut", {"reason": "other"}),
        ("minhash_dedup", {"clusters": True}),
    ],
)
def test_two_nodes_of_one_config_may_share_values(
    name: str, fields: dict[str, Any], bench: Bench, subjects: dict[str, Subject]
) -> None:
    """The parts that both have are one value in the store; neither takes it away from the other."""
    first = subjects[f"{name}_0"].trial
    second = Trial(first.spec, {**first.fields, **fields}, ROOT, 77)
    both = given(bench.run_local([first, second], bench.corpus([first, second], 3)))
    alone = given(bench.run_local([second], bench.corpus([second], 1)))
    mine = {node: one for node, one in both.items() if node.split("/")[0] == second.name}
    compare(alone, mine, ("a node alone", "a node beside its like"))


@every
def test_an_operator_obeys_the_laws(name: str, bench: Bench) -> None:
    mine = [trial for trial in TRIALS if trial.spec.name == name]
    results = check_operator(OpSpec(name), mine, bench, part=name in PARTS)
    broken = [f"{law}: {text}" for law, holds, text in results if not holds]
    assert not broken, "\n".join(broken)


@every
def test_an_operator_is_tried_by_itself_or_within_a_recipe(name: str) -> None:
    assert name in PARTS or name in {trial.spec.name for trial in WHOLE}, "give it examples that can run"


@every
def test_an_operator_has_its_own_tests(name: str) -> None:
    """A file of its own; for parts of recipes an import of its module in one of the floor's test files."""
    floor = names()[name].partition(".")[0]
    files = list((ROOT / "tests" / floor).rglob("test_*.py"))
    if any(file.name == f"test_{name}.py" for file in files):
        return
    assert name in PARTS, f"write tests/{floor}/test_{name}.py with an oracle that nobody here wrote"
    imported = re.compile(
        rf"^\s*(from|import) {floor}\.{name}\b|^from {floor} import .*\b{name}\b", re.MULTILINE
    )
    assert any(imported.search(file.read_text("utf-8")) for file in files), (
        f"no test file in tests/{floor} imports {floor}.{name}; test it by itself, not only within its recipe"
    )


Golden = dict[str, Any]


@pytest.fixture(scope="module")
def golden() -> Iterator[Golden]:
    """The hashes that are known; with TAMIS_GOLDEN=update those of this run are kept."""
    known: Golden = json.loads(GOLDEN.read_text("utf-8")) if GOLDEN.exists() else {"corpus": "", "hashes": {}}
    digest = hashlib.blake2b(repr(corpus().to_pylist()).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    if os.environ.get("TAMIS_GOLDEN") != "update":
        assert known["corpus"] == digest, f"the hostile corpus changed; look at why, then {UPDATE}"
        yield known
        return
    if known["corpus"] != digest:
        known = {"corpus": digest, "hashes": {}}
    yield known
    known["hashes"] = {
        trial.name: known["hashes"][trial.name] for trial in WHOLE if trial.name in known["hashes"]
    }
    GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


@each
def test_a_changed_output_has_a_new_version(
    trial: Trial, subjects: dict[str, Subject], golden: Golden
) -> None:
    subject = subjects[trial.name]
    versions = {node.op: node.spec.cls().version for node in subject.base.nodes.values()}
    versions[trial.spec.name] = trial.spec.cls().version
    now = {"fields": dict(trial.fields), "versions": versions, "hash": fingerprint(subject.given)}
    now = json.loads(json.dumps(now))
    then: Mapping[str, Any] = golden["hashes"].get(trial.name, {})
    same = {k: then.get(k) for k in ("fields", "versions")} == {k: now[k] for k in ("fields", "versions")}
    assert not same or then["hash"] == now["hash"], (
        f"{trial.name} gives other output under the same version: raise `version` of the operator (or of the "
        f"part) whose output changed, then {UPDATE}; if nothing should have changed, this found a bug"
    )
    if os.environ.get("TAMIS_GOLDEN") == "update":
        golden["hashes"][trial.name] = now
    assert golden["hashes"].get(trial.name) == now, f"golden.json does not know this yet: {UPDATE}"


def test_the_golden_file_names_only_what_there_is(golden: Golden) -> None:
    assert not set(golden["hashes"]) - {trial.name for trial in WHOLE} or os.environ.get("TAMIS_GOLDEN"), (
        UPDATE
    )
