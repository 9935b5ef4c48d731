"""Models that make one vector of a text: sentence-transformers, pooled hidden states, sequence classifiers.

Legend: B sequences in a batch, T tokens of the longest, D numbers in a vector (for a classifier, of labels).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_ops.kernels.causal_lm import CPU_BUDGET
from gpu_ops.kernels.model_folders import check_name, fast_tokenizer, folder_of, plain_tokenizer, unusable
from gpu_ops.kernels.networks import check_vocabulary, config_of, longest_input, network_of, resolve_dtype
from gpu_ops.kernels.packing import Int64s, for_packs
from gpu_ops.kernels.tokens import Ids

Float32s = npt.NDArray[np.float32]


@dataclass
class Encoder:
    """A model ready to make vectors.

    forward: input ids (B, T) and attention mask (B, T) -> (B, D). tokenizer: a tokenizers.Tokenizer. before,
    after: the special tokens around every text. pad: a token that fills up, masked. window: longest
    input in tokens, special ones included. budget: tokens of one forward pass, padding included; an
    out-of-memory error lowers it. network: what `forward` runs. labels: of a classifier, by number.
    """

    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    tokenizer: Any
    before: Ids
    after: Ids
    pad: int
    window: int
    budget: int
    device: str
    network: Any
    labels: tuple[str, ...] = field(default=())

    @property
    def room(self) -> int:
        """Tokens of text in the longest input."""
        return self.window - len(self.before) - len(self.after)

    def sequence(self, ids: Ids) -> Ids:
        """The input for these tokens of a text."""
        return np.concatenate([self.before, ids, self.after])


def vectors(
    encoder: Encoder, sequences: Sequence[Ids], prepare: Callable[[Int64s], None] | None = None
) -> Float32s:
    """The vector (n, D) of every sequence. `prepare` gets the indices of those that run next."""
    made: list[tuple[Int64s, Float32s]] = []

    def run(pack: Int64s) -> None:
        if prepare is not None:
            prepare(pack)
        made.append((pack, _forward(encoder, [sequences[i] for i in pack])))

    for_packs([len(sequence) for sequence in sequences], encoder, run, "input")
    if not made:
        return np.zeros((0, 0), np.float32)
    found = np.empty((len(sequences), made[0][1].shape[1]), np.float32)
    for pack, part in made:
        found[pack] = part
    return found


@torch.inference_mode()
def _forward(encoder: Encoder, batch: Sequence[Ids]) -> Float32s:
    """One forward pass over sequences padded, at their ends, to the longest."""
    lengths = torch.tensor([len(sequence) for sequence in batch])
    padded = np.full((len(batch), int(lengths.max())), encoder.pad, np.int64)
    for row, sequence in zip(padded, batch, strict=True):
        row[: len(sequence)] = sequence
    mask_BT = (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
    found = encoder.forward(torch.from_numpy(padded).to(encoder.device), mask_BT.to(encoder.device))
    return found.float().cpu().numpy()


def load_sentence_model(
    model: str, device: str, dtype: str, max_tokens: int | None, batch_tokens: int, prefix: str | None
) -> tuple[Encoder, str]:
    """A sentence-transformers model with its own pooling, and the prompt that it puts before texts.

    prefix: the prompt to use rather than the model's own. ValueError for a folder that is no such model.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = folder_of(model, "sentence-transformers model")
    if not (folder / "modules.json").exists():
        raise ValueError(
            f"{model}: it has no modules.json, so it is no sentence-transformers model and says nothing of "
            "how to pool its hidden states: give `pooling: mean`, `last` or `first`"
        )
    first = folder / json.loads((folder / "modules.json").read_text("utf-8"))[0]["path"]
    config = config_of(model, first, "sentence-transformers model")
    kind = resolve_dtype(dtype, device, config)
    _check_weights(first, config)
    try:
        network = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, ImportError) as error:
        raise unusable(model, check_name(model), "sentence-transformers model", error) from error
    if not isinstance(network[0], Transformer):
        raise ValueError(
            f"{model}: its first module is {type(network[0]).__name__}, only transformers can run"
        )
    network = network.eval().requires_grad_(False).to(kind)
    prompt = prefix if prefix is not None else network.prompts.get(network.default_prompt_name or "") or ""
    fast = plain_tokenizer(model, network.tokenizer)
    extra: dict[str, int] = {}
    if prompt and any(isinstance(part, Pooling) and not part.include_prompt for part in network):
        encoded = fast.encode(prompt, add_special_tokens=False)
        extra = {"prompt_length": len(specials(fast)[0]) + len(encoded.ids)}

    def forward(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, **extra}
        found: torch.Tensor = network(inputs)["sentence_embedding"]
        return found

    made = _encoder(model, network.tokenizer, forward, network, config, device, max_tokens, batch_tokens)
    return made, prompt


