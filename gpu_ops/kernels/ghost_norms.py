"""Exact gradient norms of every sequence's loss, parameter by parameter, in one backward pass of the batch.

Legend: B sequences, T tokens, N scored tokens, V vocabulary.

A layer's weights get no gradient of their own. What a layer was given is saved where autograd saves its
tensors, so that activation checkpointing drops and remakes it too, and meets the gradient by what the layer
gave in the backward pass, where the norms are made (`factor_norms`).
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap
from torch.nn.functional import cross_entropy

from gpu_ops.kernels.factor_norms import Lookup, Outer, Use, Whole, norms
from gpu_ops.kernels.token_stats import Pack


@dataclass(frozen=True)
class GhostNorms:
    """Of B sequences, (B,) float64 each.

    losses: mean over the scored tokens, nats. total: gradient norm by all parameters together.
    by_parameter: name -> gradient norm by that one; one that is shared has the first of its names.
    """

    losses: torch.Tensor
    total: torch.Tensor
    by_parameter: dict[str, torch.Tensor]


def ghost_norms(network: Any, pack: Pack) -> GhostNorms:
    """The gradient norms of each sequence's token-mean loss, by the parameters that require gradients.

    network: a causal language model of transformers, or a peft model of one, without dropout (`eval`, or
    `train` with rates of 0 where activations are to be checkpointed). Its parameters and their gradients
    stay as they are. Known are nn.Linear, transformers' Conv1D, nn.Embedding, and layers without children
    that have only vectors as parameters (norms). Several may share a parameter, and one may run several
    times: the norm is that of the sum, tied embeddings included. The batch must come first in what a layer
    is given; uses outside of a layer's own forward are not seen.

    Raises ValueError for parameters of other layers, and for those that the forward pass does not use.
    """
    tap = _Tap(network, len(pack.inputs_BT))
    with tap.placed(), torch.enable_grad():
        inputs = {"input_ids": pack.inputs_BT, "use_cache": False, **_positions(network, pack)}
        logits_NV = pack.scored(network(**inputs).logits)
        loss_N = cross_entropy(logits_NV.float(), pack.targets_N, reduction="none")
        owner_N = pack.real_N.div(pack.inputs_BT.shape[1], rounding_mode="floor")
        counts_B = torch.bincount(owner_N, minlength=len(pack.inputs_BT))
        tap.check_all_used()
        torch.autograd.backward((loss_N / counts_B[owner_N]).sum())
    found = tap.results()
    sums_B = torch.zeros(len(counts_B), dtype=torch.float64, device=loss_N.device)
    sums_B.index_add_(0, owner_N, loss_N.detach().double())
    total_B = torch.linalg.vector_norm(torch.stack(list(found.values())), dim=0)
    return GhostNorms(sums_B / counts_B, total_B, found)


def _positions(network: Any, pack: Pack) -> dict[str, torch.Tensor]:
    """Positions for each sequence: left to itself, GPT-2 looks up one row of them for the whole batch."""
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    if "position_ids" not in inspect.signature(inner.forward).parameters:
        return {}
    rows, width = pack.inputs_BT.shape
    return {"position_ids": torch.arange(width, device=pack.inputs_BT.device).expand(rows, width)}


Record = Callable[[torch.Tensor, torch.Tensor], None]


class _Meet(torch.autograd.Function):
    """The identity of a layer's output, where in the backward pass its gradient meets the layer's input.

    anchor: any tensor that requires gradients, so that there is a backward pass though no weight does."""

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, given: torch.Tensor, anchor: torch.Tensor, record: Record
    ) -> Any:
        ctx.record = record
        ctx.save_for_backward(given)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        ctx.record(*ctx.saved_tensors, gradient)
        return gradient, None, None, None


class _Tap:
    """Hooks on the layers whose parameters require gradients, and what they find in one pass."""

    def __init__(self, network: Any, rows: int) -> None:
        """ValueError for parameters that require gradients of layers that are none of the known."""
        self.rows = rows
        self.wanted = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.names = {id(p): name for name, p in self.wanted.items()}
        self.layers = [module for module in network.modules() if self._own(module)]
        unknown = [name for m in self.layers if _use_of(m) is None for name in self._own(m).values()]
        if unknown:
            raise ValueError(
                f"no gradient norms by {_listed(unknown)}: known are linear layers, embeddings and norms; "
                "call requires_grad_(False) on it, or name other parameters"
            )
        if not self.wanted:
            raise ValueError("no parameter of the model requires gradients, so there are no norms of them")
        self.uses: dict[str, int] = defaultdict(int)
        self.found: dict[str, list[Use]] = defaultdict(list)
        self.norms: dict[str, torch.Tensor] = {}
        self.in_forward, self.quiet = True, False
        device = next(network.parameters()).device
        self.anchor = torch.zeros((), device=device, requires_grad=True)

    def _own(self, module: nn.Module) -> dict[str, str]:
        """The module's own parameters that are wanted: its name for them -> the network's."""
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        return {local: self.names[id(p)] for local, p in own if id(p) in self.names}

    @contextmanager
    def placed(self) -> Iterator[None]:
        """With the hooks in place and the weights frozen, so that no gradient by them is made."""
        hooks = [self._hook(module) for module in self.layers]
        try:
            for parameter in self.wanted.values():
                parameter.requires_grad_(False)
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for parameter in self.wanted.values():
                parameter.requires_grad_(True)

    def _hook(self, module: nn.Module) -> Any:
        own, use_of = self._own(module), _use_of(module)
        assert use_of is not None

        def record(given: torch.Tensor, gradient: torch.Tensor) -> None:
            self.quiet = True  # a layer may be run again to differentiate it
            for local, use in use_of(module, list(own), given, gradient).items():
                self._take(own[local], use)
            self.quiet = False

        def after(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if self.quiet:
                return None
            if self.in_forward:  # not when a checkpoint remakes it
                for name in own.values():
                    self.uses[name] += 1
            self._check_call(own, args, kwargs, output)
            if not torch.is_grad_enabled():
                return None
            return _Meet.apply(output, args[0].detach(), self.anchor, record)  # type: ignore[no-untyped-call]

        return module.register_forward_hook(after, with_kwargs=True)

    def _check_call(
        self, own: dict[str, str], args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        tensors = [*args, *kwargs.values(), output]
        shapes = [tuple(t.shape) if isinstance(t, torch.Tensor) else type(t).__name__ for t in tensors]
        if len(args) != 1 or kwargs or not all(isinstance(shape, tuple) for shape in shapes):
            raise ValueError(
                f"no gradient norms by {_listed(own.values())}: its layer is given {shapes[:-1]}"
            )
        if any(len(shape) < 2 or shape[0] != self.rows for shape in shapes):
            raise ValueError(
                f"no gradient norms by {_listed(own.values())}: its layer is given and gives tensors of "
                f"{shapes}, whose first size must be that of the batch, {self.rows}"
            )

    def _take(self, name: str, use: Use) -> None:
        """Keep one use of a parameter; with the last of them comes its norm."""
        self.found[name].append(use)
        if len(self.found[name]) == self.uses[name]:
            self._finish(name)

    def _finish(self, name: str) -> None:
        try:
            self.norms[name] = norms(self.found.pop(name))
        except ValueError as error:
            raise ValueError(f"no gradient norms by {name}: {error}") from error

    def check_all_used(self) -> None:
        """After the forward pass: ValueError for a parameter that it does not use."""
        self.in_forward = False
        unused = [name for name in self.wanted if not self.uses[name]]
        if unused:
            raise ValueError(
                f"no gradient norms by {_listed(unused)}: the forward pass does not call its layer; "
                "call requires_grad_(False) on it, or name other parameters"
            )

    def results(self) -> dict[str, torch.Tensor]:
        """After the backward pass: name -> (B,). A use that the loss does not depend on adds nothing."""
        for name in list(self.found):
            self._finish(name)
        device = next(iter(self.wanted.values())).device
        nothing = torch.zeros(self.rows, dtype=torch.float64, device=device)
        return {name: self.norms.get(name, nothing) for name in self.wanted}


UseOf = Callable[[Any, list[str], torch.Tensor, torch.Tensor], dict[str, Use]]


def _use_of(module: nn.Module) -> UseOf | None:
    """How the gradients by a layer's own parameters come of its input and the gradient by its output."""
    from transformers.pytorch_utils import Conv1D

    forward = type(module).forward
    if forward is nn.Linear.forward:
        return _linear
    if forward is Conv1D.forward:
        return _conv1d
    if isinstance(module, nn.Embedding):
        known = forward is nn.Embedding.forward or hasattr(module, "embed_scale")
        return _embedding if known and module.max_norm is None and not module.scale_grad_by_freq else None
    vectors = all(p.ndim == 1 for p in module.parameters())
    return _differentiated if vectors and not list(module.children()) else None


