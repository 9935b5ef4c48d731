"""The bundled trainer: order of tokens, size and cost, schedule, resume, and the comparison of arms."""

from __future__ import annotations

import itertools
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
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from gpu_ops.trainer import evaluate, network, run, summary
from gpu_ops.trainer.compare import Arm, _jobs, compare
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.documents import documents
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.optim import make_optimizer
from gpu_ops.trainer.pool import Pool
from gpu_ops.trainer.schedule import Schedule, learning_rate
from gpu_ops.trainer.stream import Stream, Vocabulary, tokenise

torch.set_num_threads(1)  # these models are too small to gain from more
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
SHAPE = LlamaShape(hidden=16, layers=2, heads=2, kv_heads=1)
STORY = "Once upon a time there was a dog. The dog ran to a tree and saw a cat. "


def config(**fields) -> TrainConfig:
    start = {"model": SHAPE, "tokenizer": STORIES, "tokens": 192, "seq_len": 16, "batch_size": 2}
    return TrainConfig(**{**start, "lr": 1e-2, "evals": 2, **fields})


def export(folder: Path, texts: list[str], domains: list[str] | None = None) -> str:
    folder.mkdir(parents=True)
    columns = {"text": texts} if domains is None else {"text": texts, "domain": domains}
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return str(folder)


@pytest.fixture
def folders(tmp_path) -> dict[str, str]:
    texts = [f"{STORY} Number {i}. " * (1 + i % 3) for i in range(12)]
    held = [f"A cat named {name} saw a dog." for name in ("Tom", "Ann", "Bo", "Ed")]
    return {
        "pool": export(tmp_path / "pool", texts),
        "small": export(tmp_path / "small", texts[:1]),
        "held": export(tmp_path / "held", held, ["a", "b", "a", "b"]),
    }


# The order of tokens


def stream_of(tmp_path: Path, lengths: list[int], seed: int = 0, shuffle: bool = False) -> Stream:
    ends = np.cumsum(lengths)
    np.arange(ends[-1], dtype=np.int32).tofile(tmp_path / "t.ids")
    np.save(tmp_path / "t.ends.npy", ends)
    return Stream(str(tmp_path / "t"), seed, shuffle)


def test_packing_keeps_all_tokens_in_order_and_targets_are_one_ahead(tmp_path):
    stream = stream_of(tmp_path, [3, 40, 5, 16])
    batches = [stream.batch(16 * step, 2, 8) for step in range(4)]
    assert np.concatenate([batch.inputs.ravel() for batch in batches]).tolist() == list(range(64))
    assert np.concatenate([batch.targets.ravel() for batch in batches]).tolist() == [*range(1, 64), 0]


def test_a_shuffled_epoch_is_a_permutation_of_whole_documents(tmp_path):
    lengths = [3, 4, 1, 6, 2, 5]
    stream = stream_of(tmp_path, lengths, seed=5, shuffle=True)
    epochs = [stream.read(21 * number, 21).tolist() for number in range(3)]
    starts = {int(end) - size: size for end, size in zip(np.cumsum(lengths), lengths, strict=True)}
    for epoch in epochs:
        rest = epoch
        while rest:
            size = starts[rest[0]]
            assert rest[:size] == list(range(rest[0], rest[0] + size))
            rest = rest[size:]
        assert sorted(epoch) == list(range(21))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = stream_of(tmp_path, lengths, seed=6, shuffle=True)
    assert other.read(0, 21).tolist() != epochs[0]


@given(start=st.integers(0, 100), count=st.integers(1, 60), shuffle=st.booleans())
def test_the_stream_is_a_pure_function_of_the_position(tmp_path_factory, start, count, shuffle):
    folder = tmp_path_factory.mktemp("stream")
    fresh, warm = (stream_of(folder, [3, 4, 1, 6, 2, 5], 5, shuffle) for _ in range(2))
    whole = warm.read(0, 200)
    assert fresh.read(start, count).tolist() == whole[start : start + count].tolist()


