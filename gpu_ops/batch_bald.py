"""batch_bald: rows whose labels together tell most about a model's weights."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from gpu_ops.kernels.joint_information import greedy_batch
from gpu_ops.kernels.pool import Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp
from operators.contract import Artifact, Telling


class BatchBald(SelectOp, Telling):
    """Chooses rows to label by the information that their labels together give of the weights.

    BatchBALD (Kirsch et al. 2019, arXiv 1906.08158, section 3 and algorithm 1). BALD scores each row by
    itself, so that the best rows may all tell the same; here each next row is the one that adds most to the
    joint mutual information (nats) of those before. Rows that `labelled` names are not chosen and not
    looked at: the model has learnt from them.

    Exact as long as there are at most `configurations` combinations of labels of the rows chosen (two
    classes and 4,096: 12 rows; 77 classes: one); from there on, these are a sample of so many
    combinations, by systematic resampling with draws from (seed, key). Rows whose gain cannot be the largest,
    as gains only fall, are not looked at again, which with a sample is an approximation.

    What to expect: T passes cannot tell more than log T nats together, so that the gains of a large batch are
    all noise; the end of the run says how much of that is used up, and by which row nine tenths of it are.
    With ten members on subjectivity (six batches of ten rows, 20 seeds) it was as good as random rows (+.2 +-
    .3 points) and as plain `mean_kl` (+.3 +- .2). Use many passes (the paper: 100), batches of at most tens
    of rows, and `badge` for larger ones.

    `weight` is 1. Memory: 40 bytes a row and some 100 MB beside the pool, which holds passes times classes
    numbers a row, at most 4,096. Time: rows looked at x configurations x passes x classes, for each row
    chosen. ValueError for lists that cannot be divided into so many passes; rows with a pass that is
    negative or all zero are not comparable.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"passes": 2, "keep_rows": 4, "seed": 1},
        {"probabilities": "embedding", "passes": 2, "keep_share": 0.4, "configurations": 3}
        | {"labelled": "domain", "group": "label", "mark": True, "seed": 2},
    )

    probabilities: str = "pass_probabilities"
    """The column of all passes' probabilities, one pass after the other: `committee`'s with `keep_members`,
    `classifier_scores`'s with `keep_passes`."""
    passes: Annotated[int, Field(ge=2, le=2048)]
    """How many passes (members) each list has."""
    configurations: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """How many combinations of labels are looked at, at most."""

    @property
    def wanted(self) -> Wanted:
        return Wanted([self.probabilities], distributions={self.probabilities: self.passes})

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        p = pool.vectors[self.probabilities]
        batch = greedy_batch(p, self.passes, k, ~pool.taken, pool.key, self.seed or 0, self.configurations)
        sums = np.cumsum(batch.gain)
        most = int(np.searchsorted(sums, 0.9 * sums[-1])) + 1
        figures = np.array([[len(batch.index), batch.exact, sums[-1], most]])
        return Choice(batch.index, figures={"information": figures})

    def tell(self, state: Artifact) -> str:
        lines = []
        for rows, exact, sums, most in state.get("information", np.zeros((0, 4))).tolist():
            # a sample of configurations can make the sum larger than what there is to know
            sums = min(sums, np.log(self.passes))
            lines.append(
                f"{sums:.3f} nats of at most {np.log(self.passes):.3f} by the labels of {rows:.0f} rows, "
                f"nine tenths of them by the first {most:.0f}; exact for the first {exact:.0f}"
            )
        return "\n".join(lines[:10]) or "no row is chosen"
