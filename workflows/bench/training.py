"""Claim: the trainer is as fast as a plain transformers Trainer on the same model, data and batches.

    python -m workflows.bench.training CORPUS OUT [--steps 40] [--repeats 3] [--device cpu] [--shape small]

CORPUS is a folder of documents (a column `text`), tokenised by the tokenizer of the quickstart. Both start
from the same weights (a Llama of `--shape`, written once to OUT), read the same sequences in the same order,
take AdamW (fused), warm-up and cosine, clip at 1 and write no checkpoint. Each run is a process of its own,
in turn; the time is that from the end of the first step to the end of the last one.

Prints tokens a second, CPU-seconds and the steps' mean loss (the Trainer's is of one target a row less, and
its first step has a rate of 0), the medians of the repeats; on a GPU whose peak is known also the share of it
that is used (MFU).

Found on two quiet cores (small, 30 steps, three pairs): 2,404 tokens/s against 2,348, 12.35 CPU-seconds
against 12.64, the median of the pairs' ratios 1.016: as fast. At the peak 1,049 MB against 890.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from workflows.bench import measure
from workflows.bench.tables import table

TOKENIZER = Path(__file__).parents[2] / "configs" / "quickstart" / "stories260K"
# hidden, layers, heads, vocabulary, sequence, batch, rows of one backward pass
SHAPES = {
    "small": (256, 4, 4, 8192, 128, 8, None),
    "124m": (768, 12, 12, 50_304, 1024, 32, 16),
    "1b": (2048, 18, 16, 50_304, 2048, 8, 4),
}
SEED, RATE, WARMUP = 0, 1e-3, 0.1


def start(args: argparse.Namespace) -> tuple[Path, Path]:
    """The model at step 0 and the tokens, made once."""
    from gpu_ops.trainer.config_parts import LlamaShape
    from gpu_ops.trainer.network import from_shape
    from gpu_ops.trainer.stream import Vocabulary, tokenise

    hidden, layers, heads, vocab, seq_len, _, _ = SHAPES[args.shape]
    model = args.out / f"model-{args.shape}"
    if not model.exists():
        from_shape(
            LlamaShape(hidden=hidden, layers=layers, heads=heads), vocab, seq_len, SEED
        ).save_pretrained(model)
    _, tokens = tokenise(str(args.corpus), Vocabulary.load(str(TOKENIZER)), args.out)
    return model, Path(tokens)


class Clock:
    """Wall and CPU time at the end of every step."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.times: list[tuple[float, float]] = []

    def tick(self) -> None:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        self.times.append((time.perf_counter(), time.process_time()))

    def cost(self) -> dict[str, float]:
        wall, cpu = (last - first for first, last in zip(self.times[0], self.times[-1], strict=True))
        return {"wall_s": wall, "cpu_s": cpu}


def ours(args: argparse.Namespace, model: Path, tokens: Path, clock: Clock) -> float:
    """The mean loss of the steps."""
    from gpu_ops.trainer.config import TrainConfig
    from gpu_ops.trainer.evaluate import held_out
    from gpu_ops.trainer.job import Job
    from gpu_ops.trainer.run import train
    from gpu_ops.trainer.stream import Vocabulary

    _, _, _, vocab, seq_len, rows, micro = SHAPES[args.shape]
    config = TrainConfig(
        init=str(model), tokenizer=str(TOKENIZER), tokens=args.steps * rows * seq_len, seq_len=seq_len,
        batch_size=rows, micro_batch=micro, lr=RATE, warmup=WARMUP, evals=1, eval_bytes=2000,
        device=args.device,
    )  # fmt: skip
    held = held_out(str(args.corpus), Vocabulary.load(str(TOKENIZER)), seq_len, 2000)[1]
    held.save(args.out / "held.npz")
    name = str(args.out / "tamis")
    job = Job(
        "bench",
        SEED,
        config,
        str(tokens),
        str(args.out / "held.npz"),
        False,
        vocab,
        name,
        False,
        str(time.time()),
    )
    losses: list[float] = []

    def step_ended(event: dict[str, Any]) -> None:
        clock.tick()
        losses.append(event["loss"])

    result = train(job, args.device, step_ended)
    (args.out / "mfu.json").write_text(json.dumps(result["mfu"]))
    return float(np.mean(losses))


