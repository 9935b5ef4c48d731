"""Held-out loss by domain, in nats per byte: comparable between tokenizers and between domains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpu_ops.kernels.tokens import encode, windows
from gpu_ops.trainer.documents import data_files, documents
from gpu_ops.trainer.files import content_key, placed
from gpu_ops.trainer.stream import Vocabulary
from operators.kernels.counter import mix64

EVAL_TOKENS = 4096  # of one forward pass on the CPU
WINDOWS_PER_DOCUMENT = 4  # where not everything is evaluated: many documents say more than a long one
GROUP = 16  # documents that are tokenised at a time


@dataclass(frozen=True)
class HeldOut:
    """Windows of held-out documents. Each document is cut into windows of at most `seq_len` tokens; in a
    window the first token (BOS where there is one, else the token before) is context, the others count.

    tokens: int32, all windows one after the other. lengths, domain: one entry a window. domains: names,
    sorted. num_bytes: UTF-8 bytes of the scored text by domain.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    domain: np.ndarray
    domains: list[str]
    num_bytes: np.ndarray

    def save(self, path: Path) -> None:
        with placed(path) as file:
            np.savez(
                file,
                tokens=self.tokens,
                lengths=self.lengths,
                domain=self.domain,
                domains=np.array(self.domains, np.str_),
                num_bytes=self.num_bytes,
            )

    @classmethod
    def load(cls, path: str) -> HeldOut:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("tokens", "lengths", "domain", "num_bytes")}
            return cls(domains=file["domains"].tolist(), **arrays)


def held_out(
    folder: str, vocabulary: Vocabulary, seq_len: int, eval_bytes: int | None = None
) -> tuple[str, HeldOut]:
    """The windows of the folder's documents, and a key of their content.

    With `eval_bytes` every domain gives an equal part: its documents in a fixed random order, of each the
    first WINDOWS_PER_DOCUMENT windows, until its part is reached. ValueError when nothing can be scored.
    """
    by_domain: dict[str, list[str]] = {}
    for texts, names in documents(folder):
        for text, name in zip(texts, names, strict=True):
            by_domain.setdefault(name, []).append(text)
    share = None if eval_bytes is None else eval_bytes // max(1, len(by_domain))
    found = {name: _windows(texts, vocabulary, seq_len, share) for name, texts in sorted(by_domain.items())}
    found = {name: (pieces, num_bytes) for name, (pieces, num_bytes) in found.items() if pieces}
    if not found:
        raise ValueError(f"{folder}: the held-out documents are empty; there is nothing to evaluate on")
    pieces = [piece for part, _ in found.values() for piece in part]
    held = HeldOut(
        np.concatenate(pieces).astype(np.int32),
        np.array([len(piece) for piece in pieces], np.int64),
        np.repeat(np.arange(len(found)), [len(part) for part, _ in found.values()]),
        list(found),
        np.array([num_bytes for _, num_bytes in found.values()], np.int64),
    )
    return content_key(data_files(folder), f"{vocabulary.key} {seq_len} {eval_bytes}"), held


def _windows(
    texts: list[str], vocabulary: Vocabulary, seq_len: int, share: int | None
) -> tuple[list[np.ndarray], int]:
    """The windows of one domain and the bytes of text that they score."""
    order = np.argsort(mix64(np.arange(len(texts), dtype=np.uint64)))
    limit = None if share is None else WINDOWS_PER_DOCUMENT * (seq_len - 1)
    pieces: list[np.ndarray] = []
    num_bytes = 0
    for start in range(0, len(texts), GROUP):
        group = [texts[i] for i in order[start : start + GROUP]]
        for document in encode(vocabulary.tokenizer, group, limit, skip_first=vocabulary.bos is None):
            if share is not None and num_bytes >= share:
                return pieces, num_bytes
            if document.num_bytes:
                pieces += windows(document.ids, vocabulary.bos, seq_len)
                num_bytes += document.num_bytes
    return pieces, num_bytes


class _Logits:
    """A model's logits as they are scored: in float32, without those of a prompt in front."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(self, input_ids: Any, use_cache: bool) -> Any:
        found = self.network(input_ids=input_ids, use_cache=use_cache).logits
        return SimpleNamespace(logits=found[:, -input_ids.shape[1] :].float())


def tokens_at_once(device: str) -> int:
    """Of one forward pass of an evaluation."""
    return EVAL_TOKENS if device == "cpu" else 16 * EVAL_TOKENS


def evaluate(network: Any, held: HeldOut, device: str) -> dict[str, Any]:
    """Nats per byte: {"domains": {name: ...}, "macro": mean over domains, "all": of all bytes together}."""
    import torch

    from gpu_ops.kernels.causal_lm import CausalLm, find_head
    from gpu_ops.kernels.token_stats import window_stats

    training = network.training
    network.eval()
    longest = int(held.lengths.max())
    # The fused head has no float64; the model's own logits have.
    head = None if next(network.parameters()).dtype == torch.float64 else find_head(network)
    scored = network if head is not None else _Logits(network)
    lm = CausalLm(scored, None, head, None, 0, longest, tokens_at_once(device), device)
    found = window_stats(lm, np.split(held.tokens, np.cumsum(held.lengths)[:-1]))
    losses = found.sums(found.values["loss"])
    network.train(training)
    nats = np.bincount(held.domain, weights=losses, minlength=len(held.domains))
    per_byte = nats / held.num_bytes
    return {
        "domains": dict(zip(held.domains, per_byte.tolist(), strict=True)),
        "macro": float(per_byte.mean()),
        "all": float(nats.sum() / held.num_bytes.sum()),
    }
