"""Ghost norms against a loop of backward passes, one sequence at a time, without padding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig, MixtralConfig

from gpu_ops.kernels import factor_norms
from gpu_ops.kernels.factor_norms import Lookup, Outer, Whole, norms
from gpu_ops.kernels.ghost_norms import ghost_norms
from gpu_ops.kernels.token_stats import Pack

torch.set_num_threads(1)
# peft asks by transformers' old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
PAD = 3  # also a token of the texts
LLAMA = LlamaConfig(
    vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=True, pad_token_id=PAD, attention_bias=True,
)  # fmt: skip
GPT2 = GPT2Config(
    vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0,
    attn_pdrop=0, embd_pdrop=0, resid_pdrop=0,
)  # fmt: skip
GEMMA = Gemma2Config(
    vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, final_logit_softcapping=5.0, pad_token_id=PAD,
    tie_word_embeddings=False,
)  # fmt: skip
CONFIGS = {"llama": LLAMA, "gpt2": GPT2}


def made(config: Any, lora: bool = False) -> Any:
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in network.parameters():  # so that biases and norms are no constants
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if lora:
        targets = ["c_attn", "c_fc"] if config.model_type == "gpt2" else ["q_proj", "v_proj", "up_proj"]
        settings = {"fan_in_fan_out": config.model_type == "gpt2", "lora_dropout": 0.0}
        network = get_peft_model(network, LoraConfig(r=3, target_modules=targets, bias="none", **settings))
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "lora_B" in name:
                    parameter.normal_()
    return network.eval()


def sequences(sizes: tuple[int, ...] = (9, 2, 20, 13)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 60, size) for size in sizes]


def loop(network: Any, pieces: list[np.ndarray]) -> tuple[list[float], dict[str, list[float]]]:
    """transformers' own loss of each sequence and the norms of what autograd says of it."""
    losses, found = [], {name: [] for name, p in network.named_parameters() if p.requires_grad}
    for piece in pieces:
        ids = torch.from_numpy(piece)[None]
        network.zero_grad()
        loss = network(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        losses.append(loss.item())
        for name, parameter in network.named_parameters():
            if name in found:
                found[name].append(0.0 if parameter.grad is None else parameter.grad.norm().item())
    network.zero_grad()
    return losses, found


def check(network: Any, pieces: list[np.ndarray], rtol: float = 1e-5) -> None:
    losses, want = loop(network, pieces)
    got = ghost_norms(network, Pack.of(pieces, PAD, "cpu"))
    assert list(got.by_parameter) == list(want)
    np.testing.assert_allclose(got.losses, losses, rtol=1e-5)
    total = np.linalg.norm(np.array(list(want.values())), axis=0)
    np.testing.assert_allclose(got.total, total, rtol=rtol)
    for name, norm in want.items():
        # Of a key's bias, or of the query of a single token, the gradient is 0 but for rounding.
        np.testing.assert_allclose(
            got.by_parameter[name], norm, rtol=rtol, atol=3e-7 * total.max(), err_msg=name
        )


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("checkpoints", [None, False, True], ids=["kept", "checkpoints", "reentrant"])
@pytest.mark.parametrize("name", CONFIGS)
def test_norms_are_those_of_one_backward_pass_a_sequence(name, lora, checkpoints):
    network = made(CONFIGS[name], lora)
    if checkpoints is not None:
        if lora and checkpoints:  # as without ghost norms: else a reentrant checkpoint has no gradient
            network.enable_input_require_grads()
        network.gradient_checkpointing_enable({"use_reentrant": checkpoints})
        network.train()
    check(network, sequences())


def test_a_soft_cap_a_scaled_embedding_and_norms_that_add_one_to_their_weight():
    check(made(GEMMA), sequences())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("gram", [True, False], ids=["gram", "gradients"])
def test_both_ways_agree_also_in_small_chunks(name, gram, monkeypatch):
    monkeypatch.setattr(factor_norms, "by_gram", lambda *_: gram)
    monkeypatch.setattr(factor_norms, "CHUNK", 3000)
    check(made(CONFIGS[name]), sequences())


def test_only_parameters_that_require_gradients_count_and_all_stay_as_they_were():
    network = made(LLAMA)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("layers.1" in name)
    required = [p.requires_grad for p in network.parameters()]
    check(network, sequences())
    assert [p.requires_grad for p in network.parameters()] == required
    ghost_norms(network, Pack.of(sequences(), PAD, "cpu"))
    assert all(p.grad is None for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layer_that_is_used_twice():
    network = made(LLAMA)
    network.model.layers[1] = network.model.layers[0]
    check(network, sequences())


def test_neither_order_nor_padding_nor_company_counts():
    network, pieces = made(LLAMA), sequences()
    together = ghost_norms(network, Pack.of(pieces, PAD, "cpu")).total
    other = ghost_norms(network, Pack.of(pieces[::-1], 17, "cpu")).total.flip(0)
    alone = [ghost_norms(network, Pack.of([piece], PAD, "cpu")).total for piece in pieces]
    torch.testing.assert_close(other, together, rtol=1e-5, atol=0)
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-5, atol=0)


def test_parameters_of_other_layers_are_named():
    network = made(MixtralConfig(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2,
    ))  # fmt: skip
    with pytest.raises(ValueError, match=r"layers\.0\.mlp.*known are linear layers"):
        ghost_norms(network, Pack.of(sequences(), PAD, "cpu"))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("mlp" not in name)
    check(network, sequences())


def test_parameters_without_use_and_models_without_parameters_are_refused():
    network = made(LLAMA)
    network.spare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"spare\.weight, spare\.bias: the forward pass does not call"):
        ghost_norms(network, Pack.of(sequences(), PAD, "cpu"))
    with pytest.raises(ValueError, match="requires gradients"):
        ghost_norms(network.requires_grad_(False), Pack.of(sequences(), PAD, "cpu"))


