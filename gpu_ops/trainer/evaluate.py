"""Held-out loss by domain, in nats per byte: comparable between tokenizers and between domains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpu_ops.kernels.tokens import encode, windows
from gpu_ops.trainer.documents import data_files, documents
from gpu_ops.trainer.files import content_key
from gpu_ops.trainer.stream import Vocabulary

EVAL_TOKENS = 4096  # of one forward pass on the CPU


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
        np.savez(
            path,
            allow_pickle=False,
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


def held_out(folder: str, vocabulary: Vocabulary, seq_len: int) -> tuple[str, HeldOut]:
    """The folder's content key and its windows. ValueError when no token can be scored."""
    pieces: list[np.ndarray] = []
    owners: list[str] = []
    num_bytes: dict[str, int] = {}
    for texts, names in documents(folder):
        encoded = encode(vocabulary.tokenizer, texts, skip_first=vocabulary.bos is None)
        for document, name in zip(encoded, names, strict=True):
            found = windows(document.ids, vocabulary.bos, seq_len)
            if found and document.num_bytes:
                pieces += found
                owners += [name] * len(found)
                num_bytes[name] = num_bytes.get(name, 0) + document.num_bytes
    if not pieces:
        raise ValueError(f"{folder}: the held-out documents are empty; there is nothing to evaluate on")
    domains = sorted(num_bytes)
    key = content_key(data_files(folder), vocabulary.key)
    return key, HeldOut(
        np.concatenate(pieces).astype(np.int32),
        np.array([len(piece) for piece in pieces], np.int64),
        np.array([domains.index(name) for name in owners], np.int64),
        domains,
        np.array([num_bytes[name] for name in domains], np.int64),
    )


def evaluate(network: Any, held: HeldOut, device: str) -> dict[str, Any]:
    """Nats per byte: {"domains": {name: ...}, "macro": mean over domains, "all": of all bytes together}."""
    from gpu_ops.kernels.causal_lm import CausalLm, plain_head
    from gpu_ops.kernels.lm_loss import window_losses

    training = network.training
    network.eval()
    longest = int(held.lengths.max())
    budget = EVAL_TOKENS if device == "cpu" else 16 * EVAL_TOKENS
    lm = CausalLm(network, None, plain_head(network), None, 0, longest, budget, device)
    losses = window_losses(lm, np.split(held.tokens, np.cumsum(held.lengths)[:-1]))
    network.train(training)
    nats = np.bincount(held.domain, weights=losses, minlength=len(held.domains))
    per_byte = nats / held.num_bytes
    return {
        "domains": dict(zip(held.domains, per_byte.tolist(), strict=True)),
        "macro": float(per_byte.mean()),
        "all": float(nats.sum() / held.num_bytes.sum()),
    }
