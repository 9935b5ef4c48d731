"""The part of an error message that names what the user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, choices: Iterable[str], most: int = 24) -> str:
    """`; did you mean 'x'?` when a choice is near, else `; there are: a, b, c`, else nothing."""
    known = list(dict.fromkeys(choices))
    near = difflib.get_close_matches(word.lower(), [choice.lower() for choice in known], n=1, cutoff=0.6)
    if near:
        found = next(choice for choice in known if choice.lower() == near[0])
        return f"; did you mean {found!r}?"
    if not known:
        return ""
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"; there are: {', '.join(sorted(known)[:most])}{more}"
