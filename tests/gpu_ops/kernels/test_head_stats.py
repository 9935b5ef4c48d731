"""Head statistics against float64: on the CPU, in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import scipy.special
import scipy.stats
import torch
from head_cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_ops.kernels import head_stats_cpu
from gpu_ops.kernels.head_stats import (
    IGNORED,
    Head,
    HeadStats,
    columns,
    head_stats,
    logits_reference,
    logits_stats,
    reference,
)

ROOT = Path(__file__).parents[3]
CASES = cases()
# Absolute and relative errors allowed. A loss of 20,000 nats is no better than float32 itself.
ALLOWED = {
    "loss": (2e-5, 1e-6),
    "delta": (1e-37, 1e-5),  # float32 ends there
    "entropy": (2e-5, 0.0),
    "margin": (1e-5, 0.0),
    "top": (1e-5, 0.0),
    "hidden_square": (0.0, 1e-6),
}


def truth(case: Case) -> HeadStats:
    if case.logits is not None:
        return logits_reference(case.logits, case.targets)
    return reference(case.hidden, case.head, case.targets)


def stats(case: Case) -> HeadStats:
    if case.logits is not None:
        return logits_stats(case.logits, case.targets)
    return head_stats(case.hidden, case.head, case.targets)


def agree(got: HeadStats, want: HeadStats, names: Any = ALLOWED) -> None:
    for name in names:
        absolute, relative = ALLOWED[name]
        value = getattr(got, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(
            value.double(),
            getattr(want, name).double(),
            atol=absolute,
            rtol=relative,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The states of all cases by the Triton kernel, from a process whose triton interprets kernels."""
    if sys.platform != "linux":
        pytest.skip("there is triton for Linux only")
    out = tmp_path_factory.mktemp("interpreted") / "states.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/head_cases.py"), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, torch.Tensor] = torch.load(out)
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_cpu_agrees_with_float64(name: str) -> None:
    agree(stats(CASES[name]), truth(CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_triton_agrees_with_float64(name: str, interpreted: dict[str, torch.Tensor]) -> None:
    case, want = CASES[name], truth(CASES[name])
    agree(columns(interpreted[name], case.targets, want.hidden_square.float()), want)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_agrees_with_float64(name: str) -> None:
    case = CASES[name]
    if case.logits is not None:
        got = logits_stats(case.logits.cuda(), case.targets.cuda())
    else:
        head = case.head
        bias = None if head.bias is None else head.bias.cuda()
        moved = Head(head.weight.cuda(), bias, head.scale, head.cap)
        got = head_stats(case.hidden.cuda(), moved, case.targets.cuda())
    agree(HeadStats(*(getattr(got, field.name).cpu() for field in fields(got))), truth(case))


def test_ignored_rows_hold_zeros() -> None:
    case = CASES["bias, scale and cap"]
    got, ignored = stats(case), case.targets == IGNORED
    assert 0 < ignored.sum() < len(ignored)
    for field in fields(got):
        assert not getattr(got, field.name)[ignored].any()
        assert getattr(got, field.name)[~ignored].all()


@pytest.mark.parametrize("name", ["confident", "confident logits"])
def test_confident_rows_are_what_cancels_in_the_textbook_form(name: str) -> None:
    case, want = CASES[name], truth(CASES[name])
    left = -torch.expm1(-want.loss)
    assert left.max() > 1e-3
    assert left.min() < 1e-8
    logits = case.hidden @ case.head.weight.T if case.logits is None else case.logits
    p = logits.softmax(1)
    textbook = p.square().sum(1) - 2 * p.gather(1, case.targets[:, None])[:, 0] + 1
    wrong = (textbook.clamp(min=0).sqrt() / want.delta - 1).abs()
    assert wrong.max() > 0.5  # float32 alone does not meet what the other tests ask for


def test_the_reference_is_scipy_s() -> None:
    case = CASES["float32"]
    got, scored = truth(case), case.targets != IGNORED
    z = (case.hidden.double() @ case.head.weight.double().T).numpy()[scored.numpy()]
    p = scipy.special.softmax(z, axis=1)
    torch.testing.assert_close(got.entropy[scored], torch.from_numpy(scipy.stats.entropy(p, axis=1)))
    best = torch.from_numpy(p).sort(1, descending=True).values
    torch.testing.assert_close(got.margin[scored], best[:, 0] - best[:, 1])
    torch.testing.assert_close(got.top[scored], best[:, 0])


def test_delta_is_the_length_of_autograd_s_gradient() -> None:
    case = CASES["bias, scale and cap"]
    scored = case.targets != IGNORED
    logits = (case.hidden.double() @ case.head.weight.double().T).requires_grad_()
    torch.nn.functional.cross_entropy(logits, case.targets, reduction="sum").backward()
    got = head_stats(case.hidden, Head(case.head.weight), case.targets)
    torch.testing.assert_close(got.delta.double()[scored], logits.grad.norm(dim=1)[scored], rtol=1e-5, atol=0)

    weight, row = case.head.weight.double().requires_grad_(), 1
    (hidden,) = case.hidden.double()[[row]]
    torch.nn.functional.cross_entropy(weight @ hidden, case.targets[row]).backward()
    norm = got.delta[row] * got.hidden_square[row].sqrt()
    torch.testing.assert_close(norm.double(), weight.grad.norm(), rtol=1e-5, atol=0)


def test_the_loss_of_a_model_is_transformers_own() -> None:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(ROOT / "configs/quickstart/stories260K")
    ids = torch.arange(3, 99)[None]
    with torch.no_grad():
        want = network(input_ids=ids, labels=ids).loss
        hidden = network.base_model(input_ids=ids)[0][0, :-1]
    got = head_stats(hidden, Head(network.get_output_embeddings().weight), ids[0, 1:])
    torch.testing.assert_close(got.loss.mean(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_stays_so(value: float) -> None:
    case = CASES["float32"]
    hidden, logits = case.hidden.clone(), case.hidden @ case.head.weight.T
    hidden[1, 3] = torch.nan
    got = head_stats(hidden, case.head, case.targets)
    for field in fields(got):
        assert getattr(got, field.name).isnan().nonzero().flatten().tolist() == [1]
    for column in (int(case.targets[1]), 5, 202):
        wrong = logits.clone()
        wrong[1, column] = value
        got = logits_stats(wrong, case.targets)
        for name in ("loss", "delta", "entropy", "margin", "top"):
            assert getattr(got, name).isnan().nonzero().flatten().tolist() == [1], (name, column)


def test_triton_keeps_what_is_no_number(interpreted: dict[str, torch.Tensor]) -> None:
    case = CASES["not a number"]
    got = columns(interpreted["not a number"], case.targets, torch.ones(len(case.targets)))
    for name in ("loss", "delta", "entropy", "margin", "top"):
        assert getattr(got, name).isnan().tolist() == [False, True, True, True, True, True]


Rows = st.integers(0, 2**32 - 1)


def drawn(seed: int, spread: float = 4.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (9, 8), a weight (130, 8) and targets (9,)."""
    draw = torch.Generator().manual_seed(seed)
    weight = spread * torch.randn(130, 8, generator=draw) / 8**0.5
    return torch.randn(9, 8, generator=draw), weight, torch.randint(0, 130, (9,), generator=draw)


@settings(max_examples=30)
@given(seed=Rows, spread=st.floats(0, 20))
def test_the_order_of_the_vocabulary_does_not_matter(seed: int, spread: float) -> None:
    hidden, weight, targets = drawn(seed, spread)
    order = torch.randperm(130, generator=torch.Generator().manual_seed(seed))
    place = torch.empty_like(order).scatter_(0, order, torch.arange(130))
    permuted = head_stats(hidden, Head(weight[order]), place[targets])
    agree(permuted, reference(hidden, Head(weight), targets))


@settings(max_examples=30)
@given(seed=Rows, constant=st.floats(-64, 64, width=16))
def test_a_constant_on_all_logits_does_not_matter(seed: int, constant: float) -> None:
    hidden, weight, targets = drawn(seed)
    got = head_stats(hidden, Head(weight, torch.full((130,), constant)), targets)
    agree(got, reference(hidden, Head(weight), targets))


@settings(max_examples=30)
@given(seed=Rows, rows=st.integers(1, 12), tokens=st.integers(1, 140), worth=st.integers(1, 10))
def test_the_size_of_tiles_does_not_matter(seed: int, rows: int, tokens: int, worth: int) -> None:
    hidden, weight, targets = drawn(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_stats_cpu, "ROWS", rows)
        patch.setattr(head_stats_cpu, "COLUMNS", tokens)
        patch.setattr(head_stats_cpu, "WORTH", worth)
        torch.set_num_threads(3)
        agree(head_stats(hidden, Head(weight), targets), reference(hidden, Head(weight), targets))
        assert torch.get_num_threads() == 3
        torch.set_num_threads(1)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that was made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        if isinstance(made, torch.Tensor) and not made._is_view():
            self.numbers = max(self.numbers, made.numel())
        return made


def test_no_logits_and_no_copy_of_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_stats_cpu, "ROWS", 32)
    monkeypatch.setattr(head_stats_cpu, "COLUMNS", 64)
    hidden, weight, targets = torch.randn(300, 8), torch.randn(1000, 8), torch.arange(300)
    for head in (Head(weight, weight[:, 0], 0.5, 3.0), Head(weight.bfloat16())):
        with Largest() as largest:
            head_stats(hidden, head, targets)
        assert largest.numbers <= 300 * 8  # all hidden states; the weight has 8,000 numbers


def test_autocast_does_not_reach_it() -> None:
    case = CASES["float32"]
    with torch.autocast("cpu", torch.bfloat16):
        agree(stats(case), truth(case))


def test_a_head_that_is_trained_can_be_scored() -> None:
    case = CASES["float32"]
    head = Head(case.head.weight.clone().requires_grad_())
    got = head_stats(case.hidden.clone().requires_grad_(), head, case.targets)
    assert not got.loss.requires_grad
    with torch.inference_mode():
        agree(stats(case), truth(case))


def test_torch_s_modes_reach_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_stats_cpu, "WORTH", 4)
    torch.set_num_threads(2)
    case = CASES["float32"]
    head = Head(case.head.weight.clone().requires_grad_())
    got = head_stats(case.hidden, head, case.targets)
    assert not got.loss.requires_grad
    agree(got, truth(case))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        agree(head_stats(case.hidden.clone(), head, case.targets), truth(case))


def test_a_weight_of_another_dtype_is_rounded_to_that_of_hidden() -> None:
    case = CASES["float32"]
    got = head_stats(case.hidden.bfloat16(), case.head, case.targets)
    agree(got, reference(case.hidden.bfloat16(), Head(case.head.weight.bfloat16()), case.targets))


HIDDEN, WEIGHT, TARGETS = torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(3, dtype=torch.long)


@pytest.mark.parametrize(
    ("hidden", "head", "targets", "message"),
    [
        (HIDDEN, Head(torch.zeros(5, 3)), TARGETS, r"\(N, D\).*\(3, 4\) float32, \(5, 3\) float32"),
        (HIDDEN, Head(torch.zeros(0, 4)), TARGETS, r"\(0, 4\)"),
        (HIDDEN, Head(WEIGHT, torch.zeros(4)), TARGETS, r"bias \(V,\).*and \(4,\)"),
        (HIDDEN.double(), Head(WEIGHT), TARGETS, "float64.*`reference`"),
        (HIDDEN, Head(WEIGHT.int()), TARGETS, "int32"),
        (HIDDEN, Head(WEIGHT, cap=0.0), TARGETS, "cap is 0.0"),
        (HIDDEN, Head(WEIGHT.to("meta")), TARGETS, "head is on meta, hidden on cpu"),
        (HIDDEN, Head(WEIGHT), TARGETS[:2], r"\(3,\) integers on cpu: they are \(2,\) int64"),
        (HIDDEN, Head(WEIGHT), TARGETS.float(), "float32"),
        (HIDDEN, Head(WEIGHT), TARGETS + torch.tensor([0, 5, 7]), "target 5 of row 1.*vocabulary of 5.*-100"),
        (HIDDEN, Head(WEIGHT), TARGETS - 1, "target -1 of row 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    hidden: torch.Tensor, head: Head, targets: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        head_stats(hidden, head, targets)


def test_logits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, V\).*\(3,\) float32"):
        logits_stats(torch.zeros(3), TARGETS)
    with pytest.raises(ValueError, match="float64"):
        logits_stats(torch.zeros(3, 4).double(), TARGETS)
    with pytest.raises(ValueError, match="target 4 of row 2"):
        logits_stats(torch.zeros(3, 4), TARGETS + torch.tensor([0, 0, 4]))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("given_logits", [False, True])
def test_every_tuned_launch_compiles_for_hopper(
    dtype: str, given_logits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gpu_ops.kernels import head_stats_triton as launches

    kernel = launches.states_kernel
    names, pointers = kernel.arg_names, ("hidden", "weight", "bias", "logits", "targets", "out")
    fixed = {"V": 50257, "D": 0 if given_logits else 768, "S": 4, "WIDEN": False, "GIVEN": given_logits}
    fixed |= dict.fromkeys(("BIASED", "SCALED", "CAPPED"), not given_logits)
    fixed |= dict.fromkeys(("hidden_d", "weight_d", "logits_v"), 1)  # as Triton takes strides of 1
    kinds = dict.fromkeys(pointers, "*" + dtype) | {"targets": "*i64", "out": "*fp32"}
    kinds |= {"scale": "fp32", "cap": "fp32"}
    even = {(names.index(name),): [["tt.divisibility", 16]] for name in (*pointers, "hidden_n", "weight_v")}
    lists = {"bf16": launches.CONFIGS_16_BIT, "fp32": launches.CONFIGS_FLOAT32}
    for config in launches.CONFIGS_GIVEN if given_logits else lists[dtype]:
        constants = fixed | config.kwargs
        signature = {n: "constexpr" if n in constants else kinds.get(n, "i32") for n in names}
        source = ASTSource(
            kernel, signature, {(names.index(n),): value for n, value in constants.items()}, even
        )
        options = {"num_warps": config.num_warps, "num_stages": config.num_stages, "enable_fp_fusion": True}
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert compiled.metadata.shared <= 227 * 1024  # what a Hopper multiprocessor has
        tensor_cores = dtype == "bf16" and not given_logits
        assert ("wgmma" in compiled.asm["ptx"]) == tensor_cores