def test_documents_are_tokenised_with_bos_in_file_order(tmp_path):
    vocabulary = Vocabulary.load(STORIES)
    folder = export(tmp_path / "x", ["a dog", "", "a cat"])
    _, path = tokenise(folder, vocabulary, tmp_path)
    stream = Stream(path, 0, False)
    ids = [vocabulary.tokenizer.encode(text).ids for text in ("a dog", "a cat")]
    assert all(i[0] == vocabulary.bos == 1 for i in ids)
    assert stream.ids.tolist() == ids[0] + ids[1]
    assert np.load(f"{path}.ends.npy").tolist() == [len(ids[0]), len(ids[0]) + len(ids[1])]


def test_parquet_arrow_and_json_lines_are_read_in_name_order(tmp_path):
    pq.write_table(pa.table({"id": [1], "text": ["one"], "domain": ["a"]}), tmp_path / "a.parquet")
    table = pa.table({"text": ["two", None]})
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    lines = b'{"text": "three", "domain": "c"}\n{"text": "vier \xc3\xbc"}\n'
    with pa.output_stream(str(tmp_path / "c.jsonl.zst"), compression="zstd") as stream:
        stream.write(lines)
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / ".partial.parquet").write_text("")
    got = [pair for texts, names in documents(str(tmp_path)) for pair in zip(texts, names, strict=True)]
    rest = "held-out"
    assert got == [("one", "a"), ("two", rest), ("", rest), ("three", "c"), ("vier ü", rest)]


