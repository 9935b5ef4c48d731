"""lm_loss against transformers' own loss, and what it does with hostile texts, models and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
import scipy.stats
import torch
from pydantic import ValidationError
from scoring import scored
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, GPT2Config

from gpu_ops.kernels import causal_lm, token_stats, tokens
from gpu_ops.lm_loss import LmLoss

torch.set_num_threads(1)  # these models are too small to gain from more
MODEL = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
TEXTS = [
    "Once upon a time, there was a little girl named Lily. She loved to play outside.",
    "x",
    "def f(x):\n    return x ** 2  # naïve ☃ 中文 \u0000 🙂",
    "the cat sat " * 60,
    "One day, Tim saw a big dog. The dog was sad.",
]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])


@pytest.fixture(scope="module")
def scorer() -> causal_lm.CausalLm:
    return LmLoss(model=MODEL).load("cpu")


@pytest.fixture(scope="module")
def oracle():
    model = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)

    def loss(text: str, max_length: int | None = None) -> tuple[float, int]:
        ids = tokenizer(text, return_tensors="pt").input_ids[:, :max_length]
        with torch.inference_mode():
            return model(input_ids=ids, labels=ids).loss.item(), ids.shape[1] - 1

    return loss


def test_the_loss_is_that_of_transformers(scorer, oracle):
    got = scored(LmLoss(model=MODEL), batch_of(TEXTS), scorer)
    want = [oracle(text) for text in TEXTS]
    assert all(scored < 512 for _, scored in want)
    np.testing.assert_allclose(got["loss"].to_numpy(), [loss for loss, _ in want], atol=1e-5)
    assert got["scored_tokens"].to_pylist() == got["tokens"].to_pylist() == [n for _, n in want]
    nats = [loss * n / len(text.encode()) for (loss, n), text in zip(want, TEXTS, strict=True)]
    np.testing.assert_allclose(got["loss_per_byte"].to_numpy(), nats, atol=1e-5)


def test_all_columns_are_those_of_the_logits(scorer):
    """By scipy in float64, from the logits that transformers gives."""
    got = scored(LmLoss(model=MODEL), batch_of(TEXTS), scorer)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([[scorer.bos, *scorer.tokenizer.encode(text, add_special_tokens=False).ids]])
        with torch.inference_mode():
            found = scorer.model(input_ids=ids, output_hidden_states=True)
        p = scipy.special.softmax(found.logits[0, :-1].double().numpy(), axis=1)
        target = ids[0, 1:].numpy()
        error = p.copy()
        error[np.arange(len(p)), target] -= 1
        length = np.linalg.norm(error, axis=1)
        hidden = np.linalg.norm(found.hidden_states[-1][0, :-1].double().numpy(), axis=1)
        ranked = np.sort(p, axis=1)
        want = {
            "perplexity": np.exp(-np.log(p[np.arange(len(p)), target]).mean()),
            "entropy": scipy.stats.entropy(p, axis=1).mean(),
            "margin": (ranked[:, -1] - ranked[:, -2]).mean(),
            "least_confidence": (1 - ranked[:, -1]).mean(),
            "el2n": length.mean(),
            "grad_bound": (length * hidden).mean(),
        }
        assert {name: got[name][i].as_py() for name in want} == pytest.approx(want, rel=1e-4), text


def test_without_bos_a_first_character_of_several_tokens_counts_whole():
    tokenizer = AutoTokenizer.from_pretrained(MODEL).backend_tokenizer
    for text in ("🙂", "漢字", "🙂a"):
        document = tokens.encode(tokenizer, [text], skip_first=True)[0]
        pieces = tokenizer.encode(text, add_special_tokens=False)
        first, second = pieces.token_to_chars(0), pieces.token_to_chars(1)
        left = text[second[0] :] if second[0] < first[1] else text[first[1] :]
        assert document.num_bytes == len(left.encode()), text
    assert tokens.encode(tokenizer, ["🙂"], skip_first=True)[0].num_bytes == 4


def test_max_tokens_scores_the_first_tokens_and_counts_all(scorer, oracle):
    got = scored(LmLoss(model=MODEL, max_tokens=20), batch_of(TEXTS), scorer)
    want = [oracle(text, 21) for text in TEXTS]
    np.testing.assert_allclose(got["loss"].to_numpy(), [loss for loss, _ in want], atol=1e-5)
    assert got["scored_tokens"].to_pylist() == [n for _, n in want]
    assert got["tokens"].to_pylist() == [oracle(text)[1] for text in TEXTS]


def test_bytes_of_a_truncated_text_end_with_its_last_scored_token():
    tokenizer = AutoTokenizer.from_pretrained(MODEL).backend_tokenizer
    text = "Zoë saw 🙂 snow ☃ and naïve ducks"
    whole = tokens.encode(tokenizer, [text])[0]
    assert (whole.tokens, whole.num_bytes) == (len(whole.ids), len(text.encode()))
    for count in range(1, whole.tokens):
        document = tokens.encode(tokenizer, [text], max_tokens=count)[0]
        rest = tokenizer.decode(whole.ids[:count].tolist()).encode()
        covered = text.encode()[: document.num_bytes]
        assert document.ids.tolist() == whole.ids[:count].tolist()
        assert covered.decode()  # a cut character counts whole, so this is valid UTF-8
        assert 0 <= len(covered) - len(rest.rstrip("\ufffd".encode())) <= 4


def test_a_score_does_not_depend_on_the_batch(scorer):
    op = LmLoss(model=MODEL)
    together = scored(op, batch_of(TEXTS), scorer)
    for i, text in enumerate(TEXTS):
        alone = scored(op, batch_of([text]), scorer)
        for name in op.adds:
            assert alone[name][0].as_py() == pytest.approx(together[name][i].as_py(), rel=op.tolerance)


def test_empty_null_and_invalid_texts(scorer):
    op = LmLoss(model=MODEL)
    got = scored(op, batch_of(["", None, "a cat"]), scorer)
    assert got["loss"].to_pylist()[:2] == got["loss_per_byte"].to_pylist()[:2] == [None, None]
    assert got["tokens"].to_pylist()[:2] == got["scored_tokens"].to_pylist()[:2] == [0, 0]
    offsets, data = pa.py_buffer(np.array([0, 3], np.int64)), pa.py_buffer(b"a\xff.")
    broken = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, data])
    prepared = op.prepare(pa.RecordBatch.from_arrays([broken], ["text"]), scorer)
    invalid = op.columns(prepared, scorer)
    assert invalid["loss"].equals(scored(op, batch_of(["a\ufffd."]), scorer)["loss"])
    nothing = scored(op, batch_of([]), scorer)
    assert {name: column.type for name, column in nothing.items()} == dict(op.adds)
    assert all(len(column) == 0 for column in nothing.values())


def test_a_long_text_is_scored_in_windows_with_bos(scorer):
    document = tokens.encode(scorer.tokenizer, ["Lily saw a dog and ran. " * 100])[0]
    pieces = tokens.windows(document.ids, scorer.bos, scorer.window)
    assert len(pieces) > 1
    assert all(piece[0] == scorer.bos for piece in pieces)
    assert np.concatenate([piece[1:] for piece in pieces]).tolist() == document.ids.tolist()
    with torch.inference_mode():
        ids = [torch.from_numpy(piece.astype(np.int64))[None] for piece in pieces]
        want = sum(scorer.model(input_ids=i, labels=i).loss.item() * (i.shape[1] - 1) for i in ids)
    found = token_stats.document_stats(scorer, [document.ids])
    total = found.sums(found.values["loss"])
    assert (total[0], found.counts[0]) == (pytest.approx(want, rel=1e-5), document.tokens)


def test_without_bos_the_token_before_is_context():
    ids = np.arange(10, dtype=np.int32)
    pieces = tokens.windows(ids, None, 4)
    assert [piece.tolist() for piece in pieces] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert tokens.windows(ids[:1], None, 4) == []


def test_huge_texts_are_tokenised_in_pieces_that_lose_nothing(monkeypatch, scorer):
    text = "Once upon a time\nthere was a dog. " * 40
    monkeypatch.setattr(tokens, "PIECE_CHARS", 300)
    monkeypatch.setattr(tokens, "GROUP_CHARS", 500)
    documents = tokens.encode(scorer.tokenizer, ["a", text, "", text[:700]])
    assert [document.num_bytes for document in documents] == [1, len(text), 0, 700]
    spelled = scorer.tokenizer.decode(documents[1].ids.tolist())
    assert spelled.replace(" ", "").replace("\n", "") == text.replace(" ", "").replace("\n", "")
    part = tokens.encode(scorer.tokenizer, [text], max_tokens=400)[0]
    assert part.ids.tolist() == documents[1].ids[:400].tolist()
    assert part.tokens == documents[1].tokens
    assert 300 < part.num_bytes < len(text)


def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch, scorer):
    op = LmLoss(model=MODEL)
    want = scored(op, batch_of(TEXTS[:1] * 5), scorer)
    whole, sizes = token_stats._forward, []

    def small(lm, batch, names):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(lm, batch, names)

    fresh = op.load("cpu")
    monkeypatch.setattr(token_stats, "_forward", small)
    got = scored(op, batch_of(TEXTS[:1] * 5), fresh)
    np.testing.assert_allclose(got["loss"].to_numpy(), want["loss"].to_numpy(), rtol=1e-5)
    assert sizes == [5, 3, 2, 1, 2]
    assert fresh.budget < scorer.budget


def test_a_window_that_never_fits_says_so(monkeypatch, scorer):
    def never(lm, batch, names):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(token_stats, "_forward", never)
    with pytest.raises(MemoryError, match="lower `max_tokens`"):
        scored(LmLoss(model=MODEL), batch_of(["a dog"]), LmLoss(model=MODEL).load("cpu"))


def from_config(config) -> causal_lm.CausalLm:
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(30)
    head = causal_lm.find_head(network)
    return causal_lm.CausalLm(network, None, head, None, 0, 32, 128, "cpu")


@pytest.mark.parametrize("soft_cap", [None, 5.0])
def test_a_soft_capped_head_is_found(soft_cap):
    lm = from_config(
        Gemma2Config(
            vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, final_logit_softcapping=soft_cap, tie_word_embeddings=False,
        )
    )  # fmt: skip
    assert lm.head.cap == soft_cap
    check_against_own_loss(lm)


def test_learned_positions_and_no_pad_token():
    lm = from_config(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    assert lm.head is not None
    check_against_own_loss(lm)


def check_against_own_loss(lm: causal_lm.CausalLm) -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.integers(0, 40, size).astype(np.int32) for size in (2, 30, 7, 19, 31)]
    found = token_stats.window_stats(lm, pieces, {"loss"})
    got = found.sums(found.values["loss"])
    with torch.inference_mode():
        ids = [torch.from_numpy(piece.astype(np.int64))[None] for piece in pieces]
        want = [lm.model(input_ids=i, labels=i).loss.item() * (i.shape[1] - 1) for i in ids]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_bfloat16_is_close(scorer):
    op = LmLoss(model=MODEL, dtype="bfloat16", max_tokens=32)
    got = scored(op, batch_of(TEXTS), op.load("cpu"))["loss"].to_numpy()
    want = scored(LmLoss(model=MODEL, max_tokens=32), batch_of(TEXTS), scorer)["loss"].to_numpy()
    np.testing.assert_allclose(got, want, rtol=3e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(scorer):
    op = LmLoss(model=MODEL)
    got = scored(op, batch_of(TEXTS), op.load("cuda"))["loss"].to_numpy()
    np.testing.assert_allclose(got, scored(op, batch_of(TEXTS), scorer)["loss"].to_numpy(), rtol=1e-4)


def test_a_missing_model_says_how_to_name_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"name a folder with config\.json"):
        LmLoss(model="./nowhere/model").load("cpu")
    (tmp_path / "readme.txt").write_text("no model")
    with pytest.raises(ValueError, match=r"holds readme\.txt; needed are config.json"):
        LmLoss(model=str(tmp_path)).load("cpu")


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((Path(MODEL) / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        LmLoss(model=str(tmp_path)).load("cpu")


def test_fields_are_checked():
    with pytest.raises(ValidationError):
        LmLoss(model=MODEL, max_tokens=0)
    with pytest.raises(ValidationError):
        LmLoss(model=MODEL, dtype="int4")


def test_reading_the_fields_needs_no_torch():
    code = "import sys, gpu_ops.lm_loss; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
