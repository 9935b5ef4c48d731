"""The last layer's gradient norms against torch's autograd in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from gpu_ops.kernels import last_layer_norm
from gpu_ops.kernels.head_stats import Head, head_stats, to_logits
from gpu_ops.kernels.last_layer_norm import by_gram, last_layer_norms

torch.set_num_threads(1)
LENGTHS = (3, 1, 40, 17)


def heads() -> dict[str, Head]:
    torch.manual_seed(1)
    weight, bias = torch.randn(300, 24), torch.randn(300)
    return {
        "plain": Head(weight),
        "bias": Head(weight, bias),
        "scale": Head(weight, scale=0.3),
        "cap": Head(weight, bias, 0.7, 4.0),
        "cap without bias": Head(weight, cap=9.0),
    }


def case(head: Head, confident: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    hidden = torch.randn(sum(LENGTHS), head.weight.shape[1])
    targets = torch.randint(len(head.weight), (len(hidden),))
    if confident:  # some sequences have 1 - p(target) of 1e-6
        hidden = hidden * 0.1 + head.weight[targets] * torch.linspace(1.6, 2.4, len(hidden))[:, None]
    return hidden, targets


def oracle(hidden: torch.Tensor, head: Head, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each sequence and its gradient's norm, by autograd in float64."""
    losses, norms = [], []
    bias = None if head.bias is None else head.bias.double()
    for h, y in zip(hidden.split(LENGTHS), targets.split(LENGTHS), strict=True):
        weight = head.weight.double().requires_grad_()
        loss = cross_entropy(to_logits(h.double() @ weight.T, bias, head), y)
        (gradient,) = torch.autograd.grad(loss, weight)
        losses.append(loss.detach())
        norms.append(gradient.norm())
    return torch.stack(losses), torch.stack(norms)


@pytest.mark.parametrize("name", heads())
@pytest.mark.parametrize("gram", [True, False, None], ids=["gram", "rows", "choice"])
@pytest.mark.parametrize("tile", [1 << 22, 1], ids=["one tile", "tiles"])
def test_norms_are_those_of_autograd(name, gram, tile, monkeypatch):
    head = heads()[name]
    hidden, targets = case(head)
    monkeypatch.setattr(last_layer_norm, "TILE", tile)
    monkeypatch.setattr(last_layer_norm, "LEAST_COLUMNS", 64)
    if gram is not None:
        monkeypatch.setattr(last_layer_norm, "by_gram", lambda *_: gram)
    got = last_layer_norms(hidden, head, targets, LENGTHS)
    losses, norms = oracle(hidden, head, targets)
    torch.testing.assert_close(got.losses, losses, rtol=1e-5, atol=0)
    torch.testing.assert_close(got.norms, norms, rtol=1e-5, atol=0)


def test_tokens_that_are_almost_certain_keep_their_digits():
    head = Head(heads()["plain"].weight)
    hidden, targets = case(head, confident=True)
    losses, norms = oracle(hidden, head, targets)
    assert losses.min() < 1e-5
    got = last_layer_norms(hidden, head, targets, LENGTHS)
    torch.testing.assert_close(got.norms, norms, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", heads())
def test_the_bound_of_lm_loss_is_one(name):
    """For heads without scale; with one it is times the scale."""
    head = heads()[name]
    hidden, targets = case(head)
    stats = head_stats(hidden, head, targets)
    bounds = [part.mean() for part in (stats.delta * stats.hidden_square.sqrt()).split(LENGTHS)]
    got = last_layer_norms(hidden, head, targets, LENGTHS)
    assert (got.norms <= head.scale * torch.stack(bounds) * (1 + 1e-5)).all()


def test_the_choice_is_that_of_the_operations():
    """Both ways cost the same at T = V D / (V + D)."""
    assert [by_gram(t, 300, 150) for t in (1, 99, 100, 101)] == [True, True, False, False]


def test_half_precision_is_that_of_its_rounded_inputs():
    weight = heads()["plain"].weight.bfloat16()
    hidden, targets = case(Head(weight.float()))
    hidden = hidden.bfloat16()
    got = last_layer_norms(hidden, Head(weight), targets, LENGTHS)
    torch.testing.assert_close(got.norms, oracle(hidden, Head(weight), targets)[1], rtol=1e-5, atol=0)


def test_no_sequences_and_wrong_lengths():
    head = heads()["bias"]
    empty = last_layer_norms(torch.zeros(0, 24), head, torch.zeros(0, dtype=torch.long), [])
    assert empty.norms.shape == empty.losses.shape == (0,)
    hidden, targets = case(head)
    with pytest.raises(ValueError, match="sum to 61"):
        last_layer_norms(hidden, head, targets, [60])
    with pytest.raises(ValueError, match="at least 1"):
        last_layer_norms(hidden, head, targets, [61, 0])