def test_unreadable_data_says_where(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"body": "y"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: no JSON object with a 'text'"):
        list(documents(str(tmp_path)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no data file"):
        list(documents(str(tmp_path / "empty")))
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "empty/a.parquet")
    with pytest.raises(ValueError, match="no column 'text'"):
        list(documents(str(tmp_path / "empty")))


# Size and cost


def test_flops_agree_with_torchs_counter():
    shape = LlamaShape(hidden=64, layers=3, heads=4, kv_heads=2)
    for tie in (True, False):
        model = network.from_shape(shape.model_copy(update={"tie": tie}), 100, 32, seed=0)
        check_flops(model, 32)


def test_flops_of_another_architecture():
    shape = GPT2Config(vocab_size=100, n_embd=64, n_layer=2, n_head=4, n_positions=32)
    check_flops(GPT2LMHeadModel(shape), 32)


def check_flops(model, seq_len: int) -> None:
    model.set_attn_implementation("eager")  # the counter does not see the CPU's fused attention
    ids = torch.arange(2 * seq_len).reshape(2, seq_len) % 100
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    want = counter.get_total_flops() / ids.numel()
    assert network.flops_per_token(model, seq_len) == pytest.approx(want, rel=0.01)


def test_parameters_and_bytes_count_a_tied_matrix_once():
    model = network.from_shape(SHAPE, 50, 16, seed=0)
    size = 50 * 16 + 2 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 48 + 2 * 16) + 16
    assert (network.parameters(model), network.model_bytes(model)) == (size, 4 * size)


def test_a_fresh_model_is_a_function_of_the_seed_and_leaves_torchs_own():
    before = torch.random.get_rng_state()
    a, b, c = (network.from_shape(SHAPE, 50, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [model.lm_head.weight for model in (a, b, c)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# Optimisation


def test_the_learning_rate_warms_up_and_ends_at_a_tenth():
    fields = config(lr=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, fields) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_only_matrices_decay():
    model = network.from_shape(SHAPE, 50, 16, seed=0)
    decayed, others = make_optimizer(model, config()).param_groups
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in others["params"]} == {1}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def make_job(tmp_path: Path, folders: dict[str, str], fields: TrainConfig, name: str) -> Job:
    vocabulary = Vocabulary.load(STORIES)
    _, tokens = tokenise(folders["pool"], vocabulary, tmp_path)
    _, held = evaluate.held_out(folders["held"], vocabulary, fields.seq_len)
    held.save(tmp_path / "held.npz")
    path = str(tmp_path / "held.npz")
    return Job("arm", 3, fields, tokens, path, True, 512, str(tmp_path / name), False, "identity")


def metrics(job: Job) -> list[dict]:
    return [json.loads(line) for line in (Path(job.folder) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("killed_after", [1, 4, 5])
def test_a_killed_run_goes_on_to_the_same_losses_bit_for_bit(tmp_path, folders, killed_after):
    fields = config(checkpoint_every=2)
    whole = make_job(tmp_path, folders, fields, "whole")
    want = run.train(whole, "cpu", lambda event: None)
    job = make_job(tmp_path, folders, fields, "killed")
    events = []
    with pytest.raises(run.Stopped):
        run.train(job, "cpu", events.append, lambda: len(events) == killed_after)
    with (Path(job.folder) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # the process died in the middle of a line
    got = run.train(job, "cpu", events.append)
    resumed = [event["step"] for event in events[killed_after:]]
    assert resumed == list(range(killed_after // 2 * 2 + 1, Schedule.of(fields).steps + 1))
    assert metrics(job) == metrics(whole)
    assert got["curve"] == want["curve"]
    assert job.finished() == got
    assert not (Path(job.folder) / "checkpoints").exists()


def test_micro_batches_add_up_to_the_same_gradients(tmp_path, folders):
    one, two = (
        run.train(
            make_job(tmp_path, folders, config(batch_size=4, micro_batch=size), str(size)), "cpu", print
        )
        for size in (None, 3)
    )
    assert two["curve"][-1]["all"] == pytest.approx(one["curve"][-1]["all"], rel=1e-6)
    formula = 192 * network.flops_per_token(network.from_shape(SHAPE, 512, 16, 0), 16)
    assert two["flops"] == one["flops"] == pytest.approx(formula, rel=0.01)


def test_an_arm_has_settings_of_its_own(tmp_path, folders):
    arms = [
        Arm("random", {0: folders["pool"]}, True),
        Arm("still", {0: folders["pool"]}, True, {"lr": 1e-9}),
    ]
    table = compare(config(), arms, [0], folders["held"], str(tmp_path / "out"), 1)
    assert table["arms"]["still"]["final"]["all"]["mean"] == pytest.approx(table["baseline"]["all"], rel=1e-5)
    assert table["arms"]["random"]["final"]["all"]["mean"] < 0.99 * table["baseline"]["all"]
    with pytest.raises(ValidationError, match="rate"):
        compare(
            config(), [Arm("x", {0: folders["pool"]}, True, {"rate": 1})], [0], folders["held"], str(tmp_path)
        )


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path, folders):
    job = make_job(tmp_path, folders, config(checkpoint_every=1), "run")
    events = []
    with pytest.raises(run.Stopped):
        run.train(job, "cpu", events.append, lambda: len(events) == 3)
    other = Job(**{**vars(job), "identity": "other"})
    assert other.finished() is None
    run.train(other, "cpu", events.append)
    assert [event["step"] for event in events[3:]] == [1, 2, 3, 4, 5, 6]
    assert job.finished() is None


def test_training_learns_and_the_model_can_be_loaded(tmp_path, folders):
    job = make_job(tmp_path, folders, config(tokens=1600, evals=1), "run")
    result = run.train(job, "cpu", lambda event: None)
    losses = [row["loss"] for row in metrics(job) if "loss" in row]
    assert losses[0] == pytest.approx(np.log(512), rel=0.05)
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    again = LlamaForCausalLM.from_pretrained(Path(job.folder) / "model").eval()
    held = evaluate.HeldOut.load(job.held)
    assert evaluate.evaluate(again, held, "cpu")["all"] == pytest.approx(result["curve"][-1]["all"])


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, folders):
    job = make_job(tmp_path, folders, config(lr=1e30, clip=1e30, warmup=0, tokens=3200), "run")
    with pytest.raises(FloatingPointError, match="lower lr"):
        run.train(job, "cpu", lambda event: None)


def test_bfloat16_runs_and_is_close(tmp_path, folders):
    exact, rough = (
        run.train(make_job(tmp_path, folders, config(dtype=dtype), dtype), "cpu", lambda event: None)
        for dtype in ("float32", "bfloat16")
    )
    assert rough["curve"][-1]["all"] == pytest.approx(exact["curve"][-1]["all"], rel=0.02)
    assert rough["curve"] != exact["curve"]


# Evaluation


def test_held_out_loss_is_nats_per_byte_by_domain(folders):
    vocabulary = Vocabulary.load(STORIES)
    model = network.build(config(model=None, tokenizer=None, init=STORIES), 512, 0, "cpu")
    _, held = evaluate.held_out(folders["held"], vocabulary, 64)
    got = evaluate.evaluate(model, held, "cpu")
    nats, num_bytes = {"a": 0.0, "b": 0.0}, {"a": 0, "b": 0}
    for texts, names in documents(folders["held"]):
        for text, name in zip(texts, names, strict=True):
            ids = torch.tensor([vocabulary.tokenizer.encode(text).ids])
            with torch.inference_mode():
                nats[name] += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            num_bytes[name] += len(text.encode())
    want = {name: nats[name] / num_bytes[name] for name in nats}
    assert got["domains"] == pytest.approx(want, rel=1e-5)
    assert got["macro"] == pytest.approx(np.mean(list(want.values())), rel=1e-5)
    assert got["all"] == pytest.approx(sum(nats.values()) / sum(num_bytes.values()), rel=1e-5)


def test_eval_bytes_takes_an_equal_part_from_every_domain(tmp_path):
    texts = [f"{i} {STORY}" for i in range(60)]
    folder = export(tmp_path / "x", texts, ["big"] * 50 + ["small"] * 10)
    vocabulary = Vocabulary.load(STORIES)
    key, held = evaluate.held_out(folder, vocabulary, 16, eval_bytes=600)
    assert held.domains == ["big", "small"]
    assert all(300 <= size < 300 + len(texts[-1]) for size in held.num_bytes)
    assert key != evaluate.held_out(folder, vocabulary, 16)[0]


# The comparison


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    texts = [f"{STORY} Number {i}. " * (1 + i % 3) for i in range(12)]
    pool, small = export(folder / "pool", texts), export(folder / "small", texts[:1])
    held = export(folder / "held", ["A cat saw a dog.", "A tree."], ["a", "b"])
    arms = [
        Arm("random", {0: pool, 1: pool}, True),
        Arm("control", {0: pool, 1: pool}, True),
        Arm("small", {0: small, 1: small}, False),
    ]
    events = []
    fields = config(model=None, tokenizer=None, init=STORIES)
    table = compare(fields, arms, [0, 1], held, str(folder / "out"), workers=1, progress=events.append)
    return {
        "table": table,
        "events": events,
        "out": folder / "out",
        "arms": arms,
        "held": held,
        "fields": fields,
    }


def test_every_arm_sees_as_many_tokens(compared):
    steps = Schedule.of(compared["fields"]).steps
    for arm in ("random", "control", "small"):
        rows = compared["table"]["arms"][arm]
        assert rows["seeds"] == [0, 1]
        assert [point["tokens"] for point in rows["curve"]] == [96, 192]
        assert rows["final"] == rows["curve"][-1]
        for seed in (0, 1):
            events = [e for e in compared["events"] if (e["arm"], e["seed"]) == (arm, seed)]
            assert [event["step"] for event in events] == list(range(1, steps + 1))
            assert all(event["steps"] == steps and event["tokens_per_s"] > 0 for event in events)


def test_the_same_data_and_seed_tie_exactly(compared):
    difference = compared["table"]["paired"]["control"]
    assert set(difference) == {"a", "b", "macro", "all"}
    for cell in difference.values():
        assert cell == {"mean difference to random": 0.0, "standard error": 0.0, "n": 2}
    values = compared["table"]["arms"]["random"]["final"]["all"]["values"]
    assert values[0] != values[1]


def test_a_small_corpus_repeats_and_says_so(compared):
    small = compared["table"]["arms"]["small"]
    assert small["repeats"] == [192 / tokens for tokens in small["corpus_tokens"]]
    assert any(warning.startswith("small: ") for warning in compared["table"]["warnings"])
    assert not any(warning.startswith("random: ") for warning in compared["table"]["warnings"])


def test_the_baseline_is_the_untrained_model(compared):
    _, held = evaluate.held_out(compared["held"], Vocabulary.load(STORIES), 16)
    model = LlamaForCausalLM.from_pretrained(STORIES).eval()
    baseline = dict(compared["table"]["baseline"])
    # In another process, maybe with other threads: equal but for the last bits.
    want = evaluate.evaluate(model, held, "cpu")
    assert baseline.pop("domains") == pytest.approx(want.pop("domains"), rel=1e-6)
    assert baseline == pytest.approx({"tokens": 0, "flops": 0, **want}, rel=1e-6)
    assert compared["table"]["resources"]["parameters"] == 260_032
    assert compared["table"]["resources"]["tokens"] == 6 * 192


def test_finished_runs_are_taken_as_they_are(compared, monkeypatch):
    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(run, "train", never)
    again = compare(compared["fields"], compared["arms"], [0, 1], compared["held"], str(compared["out"]), 1)
    assert again == compared["table"] == json.loads((compared["out"] / "compare.json").read_text())
    other = compared["fields"].model_copy(update={"lr": 2e-3})
    with pytest.raises(AssertionError, match="trained again"):
        compare(other, compared["arms"], [0, 1], compared["held"], str(compared["out"]), 1)


def test_two_processes_give_the_same_and_a_failure_its_traceback(compared, tmp_path):
    fields, arms = compared["fields"], compared["arms"][:1]
    wild = fields.model_copy(update={"lr": 1e30, "clip": 1e30, "warmup": 0.0})
    events = []
    pool = Pool(2, "cpu", threads=1)
    try:
        jobs = _jobs(fields, arms, [0, 1], compared["held"], tmp_path)
        results = pool.run(jobs, events.append)
        with pytest.raises(FloatingPointError, match="lower lr") as failure:
            pool.run(_jobs(wild, arms, [0, 1], compared["held"], tmp_path), events.append)
    finally:
        pool.close()
    assert summary.arm_summary(results[1:]) == compared["table"]["arms"]["random"]
    assert {event["seed"] for event in events} == {0, 1}
    assert "in found_spike" in str(failure.value.__cause__)


def test_paired_differences_by_hand():
    def result(seed: int, value: float) -> dict:
        return {"seed": seed, "curve": [{"tokens": 1, "domains": {"a": value}, "macro": value, "all": 0.0}]}

    got = summary.paired({"random": [result(0, 1.0), result(1, 2.0)], "x": [result(0, 0.5), result(1, 1.0)]})
    assert got["x"]["a"] == {"mean difference to random": -0.75, "standard error": 0.25, "n": 2}
    one = summary.paired({"random": [result(0, 1.0)], "x": [result(0, 0.5)]})
    assert one["x"]["a"]["standard error"] is None


def test_wrong_settings_are_refused(tmp_path, folders):
    with pytest.raises(ValidationError, match="either `init`"):
        TrainConfig(tokens=10)
    with pytest.raises(ValidationError, match="needs `tokenizer`"):
        TrainConfig(model=SHAPE, tokens=10)
    with pytest.raises(ValidationError, match="2 heads of even width"):
        LlamaShape(hidden=15, layers=1, heads=2)
    with pytest.raises(ValueError, match=r"no folder for the seeds \[1\]"):
        compare(
            config(), [Arm("random", {0: folders["pool"]}, True)], [0, 1], folders["held"], str(tmp_path), 1
        )
    with pytest.raises(ValueError, match="cannot be called 'a/b'"):
        compare(config(), [Arm("a/b", {0: folders["pool"]}, True)], [0], folders["held"], str(tmp_path), 1)
    with pytest.raises(FileNotFoundError, match="no checkpoint folder"):
        network.build(config(model=None, init=str(tmp_path / "none")), 512, 0, "cpu")
    with pytest.raises(ValueError, match="longer than the model's context, 512"):
        network.build(config(model=None, init=STORIES, seq_len=1024), 512, 0, "cpu")
