"""Claim: exact gradient norms of documents in less time than a backward pass of each, with no gradient kept.

    python -m workflows.bench.scoring_gradients MODEL CORPUS.parquet OUT [--documents 60] [--max-tokens 256]

MODEL and CORPUS are as in workflows.bench.scoring. Every scorer runs in a process of its own, in turn:

bound    lm_loss's grad_bound: a forward pass
last     grad_norm, kind last_layer: a forward pass
full     grad_norm, kind full: a forward and a backward pass of a batch
loop     transformers' own loss of one document after another, backward, the norm of all gradients
vmap-B   torch.func: vmap(grad) of B padded documents at once, which holds B gradients

Prints documents a second and CPU-seconds of the scoring alone (the least of the repeats; models are loaded
and warm), the peak memory of the whole process, and beside loop's norms the largest relative error (of the
scorers that give the same norm) and Spearman's rank correlation. At the end, how unequal loop's norms are:
(mean of the norms)^2 / (mean of their squares) is the second moment of gradients that are sampled by their
norms, over that of uniform sampling. Documents are cut to CHARS characters a token, so that no scorer's time
is that of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workflows.bench.in_turn import COST_HEAD, Costs, Scorer, arguments, cost_cells, run_all, score_here
from workflows.bench.scoring import smollm2, texts
from workflows.bench.tables import table

CHARS = 8
SCORERS = ("bound", "last", "full", "loop", "vmap-2", "vmap-8")


def tamis(name: str, model: str, max_tokens: int) -> Scorer:
    """tamis's norms or their bound."""
    from gpu_ops.grad_norm import GradNorm
    from gpu_ops.lm_loss import LmLoss

    op: Any = LmLoss(model=model, max_tokens=max_tokens)
    if name != "bound":
        op = GradNorm(model=model, max_tokens=max_tokens, kind="full" if name == "full" else "last_layer")
    lm = op.load("cpu")

    def score(some: list[str]) -> np.ndarray:
        batch = pa.RecordBatch.from_arrays([pa.array(some, pa.large_string())], ["text"])
        return op.columns(op.prepare(batch, lm), lm)[
            "grad_bound" if name == "bound" else "grad_norm"
        ].to_numpy()

    return score


def network_and_ids(model: str, max_tokens: int) -> tuple[Any, Any]:
    """The model, and what makes a text's ids: (1, T + 1), within its window, BOS in front."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network: Any = AutoModelForCausalLM.from_pretrained(model)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    def ids_of(text: str) -> Any:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:max_tokens]
        return torch.tensor([[*bos, *ids]])

    return network.eval(), ids_of


def loop(model: str, max_tokens: int) -> Scorer:
    """A backward pass for each document."""
    import torch

    network, ids_of = network_and_ids(model, max_tokens)

    def norm(ids: Any) -> float:
        network.zero_grad()
        network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        # In float32 the norm of 28 million numbers (SmolLM2's embedding) is off by 4e-5.
        norms = [
            torch.linalg.vector_norm(p.grad, dtype=torch.float64)
            for p in network.parameters()
            if p.grad is not None
        ]
        return float(torch.stack(norms).norm())

    return lambda some: np.array([norm(ids_of(text)) for text in some])


def vmapped(model: str, max_tokens: int, size: int) -> Scorer:
    """The gradients of so many documents of like length at once, by torch.func."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pad_sequence

    network, ids_of = network_and_ids(model, max_tokens)
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss(some: Any, ids: Any, targets: Any) -> Any:
        logits = functional_call(network, some, (), {"input_ids": ids[None], "use_cache": False}).logits[0]
        return cross_entropy(logits, targets)  # of targets that are not -100

    def norms(documents: list[Any]) -> Any:
        ids = pad_sequence([d[0, :-1] for d in documents], batch_first=True)
        targets = pad_sequence([d[0, 1:] for d in documents], batch_first=True, padding_value=-100)
        found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, ids, targets)
        wide = [torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64) for g in found.values()]
        return torch.stack(wide).norm(dim=0)

    def score(some: list[str]) -> np.ndarray:
        documents = [ids_of(text) for text in some]
        order = sorted(range(len(some)), key=lambda i: documents[i].shape[1])
        found = np.zeros(len(some))
        for start in range(0, len(some), size):
            pack = order[start : start + size]
            found[pack] = norms([documents[i] for i in pack]).numpy()
        return found

    return score


def scorer(name: str, model: str, max_tokens: int) -> Scorer:
    """The scorer of that name, its model loaded."""
    if name.startswith("vmap-"):
        return vmapped(model, max_tokens, int(name.removeprefix("vmap-")))
    return loop(model, max_tokens) if name == "loop" else tamis(name, model, max_tokens)


def report(out: Path, costs: Costs) -> Iterator[str]:
    """One line for each scorer, and how unequal the norms are."""
    exact = np.load(out / "loop.npy") if "loop" in costs else None
    rows = []
    for name, runs in costs.items():
        norms = np.load(out / f"{name}.npy")
        same = exact is not None and name not in ("bound", "last")
        error = f"{np.abs(norms / exact - 1).max():.1e}" if same else "-"
        rank = "-" if exact is None else f"{np.corrcoef(_ranks(norms), _ranks(exact))[0, 1]:.2f}"
        rows.append([name, *cost_cells(len(norms), runs), error, rank])
    yield table(["", *COST_HEAD, "error", "Spearman"], rows)
    if exact is not None:
        yield f"(mean norm)^2 / mean norm^2: {exact.mean() ** 2 / np.square(exact).mean():.3f}"


def _ranks(values: np.ndarray) -> np.ndarray:
    return values.argsort().argsort()


def main() -> None:
    args = arguments(__doc__, documents=60, repeats=2)
    if args.model == "smollm2":
        args.model = smollm2(args.out / "smollm2")
    if args.child:
        some = [text[: CHARS * args.max_tokens] for text in texts(args.corpus, args.documents)]
        score_here(args, lambda: scorer(args.child, args.model, args.max_tokens), some, warm=2)
        return
    print("\n".join(report(args.out, run_all(args, "workflows.bench.scoring_gradients", SCORERS))))


if __name__ == "__main__":
    main()
