"""Models that give a row one of K classes: transformers' sequence classifiers, and layers over vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gpu_ops.kernels.networks import longest_input, network_of
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape, MlpShape, Unfit
from gpu_ops.trainer.stream import Vocabulary

WEIGHTS = "model.safetensors"


class Mlp(nn.Module):
    """(R, D) vectors to (R, K) logits."""

    def __init__(self, width: int, classes: Sequence[str], shape: MlpShape) -> None:
        super().__init__()
        self.shape, self.classes = shape, tuple(classes)
        layers: list[nn.Module] = []
        for hidden in shape.mlp:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(shape.dropout)]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, len(classes)))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(vectors)
        return logits

    @classmethod
    def load(cls, folder: Path) -> Mlp:
        """What `save_pretrained` wrote."""
        config, weights = json.loads((folder / "config.json").read_text("utf-8")), load_file(folder / WEIGHTS)
        shape = MlpShape(mlp=config["mlp"], dropout=config["dropout"])
        found = cls(weights["layers.0.weight"].shape[1], tuple(config["id2label"].values()), shape)
        found.load_state_dict(weights)
        return found

    def save_pretrained(self, folder: Path, state_dict: Any = None) -> None:
        """config.json with the shape and id2label, and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        id2label = {str(number): name for number, name in enumerate(self.classes)}
        config = {"model_type": "tamis_mlp", **self.shape.model_dump(mode="json"), "id2label": id2label}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        save_file(self.state_dict() if state_dict is None else state_dict, folder / WEIGHTS)


def build_classifier(config: TrainConfig, classes: Sequence[str], vocab: int, seed: int) -> Any:
    """The classifier at step 0, in float32; what is not from a checkpoint is drawn from the seed.

    vocab: tokens, or numbers in a vector. ValueError for a checkpoint of an architecture without sequence
    classification in transformers, a context shorter than `seq_len`, or a vocabulary that is too small."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(config.model, MlpShape):
            return Mlp(vocab, classes, config.model)
        if isinstance(config.model, LlamaShape):
            network = _from_shape(config.model, classes, vocab, config.seq_len)
        elif own_labels(config.init, classes):
            network = _whole(str(config.init))
        else:
            network = _with_new_head(str(config.init), classes)
    text = network.config.get_text_config()
    if text.vocab_size < vocab:
        raise Unfit(f"the model knows {text.vocab_size} tokens, the tokenizer has {vocab}")
    if (context := longest_input(network, network.config)) < config.seq_len:
        raise Unfit(f"seq_len {config.seq_len} is longer than the model's context, {context}")
    _name(network, classes)
    if text.pad_token_id is None:  # some models classify by the last token that is none of these
        vocabulary = Vocabulary.load(config.tokenizer_folder)
        known = [token for token in (vocabulary.bos, vocabulary.eos) if token is not None]
        text.pad_token_id = network.config.pad_token_id = [*known, 0][0]
    return network


def own_labels(init: str | None, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of a checkpoint that classifies already, where they hold all of these, by name or (for
    integers) by number: it goes on with its own head. Empty where it gets a new one."""
    path = Path(init or "") / "config.json"
    if init is None or not path.is_file():
        return ()
    found = json.loads(path.read_text("utf-8"))
    if not any(str(name).endswith("ForSequenceClassification") for name in found.get("architectures") or ()):
        return ()
    names = found.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    own = tuple(str(names[str(number)]) for number in range(len(names)))
    numbers = tuple(str(number) for number in range(len(names)))
    return next((labels for labels in (own, numbers) if set(classes) <= set(labels)), ())


def llama_config(shape: LlamaShape, vocab: int, seq_len: int) -> Any:
    """What transformers calls this shape."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocab or vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate or -(-shape.hidden // 3) * 8,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        max_position_embeddings=seq_len,
        tie_word_embeddings=shape.tie,
        bos_token_id=None,
        eos_token_id=None,
    )


def _from_shape(shape: LlamaShape, classes: Sequence[str], vocab: int, seq_len: int) -> Any:
    from transformers import LlamaForSequenceClassification

    config = llama_config(shape, vocab, seq_len)
    config.num_labels = len(classes)
    made: Any = LlamaForSequenceClassification
    return made(config)


def _whole(init: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    auto = AutoModelForSequenceClassification
    return network_of(init, auto, "sequence classifier", "cpu", "float32")[0].requires_grad_(True)


def _with_new_head(init: str, classes: Sequence[str]) -> Any:
    """The checkpoint's body, be it of a language model, an encoder or another classifier."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    body, config, _ = network_of(init, AutoModel, "model with hidden states", "cpu", "float32")
    config.num_labels = len(classes)
    config.problem_type = "single_label_classification"
    auto: Any = AutoModelForSequenceClassification
    try:
        network = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except ValueError as error:
        raise ValueError(f"{init}: transformers has no sequence classifier of this kind: {error}") from error
    found = network.base_model.load_state_dict(body.state_dict(), strict=False)
    if missing := [name for name in found.missing_keys if "pooler" not in name]:
        raise ValueError(f"{init}: its body lacks {missing[:4]} of what its classifier reads")
    return network


def _name(network: Any, classes: Sequence[str]) -> None:
    network.config.id2label = dict(enumerate(classes))
    network.config.label2id = {name: number for number, name in enumerate(classes)}
