"""Settings of a training run that hold settings of their own; importing this needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Unfit(ValueError):
    """A setting that does not fit the model or the data, or asks for what is not there."""


class Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LlamaShape(Fields):
    """A Llama from scratch: RMS norm, rotary positions, gated SiLU, no biases."""

    hidden: Count
    """Width of the residual stream."""
    layers: Count
    """Number of blocks."""
    heads: Count
    """Attention heads; must divide `hidden` into heads of even width."""
    kv_heads: Count | None = None
    """Heads of keys and values (grouped-query attention); as many as `heads` when not given."""
    intermediate: Count | None = None
    """Width inside the feed-forward; 8/3 of `hidden`, rounded up to a multiple of 8, when not given."""
    vocab: Count | None = None
    """Size of the vocabulary; the tokenizer's when not given."""
    tie: bool = True
    """Whether input embedding and output layer share their matrix."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden % self.heads or self.hidden // self.heads % 2:
            raise ValueError(f"hidden {self.hidden} does not divide into {self.heads} heads of even width")
        if self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        return self


class SpikeRule(Fields):
    """When the loss jumps: go back to the last checkpoint, leave out the batches that did it, go on."""

    window: Annotated[int, Field(ge=2)] = 100
    """Steps whose losses say how much a loss varies."""
    factor: Annotated[float, Field(gt=0)] = 8.0
    """Robust standard deviations above the last losses' median at which an alarm is raised."""
    wait: Count = 4
    """Steps until an alarm is judged: a spike, or a change of the data."""
    most: Count = 10
    """Spikes after which the run stops with an error."""


class Energy(Fields):
    """How electric energy is counted, and what it emits. No factor has a default: they differ tenfold."""

    measure: Literal["codecarbon"] | None = None
    """Estimate it with codecarbon (from the hardware's counters where there are any), or give `watts`."""
    watts: Annotated[float, Field(gt=0)] | None = None
    """Mean power of the machine while it trains."""
    pue: Annotated[float, Field(ge=1)] | None = None
    """Power usage effectiveness of the data centre: all of its energy by that of its computers."""
    kg_co2e_per_kwh: Annotated[float, Field(ge=0)] | None = None
    """What the grid emits."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.measure is None) == (self.watts is None):
            raise ValueError("give either `measure: codecarbon` or `watts`, the mean power of the machine")
        return self


class MlpShape(Fields):
    """A classifier of vectors: layers of ReLU with dropout, then one output a class."""

    mlp: tuple[Count, ...]
    """Widths of the hidden layers; none is a linear classifier."""
    dropout: Share = 0.0
    """Share of every hidden layer's numbers that a training step leaves out."""


class JointPart(Fields):
    """Language modelling that every step adds to what is learned (TLM, Yao et al. 2022), on the same body."""

    folder: str | None = None
    """Folder of its documents; the arm's own documents when neither this nor `input` is given."""
    input: str | None = None
    """In a pipeline's config: the node whose documents they are, those of the run's own seed."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """What its mean loss a token is multiplied by."""
    batch_size: Count | None = None
    """Its sequences in one step; as many as the task's when not given."""


class ProbeConfig(Fields):
    """Passages that the model may know by heart: which of them greedy decoding continues exactly."""

    passages: str
    """A data file, or a folder of them; results are by its column `domain`, where there is one."""
    column: str = "text"
    """The column of passages. Only those that are long enough count."""
    prompt: Count = 32
    """Tokens that are given, a BOS among them."""
    continuation: Count = 32
    """Tokens that must follow."""


class EarlyStop(Fields):
    """Ends a run whose evaluations no longer get better."""

    patience: Count = 2
    """Evaluations without gain after which it ends."""
    on: str = "macro"
    """What must get better: the loss on `macro`, `all` or a domain, or a classifier's `accuracy`."""
    least: Annotated[float, Field(ge=0)] = 0.0
    """What is not more than this is no gain."""
    keep: Literal["best", "last"] = "best"
    """Which model is exported and counts as the run's final one."""


class LastLayers(Fields):
    """The last blocks, the norm after them, and the output layer where it is not the embedding."""

    last: Count
    """Number of blocks that are trained."""


class Parallel(Fields):
    """Processes that train one model together. What they compute does not depend on how many there are, but
    for the order of sums, and for dropout, which every process draws for its own rows."""

    kind: Literal["ddp", "fsdp"] = "ddp"
    """ddp: every process has all weights; fsdp: each has a part, for models that do not fit on one device."""
    processes: Count = 2
    """One a device."""
    cpu_offload: bool = False
    """fsdp: weights and the optimizer's state stay in the machine's memory, and come to the GPU by blocks."""
    launcher: Literal["auto", "ray", "local"] = "auto"
    """ray: Ray Train's TorchTrainer, also on several machines; local: processes of this machine. auto: Ray
    where this process is in a cluster. Under torchrun its processes are taken, whatever this says."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a process waits for the others before it gives up."""
