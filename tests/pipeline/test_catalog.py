"""Finding operators by name and by path, building them, and what the errors say."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from operators.contract import MapOp, Operator
from pipeline.catalog import SHAPES, OpSpec, find, names
from pipeline.errors import ConfigError

SHOUT = '''"""Upper-cases."""
from __future__ import annotations
from typing import Annotated
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses

class Shout(MapOp):
    """Writes the text in capitals."""
    times: Annotated[int, Field(gt=0)] = 1
    """How often."""
    most: int | None = None
    """Texts at most."""
    weights: dict[str, int] = {}
    """Weights by domain."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"shout": TEXT}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"shout": pc.utf8_upper(batch["text"])}
'''


@pytest.fixture
def shout(tmp_path: Path) -> OpSpec:
    (tmp_path / "shout.py").write_text(SHOUT)
    return find("./shout.py", tmp_path)


def test_names_are_exactly_the_modules_with_an_operator() -> None:
    for name, module_name in names().items():
        module = importlib.import_module(module_name)
        kind = OpSpec(name).cls()
        assert issubclass(kind, tuple(SHAPES.values()))
        assert kind.__module__ == module.__name__
    assert "contract" not in names()
    assert "exact_dedup" in names()


def test_names_come_without_importing_operators() -> None:
    code = (
        "import sys; from pipeline.catalog import names; assert 'exact_dedup' in names();"
        "assert not [m for m in sys.modules if m.startswith('operators.') and m != 'operators.contract']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shapes_are_those_of_the_contract() -> None:
    assert SHAPES["MapOp"] is MapOp
    assert not {"Operator", "ColumnOp"} & set(SHAPES)


def test_a_users_operator_runs(shout: OpSpec) -> None:
    operator = shout.build({})
    assert isinstance(operator, MapOp)
    columns = operator.columns(pa.record_batch({"text": pa.array(["abc", None], pa.large_string())}), {})
    assert columns["shout"].to_pylist() == ["ABC", None]
    assert type(operator).model_fields["times"].description == "How often."


def test_a_users_operator_travels_without_its_file(shout: OpSpec, tmp_path: Path) -> None:
    data = pickle.dumps(shout)
    (tmp_path / "shout.py").unlink()
    code = (
        f"import pickle; spec = pickle.loads({data!r}); operator = spec.build({{'times': 3}});"
        "assert operator.times == 3;"
        "assert type(operator).model_fields['times'].description == 'How often.'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_identity_follows_the_text_not_the_path(shout: OpSpec, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "shout.py").write_text(SHOUT)
    assert find("shout.py", other) == shout
    (other / "shout.py").write_text(SHOUT + "\n# changed\n")
    changed = find("shout.py", other)
    assert changed.identity != shout.identity
    assert changed.cls() is not shout.cls()
    assert OpSpec("exact_dedup").identity == "exact_dedup"


def test_build_is_cached_and_reads_counts(shout: OpSpec) -> None:
    operator = shout.build({"most": "1.5M", "weights": {"web": "2k"}})
    assert operator.model_dump() == {"times": 1, "most": 1_500_000, "weights": {"web": 2000}}
    assert shout.build({"weights": {"web": "2k"}, "most": "1.5M"}) is operator


def test_build_names_every_wrong_field(shout: OpSpec) -> None:
    with pytest.raises(ConfigError) as caught:
        shout.build({"times": 0, "tims": 3, "most": "many"})
    lines = str(caught.value).splitlines()
    assert lines == [
        "shout: times = 0: input should be greater than 0; times is int, > 0 (How often)",
        "shout: most = 'many': input should be a valid integer, unable to parse string as an integer; "
        "most is int | null (Texts at most)",
        "shout has no field 'tims'; did you mean 'times'?",
    ]


def test_missing_fields_say_what_they_take() -> None:
    problems = OpSpec("importance").check({})[1]
    assert [problem.where for problem in problems] == [("score",)]
    assert problems[0].text.startswith("importance needs the field 'score'; score is str")


def test_unknown_names_suggest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no operator 'exact_dedupe'; did you mean 'exact_dedup'\?"):
        find("exact_dedupe", tmp_path)
    with pytest.raises(ConfigError, match="no operator 'zzzzz'; there are: "):
        find("zzzzz", tmp_path)
    (tmp_path / "mine.py").write_text(SHOUT)
    with pytest.raises(ConfigError, match=r"did you mean the file './mine.py'\?"):
        find("mine", tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = (1,\n\ny = 2\n", r"op\.py:1: not Python: '\(' was never closed"),
        (
            "\n\nimport nothing_like_this\n",
            r"op\.py:3: loading failed: ModuleNotFoundError: .*nothing_like_this",
        ),
        ("def f():\n    return 1 / 0\n\nf()\n", r"op\.py:2: loading failed: ZeroDivisionError"),
        ("x = 1\n", r"op\.py:1: no operator: write one public class that subclasses MapOp, ScoreOp"),
        (
            "from operators.contract import MapOp\n"
            "class A(MapOp): pass\n"
            "class B(MapOp): pass\n"
            "class _C(MapOp): pass\n",
            r"op\.py:3: 2 operators, a file holds one: A, B",
        ),
        ("\0", r"op\.py:1: not Python"),
    ],
)
def test_broken_files_name_the_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "op.py").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        find("op.py", tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no operator file .*nope.py: No such file"):
        find("./nope.py", tmp_path)
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match=r"latin.py: not UTF-8"):
        find("./latin.py", tmp_path)
    (tmp_path / "My-Op.py").write_text(SHOUT)
    with pytest.raises(ConfigError, match=r"My-Op.py: an operator's file is named like"):
        find("./My-Op.py", tmp_path)


def test_operators_that_import_others_hold_one_of_their_own(tmp_path: Path) -> None:
    imports = "from operators.contract import TEXT"
    text = SHOUT.replace(imports, f"from operators.length_filter import LengthFilter\n{imports}")
    (tmp_path / "two.py").write_text(text)
    assert issubclass(find("two.py", tmp_path).cls(), Operator)
