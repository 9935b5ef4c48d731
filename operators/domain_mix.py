"""A sample of all rows in which domains have the shares that one wants."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from operators.contract import Part, Recipe
from operators.kernels.grouping import GroupKey

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0)]


class DomainMix(Recipe):
    """Keeps a random part of every domain, so that a budget is shared by temperature or by given shares.

    The share of a domain with n rows (or tokens) is proportional to n^(1/temperature): 1 keeps the natural
    mix (a stratified sample), and very large ones make all domains equal (temperature sampling; papers on
    multilingual models write alpha for 1/temperature). No row is drawn twice: a domain
    that runs out stays whole, and the others share what it could not use, so the budget is spent. Which
    rows stay depends on (seed, key) alone; a larger budget keeps the same rows and more. Nulls are a domain
    of their own. The reason is "not_mixed".

    The end of a run shows each domain's natural share and that of the mix. With tokens, each domain gets less
    than its budget by less than the row that did not fit.

    What to expect: after deduplication, the same share for all domains of documentation lowered the loss of a
    small model, averaged over domains, by .018 +- .013 nats a byte against random rows: within its error.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep_share": 0.4, "temperature": 3, "seed": 1},
        {"keep_tokens": 300, "tokens": "words", "shares": {"wiki": 2, "*": 0.5}, "seed": 1},
        {"by": "label", "keep_rows": 30, "seed": 2},
    )

    by: str = "domain"
    """The column of domains: strings or integers, at most 4,096 different ones."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """Shares in proportion to n^(1/temperature); 1 unless `shares` (below 1, large domains get more)."""
    shares: dict[GroupKey, Share] | None = None
    """Instead: domain -> its share, in any unit; '*' is that of each other domain."""
    keep_rows: Count | None = None
    """How many rows stay in all."""
    keep_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of all rows that stays, rounded down."""
    keep_tokens: Count | None = None
    """How many tokens stay in all, at most; shares are then of tokens."""
    tokens: str = "tokens"
    """The integer column that counts a row's tokens, used with `keep_tokens`; `bytes` is there always."""
    seed: int | None = None
    """Seed of the random choice; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        budgets = ("keep_rows", "keep_share", "keep_tokens")
        given = [name for name in budgets if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"domain_mix takes one of {', '.join(budgets)}, got {', '.join(given) or 'none'}"
            )
        if self.temperature is not None and self.shares is not None:
            raise ValueError(f"temperature = {self.temperature} and shares = {self.shares}: give one of them")
        return self

    def parts(self) -> list[Part]:
        weight = self.tokens if self.keep_tokens is not None else None
        mix: dict[str, Any] = (
            {"shares": self.shares} if self.shares is not None else {"temperature": self.temperature or 1.0}
        )
        amount = {"keep_rows": self.keep_rows, "keep_share": self.keep_share, "keep_weight": self.keep_tokens}
        told = {name: value for name, value in amount.items() if value is not None}
        common = {"group": self.by, "weight": weight, **mix, **told}
        return [
            Part("key", "random_key", {"seed": self.seed}),
            Part("totals", "mix_totals", common),
            Part("cut", "cut", {"by": "/key.priority", "reason": "not_mixed", **common}),
        ]
