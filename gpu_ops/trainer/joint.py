"""Further losses that every step adds: language modelling beside the task, on the same body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gpu_ops.kernels.causal_lm import check_causal, load_network
from gpu_ops.trainer.batch import Batch, Feed
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.objective import CausalLmObjective, Objective, by_row
from gpu_ops.trainer.stream import Stream

if TYPE_CHECKING:
    from gpu_ops.trainer.sitting import Sitting


class TwoHeads(nn.Module):
    """A classifier and a language model that share their body. It is the classifier, unless asked as the
    language model; saved is the classifier."""

    def __init__(self, classifier: Any, language: Any) -> None:
        super().__init__()
        if type(classifier.base_model) is not type(language.base_model):
            raise ValueError(
                f"joint: {type(classifier).__name__} and {type(language).__name__} do not share a body"
            )
        setattr(language, language.base_model_prefix, classifier.base_model)
        if language.config.get_text_config().tie_word_embeddings:
            language.get_output_embeddings().weight = language.get_input_embeddings().weight
        self.classifier, self.language = classifier, language

    @property
    def config(self) -> Any:
        return self.classifier.config

    def forward(self, as_language_model: bool = False, **inputs: Any) -> Any:
        return (self.language if as_language_model else self.classifier)(**inputs)

    def save_pretrained(self, folder: str | Path, **more: Any) -> None:
        """The classifier. state_dict: weights of both under their names here, where they lie elsewhere."""
        if "state_dict" in more:
            start = "classifier."
            given = more["state_dict"].items()
            more["state_dict"] = {n.removeprefix(start): w for n, w in given if n.startswith(start)}
        self.classifier.save_pretrained(folder, **more)


class LanguageModel:
    """A TwoHeads asked as the language model. model: it, wrapped where several processes train it."""

    def __init__(self, model: Any, language: Any) -> None:
        self.model, self.language = model, language

    def __call__(self, **inputs: Any) -> Any:
        return self.model(as_language_model=True, **inputs)

    def get_output_embeddings(self) -> Any:
        return self.language.get_output_embeddings()


def with_language_head(classifier: Any, config: TrainConfig, vocab: int, seed: int) -> TwoHeads:
    """The classifier, and the language model of its checkpoint (or shape) on the same body.

    ValueError for a checkpoint whose predictions depend on later tokens, and for one without that head."""
    if isinstance(config.model, LlamaShape):
        from gpu_ops.trainer.network import from_shape

        language = from_shape(config.model, vocab, config.seq_len, seed)
    else:
        language = load_network(str(config.init), "cpu", "float32")
        check_causal(str(config.init), language)
    return TwoHeads(classifier, language.requires_grad_(True))


@dataclass
class Part:
    """One further loss. model: what is called; network: whose FLOPs it costs. rows: of one step."""

    objective: Objective
    feed: Feed
    weight: float
    rows: int
    seq_len: int
    model: Any
    network: Any

    def batch(self, step: int) -> Batch:
        """What a step adds: a pure function of (seed, step)."""
        units = self.rows * (self.seq_len if self.feed.unit == "tokens" else 1)
        return self.feed.batch(step * units, self.rows, self.seq_len)


@dataclass
class Joint:
    """The further losses of a run, each the mean over its own targets times its weight (TLM, Yao et al. 2022,
    equation 1)."""

    parts: Sequence[Part] = ()
    _sums: list[float] = field(default_factory=list)
    _batches: list[Batch] = field(default_factory=list)  # of the step that is on

    @staticmethod
    def of(job: Job, model: Any, network: Any) -> Joint:
        """As the job's config says. model: `network`, wrapped where several processes train it."""
        if job.untrained:
            return Joint()
        two = isinstance(network, TwoHeads)
        return Joint(
            [
                Part(
                    CausalLmObjective(),
                    Stream(path, job.seed, shuffle=True),
                    part.weight,
                    part.batch_size or job.config.batch_size,
                    job.config.seq_len,
                    LanguageModel(model, network.language) if two else model,
                    network.language if two else network,
                )
                for part, path in zip(job.config.joint, job.joint, strict=True)
            ]
        )

    def loss(self, run: Sitting, step: int, number: int, pieces: int) -> torch.Tensor | None:
        """What micro-batch `number` of `pieces` adds to the loss of this process; None without parts.

        ValueError where a part has too few rows for every micro-batch to get one."""
        if number == 0:
            self._sums = [0.0] * len(self.parts)
            self._batches = [part.batch(step) for part in self.parts]
        added: list[torch.Tensor] = []
        for k, (part, whole) in enumerate(zip(self.parts, self._batches, strict=True)):
            own, counts = run.world.own(whole), run.world.weights(np.ones(len(whole)))
            if len(own) < pieces:
                raise ValueError(
                    f"joint: its {part.rows} rows are fewer than the micro-batches of all processes; give a "
                    "larger batch_size"
                )
            some = np.array_split(np.arange(len(own)), pieces)[number]
            losses = by_row(part.objective.logits(part.model, whole.take(own[some]), run.device).losses())
            mean = (losses * torch.from_numpy(counts[some]).to(losses)).sum() / float(whole.learned.sum())
            self._sums[k] += float(mean.detach())
            added.append(part.weight * mean)
            if number == 0:
                run.meter.trained(whole, part.network)
        return torch.stack(added).sum() if added else None

    def told(self, run: Sitting) -> dict[str, Any]:
        """The parts' mean losses in the last step, for the log."""
        return {"joint_losses": [run.world.total(value) for value in self._sums]} if self.parts else {}