def test_inputs_that_mix_the_batch_are_refused_and_leave_no_hooks():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layer = nn.Embedding(60, 60), nn.Linear(60, 60)

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            flat = self.layer(self.table(input_ids).flatten(0, 1))
            return SimpleNamespace(logits=flat.view(*input_ids.shape, 60))

    with pytest.raises(ValueError, match=r"layer\.weight, layer\.bias: .*\(76, 60\).* of the batch, 4"):
        ghost_norms(network := Flat(), Pack.of(sequences(), PAD, "cpu"))
    assert not network.layer._forward_hooks
    assert network.layer.weight.requires_grad


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.booleans(), st.integers(1, 7)), min_size=1, max_size=3),
    st.data(),
)
def test_factors_give_the_norm_of_the_sum_of_gradients(rows, kinds, data):
    """Of a (5, 3) parameter used so many times, by products and by lookups, against gradients made whole."""
    torch.manual_seed(data.draw(st.integers(0, 99)))
    uses, whole = [], torch.zeros(rows, 5, 3, dtype=torch.float64)
    for is_lookup, tokens in kinds:
        right, ids = torch.randn(rows, tokens, 3), torch.randint(5, (rows, tokens))
        left = nn.functional.one_hot(ids, 5).float() if is_lookup else torch.randn(rows, tokens, 5)
        uses.append(Lookup(ids, right) if is_lookup else Outer(left, right))
        whole += torch.einsum("btl,btr->blr", left.double(), right.double())
    want = whole.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms(uses), want, rtol=1e-5, atol=1e-5)


def test_factors_and_whole_gradients_do_not_mix():
    uses = [Whole(torch.ones(2, 15)), Outer(torch.ones(2, 4, 5), torch.ones(2, 4, 3))]
    assert norms(uses[:1]).tolist() == pytest.approx([15**0.5] * 2)
    with pytest.raises(ValueError, match="another layer too"):
        norms(uses)
