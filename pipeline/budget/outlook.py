"""The loss that a law gives to a size and to tokens of known worth, for many sizes and many laws at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.budget.law import Law
from pipeline.budget.laws import FORMS, PUBLISHED, Floats, repeated
from pipeline.errors import ConfigError

PLANNED = ("kaplan", "chinchilla", "data_constrained")
ASSUMED = {name: PUBLISHED["data_constrained"][1][name] for name in ("R_D", "R_N")}


@dataclass(frozen=True)
class Outlook:
    """Constants of a law, numbers or (B, 1) for a bootstrap; repeats at the published R_D and R_N where the
    law has none of its own."""

    kind: str
    params: dict[str, Any]

    @property
    def star(self) -> Any:
        """How many repeats are worth 1 - 1/e of as many first passes, times R_D."""
        return self.params.get("R_D", ASSUMED["R_D"])

    def loss(self, N: Any, worth: Any, fresh: Any) -> Floats:
        """The loss of N parameters after tokens worth `worth` first passes, `fresh` of them unique."""
        p = self.params
        with np.errstate(all="ignore"):
            if self.kind == "kaplan":
                ratio = p["alpha_N"] / p["alpha_D"]
                return np.asarray(((p["N_c"] / N) ** ratio + p["D_c"] / worth) ** p["alpha_D"])
            alpha, beta = p["alpha"], p["beta"]
            log_g = np.log(alpha * p["A"] / (beta * p["B"])) / (alpha + beta)
            enough = np.exp(beta / alpha * (np.log(fresh) + log_g) + log_g)
            used = np.minimum(N, enough)
            n = used * (1 + repeated(N / used - 1, p.get("R_N", ASSUMED["R_N"])))
            return np.asarray(p["E"] + p["A"] / n**alpha + p["B"] / worth**beta)


def outlooks(law: Law) -> tuple[Outlook, Outlook | None]:
    """The law, and its bootstrap; ConfigError for a law that has no size and tokens."""
    if law.kind not in PLANNED:
        raise ConfigError(f"a plan needs a law of size and tokens ({', '.join(PLANNED)}), not {law.kind}")
    if not len(law.bootstrap):
        return Outlook(law.kind, dict(law.params)), None
    names = FORMS[law.kind].params
    columns = {name: law.bootstrap[:, i, None] for i, name in enumerate(names)}
    return Outlook(law.kind, dict(law.params)), Outlook(law.kind, columns)