def theirs(args: argparse.Namespace, model: Path, tokens: Path, clock: Clock) -> float:
    """The same by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    _, _, _, _, seq_len, rows, micro = SHAPES[args.shape]
    ids = np.memmap(tokens.with_suffix(".ids"), np.int32, "r")

    class Blocks(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return args.steps * rows

        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            places = (number * seq_len + np.arange(seq_len)) % len(ids)
            block = torch.from_numpy(ids[places].astype(np.int64))
            return {"input_ids": block, "labels": block}

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    arguments = TrainingArguments(
        str(args.out / "trainer"), max_steps=args.steps, per_device_train_batch_size=micro or rows,
        gradient_accumulation_steps=rows // (micro or rows), learning_rate=RATE, weight_decay=0.1,
        adam_beta2=0.95, warmup_steps=int(WARMUP * args.steps), lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1}, optim="adamw_torch_fused", max_grad_norm=1.0,
        use_cpu=args.device == "cpu", bf16=args.device != "cpu", save_strategy="no", report_to="none",
        logging_steps=args.steps, disable_tqdm=True, train_sampling_strategy="sequential",
    )  # fmt: skip
    trainer = Trainer(network, arguments, train_dataset=Blocks(), callbacks=[Ticks()])
    return float(trainer.train().training_loss)


def run_here(args: argparse.Namespace) -> None:
    """One trainer in this process."""
    import torch

    torch.set_num_threads(args.threads)
    model, tokens = start(args)
    clock = Clock(args.device)
    loss = {"tamis": ours, "transformers": theirs}[args.child](args, model, tokens, clock)
    (args.out / f"{args.child}.json").write_text(json.dumps({**clock.cost(), "loss": loss}))


def run_child(name: str, args: argparse.Namespace) -> dict[str, float]:
    """One trainer in a process of its own."""
    whole, log = args.out / f"{name}.whole.json", args.out / f"{name}.log"
    command = [sys.executable, "-m", "workflows.bench.training", args.corpus, args.out, "--child", name]
    command += [
        "--steps",
        args.steps,
        "--device",
        args.device,
        "--shape",
        args.shape,
        "--threads",
        args.threads,
    ]
    parts = [sys.executable, "-S", measure.__file__, whole, log, *command]
    subprocess.run([str(part) for part in parts], check=True)
    cost = json.loads(whole.read_text())
    if cost["exit"]:
        raise SystemExit(f"{name} failed; the end of {log}:\n{log.read_text()[-2000:]}")
    return {**json.loads((args.out / f"{name}.json").read_text()), "peak_bytes": cost["peak_bytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.child:
        run_here(args)
        return
    names = ("tamis", "transformers")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    start(args)
    for _ in range(args.repeats):
        for name in names:
            runs[name].append(run_child(name, args))
    _, _, _, _, seq_len, rows, _ = SHAPES[args.shape]
    tokens = (args.steps - 1) * rows * seq_len
    print(
        table(["trainer", "tokens/s", "CPU-s", "peak MB", "loss"], [_row(n, runs[n], tokens) for n in names])
    )
    ratio = np.median(
        [b["cpu_s"] / a["cpu_s"] for a, b in zip(runs["tamis"], runs["transformers"], strict=True)]
    )
    print(f"transformers takes {ratio:.3f} times tamis's CPU-seconds (median of {args.repeats} pairs)")
    print(f"MFU of tamis: {json.loads((args.out / 'mfu.json').read_text())}")


def _row(name: str, runs: list[dict[str, float]], tokens: int) -> list[str]:
    wall, cpu, loss, peak = (
        float(np.median([run[key] for run in runs])) for key in ("wall_s", "cpu_s", "loss", "peak_bytes")
    )
    return [name, f"{tokens / wall:,.0f}", f"{cpu:.2f}", f"{peak / 1e6:.0f}", f"{loss:.4f}"]


if __name__ == "__main__":
    main()
