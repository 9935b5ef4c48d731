"""What a language model knows by heart: passages that it goes on with word for word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import cross_entropy

from gpu_ops.kernels.tokens import first_ids, strings
from gpu_ops.trainer.config_parts import ProbeConfig
from gpu_ops.trainer.documents import columns, data_files, domains_of
from gpu_ops.trainer.evaluate import tokens_at_once
from gpu_ops.trainer.files import content_key, placed
from gpu_ops.trainer.stream import Vocabulary


@dataclass(frozen=True)
class Passages:
    """tokens: (N, prompt + continuation). domain: (N,) places in `domains`. prompt: tokens that are given."""

    tokens: np.ndarray
    domain: np.ndarray
    domains: list[str]
    prompt: int

    @classmethod
    def load(cls, path: str) -> Passages:
        with np.load(path, allow_pickle=False) as file:
            names, prompt = file["domains"].tolist(), int(file["prompt"])
            return cls(file["tokens"], file["domain"], names, prompt)


def read_passages(probe: ProbeConfig, vocabulary: Vocabulary, cache: Path) -> tuple[str, str]:
    """The key of the passages' content and the path of their tokens, made once. Texts that are too short for
    prompt and continuation are left out. ValueError when none is long enough."""
    key = content_key(data_files(probe.passages), f"{vocabulary.key} {probe.model_dump_json()}")
    path = cache / f"{key}.passages"
    if path.exists():
        return key, str(path)
    length = probe.prompt + probe.continuation
    found: list[np.ndarray] = []
    domains: list[str] = []
    for _, _, batch in columns(probe.passages, (probe.column,)):
        texts = strings(batch.column(probe.column).cast(pa.large_string()))
        for (ids, _), name in zip(
            first_ids(vocabulary.tokenizer, texts, length), domains_of(batch), strict=True
        ):
            whole = ids if vocabulary.bos is None else np.concatenate([[vocabulary.bos], ids])
            if len(whole) >= length:
                found.append(whole[:length])
                domains.append(name)
    if not found:
        raise ValueError(f"{probe.passages}: no passage has {length} tokens, the prompt and its continuation")
    names, places = np.unique(domains, return_inverse=True)
    with placed(path) as file:
        np.savez(file, tokens=np.stack(found), domain=places, domains=names, prompt=np.array(probe.prompt))
    return key, str(path)


@torch.no_grad()
def probe(model: Any, passages: Passages, device: str) -> dict[str, Any]:
    """`memorised`: the share of passages whose continuation greedy decoding gives exactly (Carlini et al.
    2023, definition 3.1), and `memorised_loss`: the continuation's mean loss in nats a token; both by domain,
    as mean of these (macro) and over all.

    One forward pass tells: greedy decoding gives the continuation if and only if every token of it is the
    likeliest after those before it."""
    training = model.training
    model.eval()
    rows = max(1, tokens_at_once(device) // passages.tokens.shape[1])
    exact, losses = [], []
    for start in range(0, len(passages.tokens), rows):
        ids = torch.from_numpy(passages.tokens[start : start + rows].astype(np.int64)).to(device)
        logits = model(input_ids=ids, use_cache=False).logits[:, passages.prompt - 1 : -1].float()
        wanted = ids[:, passages.prompt :]
        exact.append((logits.argmax(dim=-1) == wanted).all(dim=1).double().cpu().numpy())
        loss = cross_entropy(logits.transpose(1, 2), wanted, reduction="none").mean(dim=1)
        losses.append(loss.double().cpu().numpy())
    model.train(training)
    return {
        "memorised": _by_domain(np.concatenate(exact), passages),
        "memorised_loss": _by_domain(np.concatenate(losses), passages),
    }


def _by_domain(values: np.ndarray, passages: Passages) -> dict[str, Any]:
    sums = np.bincount(passages.domain, values, len(passages.domains))
    means = sums / np.bincount(passages.domain, minlength=len(passages.domains))
    by_name = dict(zip(passages.domains, means.tolist(), strict=True))
    return {"domains": by_name, "macro": float(means.mean()), "all": float(values.mean())}