def _check_weights(folder: Path, config: Any) -> None:
    """ValueError where weights are missing: sentence-transformers would draw them at random.

    Names in files may have prefixes; where they are others altogether, transformers has to tell."""
    from safetensors import safe_open
    from transformers import AutoModel

    there: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(str(path), "pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                parts = name.split(".")
                there.update(".".join(parts[i:]) for i in range(len(parts)))
    auto: Any = AutoModel
    with torch.device("meta"):
        wanted = [name for name, _ in auto.from_config(config).named_parameters()]
    if any(name not in there and "pooler" not in name for name in wanted):
        network_of(str(folder), AutoModel, "model with hidden states", "cpu", "float32")


def load_pooled(
    model: str, device: str, dtype: str, max_tokens: int | None, batch_tokens: int, pooling: str, layer: int
) -> Encoder:
    """Hidden states of any model, special tokens included: their `mean`, or that of the `first` or `last`."""
    from transformers import AutoModel

    network, config, folder = network_of(model, AutoModel, "model with hidden states", device, dtype)
    layers = int(config.get_text_config().num_hidden_layers)
    if not -layers - 1 <= layer <= layers:
        raise ValueError(f"{model}: layer is {layer}, but it has the layers {-layers - 1} to {layers}")
    last = layer in (-1, layers)

    def forward(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        made = network(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=not last)
        states_BTD = made.last_hidden_state if last else made.hidden_states[layer]
        if pooling == "first":
            return states_BTD[:, 0]
        if pooling == "last":
            rows = torch.arange(len(ids_BT), device=ids_BT.device)
            return states_BTD[rows, mask_BT.sum(1) - 1]
        weight_BT1 = mask_BT[:, :, None].to(states_BTD.dtype)
        return (states_BTD * weight_BT1).sum(1) / weight_BT1.sum(1)

    tokenizer = fast_tokenizer(str(folder), True)
    return _encoder(model, tokenizer, forward, network, config, device, max_tokens, batch_tokens)


def load_classifier(
    model: str, device: str, dtype: str, max_tokens: int | None, batch_tokens: int
) -> Encoder:
    """A sequence classifier: `vectors` are its logits. ValueError without a trained classification head, and
    for models of several labels at once or of one number (regression)."""
    from transformers import AutoModelForSequenceClassification

    kind = "sequence classifier"
    network, config, folder = network_of(model, AutoModelForSequenceClassification, kind, device, dtype)
    if config.num_labels < 2 or config.problem_type not in (None, "single_label_classification"):
        raise ValueError(
            f"{model}: it has {config.num_labels} label(s) and the problem type {config.problem_type!r}; "
            "needed is a classifier that gives every text one of two or more labels"
        )

    padless = network.config.pad_token_id is None

    def forward(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        if padless:  # a model that takes the last token's state looks for it: it must be in no text
            there = set(ids_BT[mask_BT > 0].tolist())
            network.config.pad_token_id = next(i for i in range(len(there) + 1) if i not in there)
            ids_BT = ids_BT.masked_fill(mask_BT == 0, network.config.pad_token_id)
        logits: torch.Tensor = network(input_ids=ids_BT, attention_mask=mask_BT).logits
        return logits

    tokenizer = fast_tokenizer(str(folder), True)
    encoder = _encoder(model, tokenizer, forward, network, config, device, max_tokens, batch_tokens)
    encoder.labels = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    return encoder


def _encoder(
    model: str,
    tokenizer: Any,
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    network: Any,
    config: Any,
    device: str,
    max_tokens: int | None,
    batch_tokens: int,
) -> Encoder:
    fast, most = plain_tokenizer(model, tokenizer), longest_input(network, config)
    window = max_tokens or min(tokenizer.model_max_length, most)
    before, after = specials(fast)
    if window > most:
        raise ValueError(f"{model}: max_tokens is {window}, but the model has {most} positions")
    if window <= len(before) + len(after):
        raise ValueError(
            f"{model}: max_tokens is {window}, but {len(before) + len(after)} special tokens stand around "
            "every text"
        )
    inner = network[0].auto_model if hasattr(network, "encode") else network
    check_vocabulary(model, inner, fast, *before.tolist(), *after.tolist())
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    pad = pad if pad < inner.get_input_embeddings().num_embeddings else 0  # it is masked
    budget = batch_tokens if device.startswith("cuda") else min(batch_tokens, CPU_BUDGET)
    return Encoder(forward, fast, before, after, pad, window, budget, device, network)


def specials(tokenizer: Any) -> tuple[Ids, Ids]:
    """The special tokens that the tokenizer puts before and after a text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    start = next(i for i in range(len(whole) + 1) if whole[i : i + len(plain)] == plain)
    return np.array(whole[:start], np.int32), np.array(whole[start + len(plain) :], np.int32)
