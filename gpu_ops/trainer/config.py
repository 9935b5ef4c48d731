"""What a training run consists of; importing this needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gpu_ops.trainer.config_select import SelectConfig

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LlamaShape(_Fields):
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


class MlpShape(_Fields):
    """A classifier of vectors: layers of ReLU with dropout, then one output a class."""

    mlp: tuple[Count, ...]
    """Widths of the hidden layers; none is a linear classifier."""
    dropout: Share = 0.0
    """Share of every hidden layer's numbers that a training step leaves out."""


class TrainConfig(_Fields):
    """One training recipe: AdamW (betas 0.9 and 0.95), linear warm-up, cosine to a tenth, clipped gradients.

    `device`, `threads` and `checkpoint_every` are execution: they do not make another run.
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
    seq_len: Annotated[int, Field(ge=2)] = 128
    """Tokens of one training sequence and of the evaluation's longest window; what is classified is
    cut there, too."""
    batch_size: Count = 8
    """Sequences of one step."""
    micro_batch: Count | None = None
    """Sequences of one backward pass; gradients add up to a step's. All of the step's when not given."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate."""
    lr_end: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the peak that the cosine ends at."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay, on matrices only."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    select: SelectConfig | None = None
    """A selection inside the loop, by its `kind`; all rows are trained on when not given."""
    log_rows: bool = False
    """Whether metrics.jsonl tells the numbers of each step's rows; -1 where an epoch cuts its rows anew."""
    evals: Count = 4
    """Evaluations on the held-out documents, spread evenly; the last is at the end."""
    eval_bytes: Count | None = 65_536
    """Bytes of held-out text in one evaluation, in equal parts from every domain; all when not given.
    A classification is evaluated on all documents."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints; at every evaluation when not given."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the matrix products; auto: bfloat16 (autocast) on a GPU that has it, else float32."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: the GPUs in turn where there are any."""
    threads: Count | None = None
    """Torch threads of one process; 1 when not given: small models do not gain from more."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.init is None) == (self.model is None):
            raise ValueError("give either `init` (a checkpoint folder) or `model` (a shape, from scratch)")
        if isinstance(self.model, LlamaShape) and self.tokenizer is None:
            raise ValueError("a model from scratch needs `tokenizer`, a folder with tokenizer.json")
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
        if (self.features is None) == isinstance(self.model, MlpShape):
            raise ValueError("features (a column of vectors) and `model: {mlp: [...]}` go together")
        return self

    @property
    def tokenizer_folder(self) -> str:
        return self.tokenizer or self.init or ""

    def eval_steps(self, steps: int) -> list[int]:
        """After which of the steps the model is evaluated, ascending; the last one is among them."""
        return sorted({-(-steps * k // self.evals) for k in range(1, self.evals + 1)})
