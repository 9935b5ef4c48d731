"""Keyed dropout: torch's own in distribution, and the same masks for a row in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gpu_ops.kernels.keyed_dropout import KeyedDropout, Noise, with_keyed_dropout

torch.set_num_threads(1)
KEYS = np.arange(1, 9, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def test_it_drops_the_share_and_keeps_the_mean() -> None:
    layer = KeyedDropout(0.3, 0, Noise(KEYS))
    made = layer(torch.ones(8, 50, 64))
    assert torch.unique(made).tolist() == pytest.approx([0.0, 1 / 0.7])
    gone = (made == 0).float()
    assert gone.mean().item() == pytest.approx(0.3, abs=0.01)  # 25,600 draws: 3.5 deviations
    assert gone.mean(dim=(0, 1)).std().item() < 0.04  # no column is favoured; binomial: 0.023
    assert gone.mean(dim=(0, 2)).std().item() < 0.04
    rows = gone.flatten(1).numpy()
    assert np.abs(np.corrcoef(rows) - np.eye(8)).max() < 0.08  # rows are independent: deviation 0.018


def test_a_row_has_its_mask_in_any_batch_and_with_any_padding() -> None:
    noise = Noise(KEYS, 2)
    layer = KeyedDropout(0.5, 3, noise)
    x = torch.randn(8, 10, 6)
    together = layer(x)
    for i in range(8):
        noise.rows = KEYS[i : i + 1]
        assert torch.equal(layer(x[i : i + 1]), together[i : i + 1])
        assert torch.equal(layer(x[i : i + 1, :4]), together[i : i + 1, :4])
    assert layer(torch.ones(1, 6)).shape == (1, 6)


def test_passes_modules_and_keys_differ() -> None:
    masks = []
    for number, module, key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        layer = KeyedDropout(0.5, module, Noise(KEYS[key : key + 1], number))
        masks.append(layer(torch.ones(1, 20, 32)).flatten() > 0)
    for i in range(4):
        for j in range(i):
            assert (masks[i] == masks[j]).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_the_mean_of_many_passes_is_that_of_torchs_own_dropout() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.4), nn.ReLU(), nn.Linear(32, 3))
    x = torch.randn(1, 6)
    with torch.no_grad():
        own = network.train()(x.expand(20_000, 6)).softmax(-1)
        noise = with_keyed_dropout(network.eval(), None)
        noise.rows = np.arange(20_000, dtype=np.uint64) * np.uint64(0x2545F4914F6CDD1D)
        keyed = network(x.expand(20_000, 6)).softmax(-1)
    np.testing.assert_allclose(keyed.mean(0), own.mean(0), atol=0.01)
    np.testing.assert_allclose(keyed.std(0), own.std(0), atol=0.01)
    assert own.std(0).min() > 0.02  # so that a dropout that does nothing would be seen


def test_a_network_without_dropout_is_refused_unless_there_is_a_rate() -> None:
    with pytest.raises(ValueError, match=r"no active dropout module.*dropout: 0\.1"):
        with_keyed_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), None)
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))
    with_keyed_dropout(network, 0.25)
    assert isinstance(network[1], KeyedDropout)
