"""Claim: one pass over a head gives five statistics of every token, exact to float32, for no more than the
loss alone costs, where the usual way holds all logits.

    python -m workflows.bench.scoring_head [--device cuda] [--model FOLDER] [--shape N,V,D]

Prints (1) the errors against float64 by dtype and shape: those of the whole, and those of the statistics
alone, on one and the same float32 logits; (2) time and peak extra memory beside the product alone, the plain
loss and the textbook's entropy and margin, and the fused losses of torch, Liger and cut-cross-entropy where
they import, with the share of the best measured GEMM rate (on CUDA: bfloat16, 65,536 rows, D 2048, V
128,256); (3) with --model, a causal language model's folder, the same for a whole forward pass beside the
plain loop. On a machine that others use only the ratios count.

Legend: N tokens, V vocabulary, D hidden size.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear_cross_entropy

from gpu_ops.kernels.head_stats import (
    Head,
    HeadStats,
    head_stats,
    logits_reference,
    logits_stats,
    reference,
)
from workflows.bench.tables import table

SHAPES = ((512, 50257, 768), (512, 49152, 576), (301, 32003, 2048), (64, 1, 64), (128, 517, 100))
CHUNK = 1 << 24  # logits of a chunk, on the CPU; on CUDA, 8,192 rows make the largest products


def random_head(
    shape: tuple[int, int, int], dtype: torch.dtype, device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (N, D), a weight (V, D) and targets; in every second row the target leads by 16 to 36."""
    rows, vocabulary, depth = shape
    draw = torch.Generator().manual_seed(rows + vocabulary)
    hidden = torch.randn(rows, depth, generator=draw)
    weight = torch.randn(vocabulary, depth, generator=draw) * (3 / depth**0.5)
    targets = torch.randint(0, vocabulary, (rows,), generator=draw)
    own = weight[targets[::2]]
    lead = torch.linspace(16, 36, len(own))[:, None]
    hidden[::2] += lead * own / own.square().sum(1, keepdim=True)
    return hidden.to(device, dtype), weight.to(device, dtype), targets.to(device)


def errors(got: HeadStats, want: HeadStats) -> list[str]:
    """The largest errors: absolute of loss, entropy, margin; relative of delta, over all rows and over those
    with 1 - p(target) from 1e-8 to 1e-3; and how many these are."""
    left = -torch.expm1(-want.loss)
    confident = (left > 1e-8) & (left < 1e-3)
    cells = [
        f"{(getattr(got, name).double() - getattr(want, name)).abs().max():.1e}"
        for name in ("loss", "entropy", "margin")
    ]
    relative = (got.delta.double() / want.delta - 1).abs().where(want.delta > 0, got.delta.double())
    among = f"{relative[confident].max():.1e}" if confident.any() else "-"
    return [*cells, f"{relative.max():.1e}", among, str(int(confident.sum()))]


def textbook(logits: torch.Tensor, targets: torch.Tensor) -> HeadStats:
    """The usual formulas in the logits' own precision, on logits that are all there."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    own = log_p.gather(1, targets[:, None])[:, 0]
    best = torch.nn.functional.pad(p, (0, 1)).topk(2, dim=1).values
    delta = (p.square().sum(1) - 2 * own.exp() + 1).clamp(min=0).sqrt()
    entropy = -(p * log_p).sum(1)
    return HeadStats(-own, delta, entropy, best[:, 0] - best[:, 1], best[:, 0], torch.zeros_like(own))


def error_table(hidden: torch.Tensor, head: Head, targets: torch.Tensor, name: str) -> list[list[str]]:
    """Three lines for one head: the whole, the statistics alone, the textbook in float32 beside them."""
    whole = errors(head_stats(hidden, head, targets), reference(hidden, head, targets))
    logits = hidden.float() @ head.weight.float().T
    truth = logits_reference(logits, targets)
    return [
        [f"{name}: whole", *whole],
        [f"{name}: statistics alone", *errors(logits_stats(logits, targets), truth)],
        [f"{name}: textbook, on the same logits", *errors(textbook(logits, targets), truth)],
    ]


ERRORS = ("", "loss", "entropy", "margin", "delta (relative)", "... 1-p in 1e-8..1e-3", "such rows")


def print_errors(device: str, shapes: Sequence[tuple[int, int, int]]) -> None:
    """Part 1."""
    lines = []
    for dtype in (torch.float32, torch.bfloat16):
        for shape in shapes:
            hidden, weight, targets = random_head(shape, dtype, device)
            name = f"{str(dtype).removeprefix('torch.')} N {shape[0]} V {shape[1]} D {shape[2]}"
            lines += error_table(hidden, Head(weight), targets, name)
    print(f"\nLargest errors against float64 ({device})\n\n{table(ERRORS, lines)}", flush=True)


@dataclass
class Cost:
    """The least of several runs. cpu_s: of this process; bytes: peak of memory beyond what was there."""

    wall_s: float
    cpu_s: float
    bytes: int


def measured(run: Callable[[], Any], device: str) -> Cost:
    """One run."""
    before = _reset_peak(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu, _peak(device) - before)


def _reset_peak(device: str) -> int:
    """Starts the measurement of peak memory; the bytes in use now."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not there to be taken again, uncounted
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes the present size
    return _status("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def compared(ways: dict[str, Callable[[], Any]], device: str, repeats: int) -> dict[str, Cost | str]:
    """Every way's least cost, taken in turn after one run to warm up; what went wrong where it did."""
    found: dict[str, Cost | str] = {}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            before = found.get(name)
            if isinstance(before, str):
                continue
            try:
                cost = measured(way, device)
            except Exception as error:  # a peer's own trouble, or memory: told in the table
                found[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:60]}"
                torch.cuda.empty_cache()
                continue
            if turn == 0:
                continue
            old = before or cost
            least = (f(old, cost) for f in (_least("wall_s"), _least("cpu_s"), _least("bytes")))
            found[name] = Cost(*least)
    return found


