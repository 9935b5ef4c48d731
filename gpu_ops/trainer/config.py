"""What a training run consists of; importing this needs no torch."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gpu_ops.trainer.config_parts import (
    Count,
    EarlyStop,
    Energy,
    Fields,
    JointPart,
    LastLayers,
    LlamaShape,
    MlpShape,
    Parallel,
    ProbeConfig,
    Share,
    SpikeRule,
)
from gpu_ops.trainer.config_select import SelectConfig
from gpu_ops.trainer.ramps import LengthRamp, Ramp, check_ramp
from operators.kernels.pacing import Pacing


class TrainConfig(Fields):
    """One training recipe: by default AdamW, linear warm-up, cosine to a tenth, clipped gradients.

    `device`, `threads`, `parallel`, `data_workers`, `checkpoint_every` and `checkpoints_kept` are execution:
    they do not make another run.
    """

    init: str | None = None
    """Folder of a checkpoint to go on from; or give `model` and `tokenizer`."""
    model: LlamaShape | MlpShape | None = None
    """A model from scratch: a Llama (with a fresh head where it classifies), or a classifier of vectors."""
    tokenizer: str | None = None
    """Folder with tokenizer.json; the one in `init` when not given."""
    objective: Literal["causal_lm", "classification"] = "causal_lm"
    """What is learned: the next token, or the `label` of a document."""
    label: str | None = None
    """The column of labels (strings or integers) of a classification. Documents without one are left out."""
    features: str | None = None
    """The column of vectors (lists of numbers) to classify, rather than texts."""
    tokens: Count | None = None
    """Training tokens, rounded up to whole steps; smaller data repeats. Or give `examples` or `epochs`."""
    examples: Count | None = None
    """Training rows (documents that are classified, else sequences of `seq_len` tokens), likewise."""
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Passes over an arm's data, likewise; arms with more data then train for longer."""
    trainable: Literal["all", "bias"] | LastLayers | tuple[str, ...] = "all"
    """What is trained: all; bias (BitFit, Ben Zaken et al. 2022, https://arxiv.org/abs/2106.10199); last: K,
    blocks from the end; or regular expressions that are looked for in the names of weights."""
    peft: dict[str, Any] | None = None
    """A configuration of peft by its own names, with peft_type LORA, ADALORA, IA3, PROMPT_TUNING, ...: the
    model is frozen and an adapter trained; it is written to `adapter/`."""
    merge: bool = False
    """Whether a trained adapter is also merged into the model, which is written to `model/`."""
    activation_checkpointing: bool = False
    """Keep only the blocks' inputs and compute the rest again for the backward pass: less memory, about a
    third more operations, the same gradients."""
    seq_len: Annotated[int, Field(ge=2)] = 128
    """Tokens of one training sequence and of the evaluation's longest window; what is classified is
    cut there, too."""
    batch_size: Count = 8
    """Sequences of one step."""
    batch_ramp: Ramp | None = None
    """How the sequences of a step grow from few to `batch_size`; all steps are alike when not given."""
    seq_len_warmup: LengthRamp | None = None
    """How the length of sequences grows to `seq_len`; all are of that length when not given."""
    packing: Literal["concatenate", "best_fit"] = "concatenate"
    """How documents become sequences; best_fit (Ding et al. 2024, https://arxiv.org/abs/2404.10830) cuts only
    those that are longer than `seq_len`, and pads."""
    boundaries: Literal["cross", "keep"] = "cross"
    """Whether attention sees the documents before its own in the same sequence; keep: it does not, positions
    begin anew, and no document's first token is learned."""
    pacing: Pacing | None = None
    """Which share of the data is drawn from as the run goes on, where it lies from easy to hard: see
    `curriculum` with pacing: sort. The data in its order when not given."""
    micro_batch: Count | None = None
    """Sequences of one backward pass; gradients add up to a step's. All of the step's when not given."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """adafactor needs far less memory; its `lr` is relative to the size of the weights (torch's default is
    0.01)."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """AdamW's averages of gradients and of their squares."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's addend to the denominator."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """How the learning rate falls after the warm-up; wsd (warm-up, stable, decay; Hu et al. 2024,
    https://arxiv.org/abs/2404.06395): constant, then linear over the last fifth of the steps."""
    lr_end: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the peak that it ends at."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay, on matrices only: not on norms and biases."""
    decay_embeddings: bool = True
    """Whether embeddings decay, and an output layer that is tied to them."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    spikes: SpikeRule | None = None
    """What to do about jumps of the loss; without it only a loss that is no number stops the run."""
    skip_batches: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Numbers of batches that are left out, as `spikes.jsonl` of another run may list them."""
    select: SelectConfig | None = None
    """A selection inside the loop, by its `kind`; all rows are trained on when not given."""
    log_rows: bool = False
    """Whether metrics.jsonl tells the numbers of each step's rows; -1 where an epoch cuts its rows anew."""
    evals: Count = 4
    """Evaluations on the held-out documents, spread evenly; the last is at the end."""
    eval_bytes: Count | None = 65_536
    """Bytes of held-out text in one evaluation, in equal parts from every domain; all when not given.
    A classification is evaluated on all documents."""
    joint: tuple[JointPart, ...] = ()
    """Losses of language modelling that every step adds; memory grows with each."""
    probe: ProbeConfig | None = None
    """Passages that a language model is asked to continue, at every evaluation."""
    early_stop: EarlyStop | None = None
    """When to end before the budget does; with `evals` evaluations on the way."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints; at every evaluation when not given."""
    checkpoints_kept: Count = 1
    """Checkpoints that stay, the newest ones."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """Precision of the matrix products; auto: bfloat16 (autocast) on a GPU that has it, else float32. float16
    scales the loss and leaves steps out that overflow. float64 is for weights too."""
    energy: Energy | None = None
    """Count the electric energy, and CO2e where the factors are given."""
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where figures go beside the JSON lines in the run's folder."""
    peak_flops: Annotated[float, Field(gt=0)] | None = None
    """Most operations a second of the device, for the share that is used (MFU); known for common GPUs."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: the GPUs in turn where there are any."""
    threads: Count | None = None
    """Torch threads of one process; 1 when not given: small models do not gain from more."""

    parallel: Parallel | None = None
    """Several processes that train one model; one alone when not given."""
    data_workers: Annotated[int, Field(ge=0)] = 0
    """Threads that read batches ahead; 0: each is read when it is needed."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.init is None) == (self.model is None):
            raise ValueError("give either `init` (a checkpoint folder) or `model` (a shape, from scratch)")
        if isinstance(self.model, LlamaShape) and self.tokenizer is None:
            raise ValueError("a model from scratch needs `tokenizer`, a folder with tokenizer.json")
        if self.peft is not None and ("peft_type" not in self.peft or self.trainable != "all"):
            raise ValueError("peft needs a `peft_type`, such as LORA, and leaves nothing for `trainable`")
        if self.merge and self.early_stop is not None and self.early_stop.keep == "best":
            raise ValueError("merge is of the last model: give early_stop: {keep: last}, or merge afterwards")
        if self.merge and self.peft is None:
            raise ValueError("merge is of an adapter; give `peft`, or leave it out")
        for pattern in self.trainable if isinstance(self.trainable, tuple) else ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"trainable: {pattern!r} is no regular expression: {error}") from error
        return self

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        check_ramp("batch_ramp", self.batch_ramp, self.batch_size)
        check_ramp("seq_len_warmup", self.seq_len_warmup, self.seq_len)
        if self.pacing is not None:
            self.pacing.first()  # which refuses what does not end with all of the data
        cut = self.seq_len_warmup is not None and self.seq_len_warmup.truncate
        packed = self.packing == "best_fit" or self.boundaries == "keep"
        if self.seq_len_warmup is not None and packed and not cut:
            raise ValueError(
                "seq_len_warmup reads on in a stream, but packed sequences have one length; give "
                "`truncate: true`, or packing: concatenate with boundaries: cross"
            )
        if cut and self.pacing is not None:
            raise ValueError("pacing draws whole rows: leave out `truncate` of seq_len_warmup")
        if self.objective == "classification" and (packed or self.seq_len_warmup or self.pacing):
            raise ValueError("packing, boundaries, seq_len_warmup and pacing are of language models")
        return self

    @model_validator(mode="after")
    def _one_part_each(self) -> Self:
        if self.parallel is None or self.parallel.kind != "fsdp":
            return self
        if self.merge:
            raise ValueError("merge needs the whole model in one process; merge the adapter afterwards")
        if self.dtype == "float16":
            raise ValueError("fsdp does not scale losses; take dtype: bfloat16 instead of float16, or ddp")
        if getattr(self.select, "ema", None) is not None:
            raise ValueError("an average of the weights (ema) needs them whole in each process; take ddp")
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [n for n in ("tokens", "examples", "epochs") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of `tokens`, `examples` and `epochs`, not {given or 'none'}")
        if self.features and self.tokens:
            raise ValueError("vectors have no tokens: give `examples` or `epochs`")
        return self

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        classifies = self.objective == "classification"
        if classifies and self.label is None:
            raise ValueError("objective: classification needs `label`, the column of labels")
        if not classifies and (self.label or self.features):
            raise ValueError("label and features belong to `objective: classification`")
        if self.features and self.joint:
            raise ValueError("joint adds language modelling, which vectors do not allow")
        if classifies and self.probe:
            raise ValueError("probe asks a language model to go on; a classifier does not")
        if (self.features is None) == isinstance(self.model, MlpShape):
            raise ValueError("features (a column of vectors) and `model: {mlp: [...]}` go together")
        part = self.peft is not None or self.trainable != "all"
        if self.features and (part or self.activation_checkpointing):
            raise ValueError(
                "an `mlp` is trained as a whole: leave out peft, trainable and activation_checkpointing"
            )
        if classifies and self.joint and (part and not isinstance(self.trainable, tuple)):
            raise ValueError(
                "joint gives a classifier a second head: leave out peft and trainable, or name weights in it"
            )
        return self

    @property
    def tokenizer_folder(self) -> str:
        return self.tokenizer or self.init or ""