def _linear(module: Any, own: list[str], given: torch.Tensor, gradient: torch.Tensor) -> dict[str, Use]:
    return _affine(own, _tokens(gradient), _tokens(given), gradient)


def _conv1d(module: Any, own: list[str], given: torch.Tensor, gradient: torch.Tensor) -> dict[str, Use]:
    """Its weight is a linear layer's, transposed."""
    return _affine(own, _tokens(given), _tokens(gradient), gradient)


def _affine(
    own: list[str], left_BTL: torch.Tensor, right_BTR: torch.Tensor, gradient: torch.Tensor
) -> dict[str, Use]:
    uses: dict[str, Use] = {"weight": Outer(left_BTL, right_BTR)}
    if "bias" in own:
        uses["bias"] = Whole(_tokens(gradient).sum(1, dtype=torch.float32))
    return {local: uses[local] for local in own}


def _embedding(module: Any, own: list[str], given: torch.Tensor, gradient: torch.Tensor) -> dict[str, Use]:
    """The padding token's row gets no gradient, as torch has it; transformers' scaled ones scale the rows."""
    gradient = gradient * getattr(module, "embed_scale", 1)
    if module.padding_idx is not None:
        gradient = gradient.masked_fill((given == module.padding_idx)[..., None], 0)
    return {"weight": Lookup(given.flatten(1), _tokens(gradient))}


def _differentiated(
    module: Any, own: list[str], given: torch.Tensor, gradient: torch.Tensor
) -> dict[str, Use]:
    """Any layer, run again for each sequence by itself and differentiated by its parameters."""
    parameters = {local: getattr(module, local).detach() for local in own}

    def of_one(x: torch.Tensor, g: torch.Tensor) -> dict[str, torch.Tensor]:
        found: Any = vjp(lambda some: functional_call(module, some, (x[None],))[0], parameters)
        return found[1](g)[0]

    return {local: Whole(found.flatten(1)) for local, found in vmap(of_one)(given, gradient).items()}


def _tokens(tensor: torch.Tensor) -> torch.Tensor:
    """(B, T, features), whatever sizes are between the first and the last."""
    return tensor.flatten(1, -2) if tensor.ndim > 2 else tensor[:, None]


def _listed(names: Any) -> str:
    every = list(dict.fromkeys(names))
    return ", ".join(every[:5]) + (f" and {len(every) - 5} more" if len(every) > 5 else "")
