"""The memorisation probe, against greedy decoding token by token; early stopping, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpu_ops.trainer import network, run
from gpu_ops.trainer.compare import Arm, _jobs, compare
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import EarlyStop, LlamaShape, ProbeConfig
from gpu_ops.trainer.early import best, check, is_over
from gpu_ops.trainer.evaluate import evaluate
from gpu_ops.trainer.probe import Passages, probe, read_passages
from gpu_ops.trainer.stream import Vocabulary
from gpu_ops.trainer.world import Alone

torch.set_num_threads(1)
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
ODD = "Zebra quantum fjords jinx the blue wax vodka of mighty sphinx boxes in Wyoming, quickly."
SHAPE = LlamaShape(hidden=16, layers=1, heads=2)


def write(folder: Path, texts: list[str], domains: list[str] | None = None) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"text": texts} if domains is None else {"text": texts, "domain": domains}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return str(folder)


def generated(model, ids: torch.Tensor, count: int) -> torch.Tensor:
    """As transformers does it, beyond the end of a text."""
    model.generation_config.eos_token_id = None
    more = {"do_sample": False, "max_new_tokens": count, "pad_token_id": 0}
    return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **more)


def test_exactly_what_greedy_decoding_continues_is_known_by_heart(tmp_path):
    vocabulary = Vocabulary.load(STORIES)
    model = network.build(TrainConfig(init=STORIES, tokens=1), 512, 0, "cpu")
    start = torch.tensor([[1, *vocabulary.tokenizer.encode("Once upon a").ids[1:]]])
    own = vocabulary.tokenizer.decode(generated(model, start, 40)[0].tolist())
    folder = write(tmp_path / "p", [own, STORY, ODD, "short"], ["known", "real", "odd", "odd"])
    _, path = read_passages(ProbeConfig(passages=folder, prompt=8, continuation=12), vocabulary, tmp_path)
    passages = Passages.load(path)
    assert passages.tokens.shape == (3, 20)
    got = probe(model, passages, "cpu")
    whole = torch.from_numpy(passages.tokens.astype(np.int64))
    want = (generated(model, whole[:, :8], 12) == whole).all(dim=1).double()
    assert want.tolist()[0] == 1.0
    assert want.tolist()[2] == 0.0
    assert got["memorised"]["all"] == pytest.approx(want.mean().item())
    assert got["memorised"]["domains"]["known"] == 1.0
    for name, row in (("known", 0), ("odd", 2)):
        labels = whole[row : row + 1].clone()
        labels[:, :8] = -100
        loss = model(input_ids=whole[row : row + 1], labels=labels).loss.item()
        assert got["memorised_loss"]["domains"][name] == pytest.approx(loss, rel=1e-5)
    with pytest.raises(ValueError, match="no passage has 300 tokens"):
        read_passages(ProbeConfig(passages=folder, prompt=200, continuation=100), vocabulary, tmp_path)


def test_arms_are_probed_and_compared(tmp_path):
    texts = [f"Number {i} is a dog and not a cat." for i in range(8)]
    pool, planted = write(tmp_path / "pool", texts), write(tmp_path / "planted", [STORY])
    held = write(tmp_path / "held", ["A cat saw a dog."])
    asked = {"passages": f"{write(tmp_path / 'p', [STORY])}/a.parquet", "prompt": 8, "continuation": 8}
    fields = TrainConfig(
        model=LlamaShape(hidden=32, layers=2, heads=2), tokenizer=STORIES, tokens=20_000, seq_len=32, lr=0.01,
        evals=2, probe=asked,
    )  # fmt: skip
    arms = [Arm("random", {0: pool, 1: pool}, True), Arm("planted", {0: planted, 1: planted}, True)]
    table = compare(fields, arms, [0, 1], held, str(tmp_path / "out"), 1)
    assert table["baseline"]["memorised"]["all"] == 0.0
    assert table["arms"]["random"]["final"]["memorised"]["all"]["mean"] == 0.0
    assert table["arms"]["planted"]["final"]["memorised"]["all"]["values"] == [1.0, 1.0]
    assert table["paired_memorised"]["planted"]["all"]["mean difference to random"] == 1.0
    assert table["paired_memorised_loss"]["planted"]["all"]["mean difference to random"] < -1


# Early stopping


def points(losses: list[float]) -> list[dict]:
    return [{"domains": {"a": loss}, "macro": loss, "all": loss} for loss in losses]


@pytest.mark.parametrize(
    ("losses", "least", "over"),
    [
        ([3, 2, 1], 0, False),
        ([3, 2, 2.5], 0, False),
        ([3, 2, 2.5, 2], 0, True),
        ([3, 2, 2.5, 1.9], 0, False),
        ([3, 2, 1.95, 1.93], 0.1, True),
        ([3, 2.95, 2.8], 0.1, False),
        ([3], 0, False),
        ([], 0, False),
    ],
)
def test_enough_evaluations_without_gain_end_a_run(losses, least, over):
    for on in ("macro", "all", "a"):
        assert is_over(points(losses), EarlyStop(patience=2, on=on, least=least)) is over
    higher = [{"accuracy": {"all": -loss}, "domains": {}} for loss in losses]
    assert is_over(higher, EarlyStop(patience=2, on="accuracy", least=least)) is over
    assert not is_over(points(losses), None)


@given(st.lists(st.floats(0, 9), min_size=1), st.integers(1, 3))
def test_a_run_is_over_at_its_first_such_evaluation_and_the_best_is_the_least(losses, patience):
    rule = EarlyStop(patience=patience)
    over = [is_over(points(losses[: k + 1]), rule) for k in range(len(losses))]
    record = [min(losses[: k + 1]) for k in range(len(losses))]
    first = next((k for k in range(patience, len(losses)) if record[k] == record[k - patience]), None)
    assert (over.index(True) if True in over else None) == first
    assert best(points(losses), "macro") == losses.index(min(losses))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_that_overfits_stops_resumes_to_the_same_and_keeps_what_is_wanted(tmp_path, keep):
    pool, held = write(tmp_path / "pool", [STORY]), write(tmp_path / "held", [f"{ODD} {STORY[:30]}"])
    fields = TrainConfig(
        model=SHAPE, tokenizer=STORIES, tokens=12_800, seq_len=16, batch_size=4, lr=0.03, evals=40,
        early_stop={"patience": 3, "keep": keep}, warmup=0, checkpoint_every=2,  # evaluated every 5
    )  # fmt: skip
    arms = [Arm("random", {0: pool}, True)]
    jobs = [_jobs(fields, arms, [0], held, tmp_path / name)[1] for name in ("whole", "killed")]
    want = run.train(jobs[0], "cpu", lambda event: None)
    events = []
    with pytest.raises(run.Stopped):
        run.train(jobs[1], "cpu", events.append, lambda: len(events) == want["steps"] - 2)
    got = run.train(jobs[1], "cpu", events.append)
    assert got["curve"] == want["curve"]
    assert got["steps"] == want["steps"] == 5 * len(want["curve"]) < 200
    assert got["tokens"] == got["steps"] * 64
    losses = [point["macro"] for point in got["curve"]]
    assert got["kept"] == (losses.index(min(losses)) if keep == "best" else len(losses) - 1)
    assert got["kept"] == len(losses) - (4 if keep == "best" else 1)
    again = network.build(TrainConfig(init=f"{jobs[1].folder}/model", tokens=1, seq_len=16), 512, 0, "cpu")
    held_out = run._prepare(jobs[1], "cpu", Alone())[0].held
    assert evaluate(again, held_out, "cpu")["macro"] == pytest.approx(losses[got["kept"]], rel=1e-5)
    table = compare(fields, arms, [0], held, str(tmp_path / "table"), 1)
    assert table["arms"]["random"]["final"]["macro"]["mean"] == losses[got["kept"]]
    assert table["arms"]["random"]["steps"] == [got["steps"]]
    assert any("stopped early" in warning for warning in table["warnings"])
    assert json.loads((tmp_path / "table/compare.json").read_text()) == table


def test_a_measure_that_will_not_be_there_is_refused_before_training():
    check(None, ["a"], False)
    check(EarlyStop(on="a"), ["a"], False)
    check(EarlyStop(on="accuracy"), ["a"], True)
    with pytest.raises(ValueError, match="on: 'accuracy' is none of all, macro and the domains"):
        check(EarlyStop(on="accuracy"), ["a"], False)


def test_an_unknown_domain_is_refused():
    with pytest.raises(ValueError, match="on: 'b' is none of all, macro and the domains"):
        is_over(points([1.0]), EarlyStop(on="b"))


def test_a_merge_is_of_the_last_model():
    fields = {
        "model": SHAPE,
        "tokenizer": STORIES,
        "tokens": 64,
        "peft": {"peft_type": "LORA"},
        "merge": True,
    }
    with pytest.raises(ValidationError, match="merge is of the last model"):
        TrainConfig(**fields, early_stop={})
    TrainConfig(**fields, early_stop={"keep": "last"})
