"""`tamis train`: a recipe on a folder, its errors with their places, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import cli

STORIES = Path(__file__).parents[2] / "configs/quickstart/stories260K"
RECIPE = """\
data: data
holdout: held
out: out
init: {init}
tokens: 512
seq_len: 16
batch_size: 4
evals: 1
lr: 0.0005
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name, text in (("data", "A dog saw a cat and ran. "), ("held", "A cat ran home. ")):
        (tmp_path / name).mkdir()
        pq.write_table(
            pa.table({"text": [text * 8] * 4, "domain": list("abab")}), tmp_path / name / "a.parquet"
        )
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(init=STORIES))
    return tmp_path / "recipe.yaml"


def test_trains_and_says_what_came_of_it(recipe, capsys):
    assert cli.main(["train", str(recipe), "--set", "seeds=[3]", "--plain"]) == 0
    out, err = capsys.readouterr()
    result = json.loads((recipe.parent / "out/model-3/result.json").read_text())
    before, after = (
        json.loads((recipe.parent / "out/compare.json").read_text())["baseline"],
        result["curve"][-1],
    )
    for domain in "ab":
        assert f"{domain:<26} {before['domains'][domain]:8.4f} {after['domains'][domain]:8.4f}" in out
    assert after["all"] < before["all"]
    assert (recipe.parent / "out/model-3/model/config.json").exists()
    assert "8 steps" in err
    assert "rows" not in err


def test_a_second_time_takes_what_is_there(recipe, capsys):
    assert cli.main(["train", str(recipe)]) == 0
    first = capsys.readouterr()
    assert cli.main(["train", str(recipe)]) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert "steps" not in second.err


def test_what_is_wrong_is_told_with_its_line(recipe, capsys):
    recipe.write_text(recipe.read_text().replace("out: out\n", "").replace("seq_len: 16", "seq_lem: 16"))
    assert cli.main(["train", str(recipe)]) == 2
    err = capsys.readouterr().err
    assert "recipe.yaml:5: train has no key 'seq_lem'; did you mean 'seq_len'?" in err
    assert "needs the field 'out'" in err
    assert cli.main(["train", str(recipe.parent / "none.yaml")]) == 2
    assert "give the path of a YAML file" in capsys.readouterr().err


def test_data_that_cannot_be_trained_on(recipe, capsys):
    (recipe.parent / "data/a.parquet").unlink()
    assert cli.main(["train", str(recipe)]) == 3
    assert "no data file; expected *.parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sets", "code", "said"),
    [
        (["data=nope", "holdout=nix"], 2, ["data=nope: data: there is no folder 'nope'", "folder 'nix'"]),
        (["out=recipe.yaml"], 2, ["out: ", "cannot be written"]),
        (["device=cuda:77"], 3, ["device: 'cuda:77' is not there", "next: fix this; then: tamis train"]),
        (["lr=1e30"], 2, ["the loss is nan", "lower lr"]),
        (["trainable=[a(]"], 2, ["trainable: 'a(' is no regular expression"]),
        (["select={kind: gradient_bound, min_tau: 0.5}"], 2, ["select.min_tau = 0.5"]),
        (["select={kind: gradient_bound, mintau: 2}"], 2, ["no key 'mintau'; did you mean 'min_tau'?"]),
        (["probe={passages: held, prompt: 600}"], 2, ["more than the model's context"]),
    ],
)
def test_errors_say_what_to_do_and_have_their_code(recipe, capsys, sets, code, said):
    given = [part for one in sets for part in ("--set", one)]
    if any("probe" in one for one in sets):  # long enough to be asked for
        pq.write_table(pa.table({"text": ["A cat ran home. " * 400]}), recipe.parent / "held/a.parquet")
    assert cli.main(["train", str(recipe), *given]) == code
    err = capsys.readouterr().err
    assert [one for one in said if one not in err] == [], err


def test_a_process_that_died_can_go_on(recipe, capsys, monkeypatch):
    from gpu_ops.trainer import compare
    from gpu_ops.trainer.job import Died

    def died(*_):
        raise Died("a training process died without a traceback")

    monkeypatch.setattr(compare, "_jobs", died)
    assert cli.main(["train", str(recipe)]) == 4
    assert "resume with: tamis train" in capsys.readouterr().err


def test_an_adapter_is_named_where_it_lies(recipe, capsys):
    pytest.importorskip("peft")
    peft = "peft={peft_type: LORA, r: 2, target_modules: [q_proj]}"
    assert cli.main(["train", str(recipe), "--set", peft]) == 0
    out = capsys.readouterr().out
    assert f"adapter: {recipe.parent / 'out/model-0/adapter'}" in out
    assert "\nmodel: " not in out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seq_len=1024", "seq_len 1024 is longer than the model's context, 512"),
        ("peft={peft_type: LORAX}", "is no configuration that peft takes: KeyError('LORAX')"),
        ("trainable={last: 99}", "the model has 5 layers"),
        ("early_stop={on: nope}", "on: 'nope' is none of all, macro and the domains"),
    ],
)
def test_settings_that_do_not_fit_are_a_matter_of_the_config(recipe, capsys, setting, said):
    assert cli.main(["train", str(recipe), "--set", setting]) == 2
    assert said in capsys.readouterr().err