def _least(field: str) -> Callable[[Cost, Cost], Any]:
    return lambda a, b: min(getattr(a, field), getattr(b, field))


def chunks(hidden: torch.Tensor, vocabulary: int) -> tuple[torch.Tensor, ...]:
    """Rows whose logits fit in memory, at least 512: with fewer, products get slow."""
    rows = 8192 if hidden.is_cuda else max(512, CHUNK // vocabulary)
    return torch.split(hidden, rows)


def product_alone(hidden: torch.Tensor, weight: torch.Tensor) -> None:
    """All logits, chunk after chunk in the same memory."""
    parts = chunks(hidden, len(weight))
    out = hidden.new_empty(len(parts[0]), len(weight))
    for part in parts:
        torch.mm(part, weight.T, out=out[: len(part)])


def chunked_loss(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss alone, with the logits of one chunk at a time."""
    parts = chunks(hidden, len(weight))
    owns = targets.split([len(part) for part in parts])  # type: ignore[no-untyped-call]
    losses = [
        cross_entropy((part @ weight.T).float(), own, reduction="none")
        for part, own in zip(parts, owns, strict=True)
    ]
    return torch.cat(losses)


def peers(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Fused losses that others offer, for the loss alone."""
    options = torch.nn.LinearCrossEntropyOptions()
    found: dict[str, Callable[[], Any]] = {
        "torch linear_cross_entropy, summed": lambda: linear_cross_entropy(
            hidden, weight, targets, reduction="sum", options=options
        )
    }
    if not hidden.is_cuda:
        return found
    try:
        liger = importlib.import_module("liger_kernel.transformers.functional")
        found["Liger"] = lambda: liger.liger_fused_linear_cross_entropy(
            hidden, weight, targets, reduction="none"
        )
    except ImportError:
        print("Liger is not installed")
    try:
        cut = importlib.import_module("cut_cross_entropy")
        found["cut-cross-entropy"] = lambda: cut.linear_cross_entropy(
            hidden, weight, targets, reduction="none"
        )
    except ImportError:
        print("cut-cross-entropy is not installed")
    return found


def print_costs(device: str, shape: tuple[int, int, int], repeats: int) -> None:
    """Part 2."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    hidden, weight, targets = random_head(shape, dtype, device)
    ways: dict[str, Callable[[], Any]] = {
        "the matrix product alone": lambda: product_alone(hidden, weight),
        "head_stats: all statistics": lambda: head_stats(hidden, Head(weight), targets),
        "loss alone, chunk by chunk": lambda: chunked_loss(hidden, weight, targets),
        "logits, cross_entropy": lambda: cross_entropy(
            (hidden @ weight.T).float(), targets, reduction="none"
        ),
        "logits, textbook for all": lambda: textbook((hidden @ weight.T).float(), targets),
    }
    ways |= peers(hidden, weight, targets)
    found = compared(ways, device, repeats)
    tera = 2 * shape[0] * shape[1] * shape[2] / 1e12
    rates = [tera / cost.wall_s for cost in found.values() if isinstance(cost, Cost)]
    best = max([*rates, *([square_rate()] if device == "cuda" else [])])
    lines = [[name, *_cells(cost, tera, best)] for name, cost in found.items()]
    head = ("", "wall s", "CPU-s", "TFLOP/s", "of the best GEMM rate", "peak extra MB")
    print(
        f"\nN {shape[0]:,} V {shape[1]:,} D {shape[2]:,} {dtype} on {device}\n\n{table(head, lines)}",
        flush=True,
    )


def _cells(cost: Cost | str, tera: float, best: float) -> list[str]:
    if isinstance(cost, str):
        return ["-", "-", "-", cost, "-"]
    rate = tera / cost.wall_s
    return [
        f"{cost.wall_s:.4f}",
        f"{cost.cpu_s:.3f}",
        f"{rate:.3g}",
        f"{100 * rate / best:.0f} %",
        f"{cost.bytes / 1e6:.0f}",
    ]


def square_rate() -> float:
    """TFLOP/s of the product of two 8,192 x 8,192 bfloat16 matrices: what the device reaches in earnest."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    cost = min(measured(lambda: torch.mm(a, b, out=out), "cuda").wall_s for _ in range(10))
    return 2 * 8192**3 / 1e12 / cost


def print_model(folder: str, device: str, tokens: int, repeats: int) -> None:
    """Part 3: a whole model. Inputs are tokens of a real text, so the errors are a real model's."""
    from transformers import AutoTokenizer

    from gpu_ops.kernels.causal_lm import find_head, load_network

    network = load_network(folder, device)
    layer = find_head(network)
    if layer is None:
        raise ValueError(f"{folder}: its logits are more than one linear layer of the hidden states")
    weight, base = layer.weight, network.base_model
    text = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", verbose=False).input_ids[0]
    width = min(512, tokens - 1)
    batch = ids[: tokens // width * width].view(-1, width).to(device)
    targets = batch[:, 1:].flatten()

    def states() -> torch.Tensor:
        hidden = base(input_ids=batch, use_cache=False)[0][:, :-1]
        return hidden.reshape(-1, hidden.shape[-1])

    def plain() -> torch.Tensor:
        logits = network(input_ids=batch, use_cache=False).logits[:, :-1].float()
        return cross_entropy(logits.flatten(0, 1), targets, reduction="none")

    ways: dict[str, Callable[[], Any]] = {
        "hidden states alone": states,
        "... and loss alone, chunk by chunk": lambda: chunked_loss(states(), weight, targets),
        "... and the head's product alone": lambda: product_alone(states(), weight),
        "... and head_stats: all statistics": lambda: head_stats(states(), Head(weight), targets),
        "plain loop: logits, cross_entropy": plain,
    }
    print_model_costs(f"{folder}: {batch.numel():,} tokens on {device}", compared(ways, device, repeats))
    rows = error_table(states()[:512], Head(weight), targets[:512], "real text")
    print(f"\nLargest errors against float64, on this model's hidden states\n\n{table(ERRORS, rows)}")


def print_model_costs(title: str, found: dict[str, Cost | str]) -> None:
    """Every way's cost, and how many times that of the second, the loss alone."""
    alone = list(found.values())[1]
    lines = []
    for name, cost in found.items():
        if isinstance(cost, str) or isinstance(alone, str):
            lines.append([name, str(cost), *["-"] * 4])
            continue
        ratio = f"{cost.cpu_s / alone.cpu_s:.3f}", f"{cost.wall_s / alone.wall_s:.3f}"
        lines.append([name, f"{cost.wall_s:.2f}", f"{cost.cpu_s:.2f}", *ratio, f"{cost.bytes / 1e6:.0f}"])
    head = ("", "wall s", "CPU-s", "CPU-s x loss alone", "wall x loss alone", "peak extra MB")
    print(f"\n{title}\n\n{table(head, lines)}", flush=True)


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", help="folder of a causal language model, for part 3")
    parser.add_argument(
        "--shape", help="N,V,D of part 2; 4096,49152,576 on the CPU, 65536,128256,2048 on CUDA"
    )
    parser.add_argument("--tokens", type=int, default=2048, help="of part 3")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="only the small shapes in part 1")
    chosen = parser.parse_args(arguments)
    usual = "65536,128256,2048" if chosen.device == "cuda" else "4096,49152,576"
    rows, vocabulary, depth = map(int, (chosen.shape or usual).split(","))
    print_errors(chosen.device, SHAPES[-2:] if chosen.small else SHAPES)
    print_costs(chosen.device, (rows, vocabulary, depth), chosen.repeats)
    if chosen.model:
        print_model(chosen.model, chosen.device, chosen.tokens, chosen.repeats)


if __name__ == "__main__":
    main()
