"""Drops texts with too many characters that clean text has few of: broken, mixed up or not text at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from operators.contract import DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.characters import NAMES, count_characters
from operators.kernels.text_buffers import text_buffers

Share = Annotated[float, Field(ge=0, le=1)] | None

# The statistic, also the reason why a text goes; what of the counts it is the share of which.
_SHARES: Mapping[str, tuple[str, str]] = {
    "control": ("control", "characters"),
    "private_use": ("private_use", "characters"),
    "replacement": ("replacement", "characters"),
    "unassigned": ("unassigned", "characters"),
    "symbols": ("symbols", "characters"),
    "mojibake": ("mojibake", "characters"),
    "mixed_scripts": ("mixed_words", "words"),
}


class CharacterFilter(MapOp):
    """Drops a text for the first share that is above its bound, with the statistic's name as the reason.

    Adds the shares as float32 columns; they are compared as float64. `control`, `private_use`, `unassigned`
    and `symbols` are Unicode's categories Cc (but tab, line feed, carriage return), Co, Cn and S (such as
    + = $ ^ ` | < > ~, arrows, box drawing, emoji) by characters. `replacement` is U+FFFD, and every byte
    of invalid UTF-8. `mojibake` is the share of characters in sequences that UTF-8 becomes when it is read as
    Windows-1252 or Latin-1 (`Ã©`, `â€™`, `ðŸ˜€`): those of Latin, Greek, Cyrillic and Arabic letters, of
    punctuation and emoji; sequences that clean text has too are left out, Hebrew and CJK among them.
    `mixed_scripts` is, of the words with a letter of an alphabet (Latin, Greek, Cyrillic, Armenian, Georgian,
    Hebrew, Arabic, Cherokee, Coptic), the share with letters of two, such as a Cyrillic `а` in a Latin word.

    A null or empty text has no share of anything and stays. The bounds are ours: a few broken characters do
    not spoil a text, more than one in a hundred do.
    """

    version: ClassVar[int] = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"max_symbols": 0.05, "max_control": None, "max_mojibake": 0, "max_private_use": 0.2},
    )

    max_control: Share = 0.01
    """The greatest share of control characters."""
    max_private_use: Share = 0.01
    """The greatest share of private-use characters."""
    max_replacement: Share = 0.01
    """The greatest share of replacement characters and broken bytes."""
    max_unassigned: Share = 0.01
    """The greatest share of code points that this Unicode assigns nothing to."""
    max_symbols: Share = 0.3
    """The greatest share of symbols."""
    max_mojibake: Share = 0.01
    """The greatest share of characters in mojibake."""
    max_mixed_scripts: Share = 0.05
    """The greatest share of words that mix alphabets."""
    unicode: str = unicodedata.unidata_version
    """The version of Unicode that says what a character is: by default that of the Python that runs. Results
    are stored under it, so a Python with another one computes its own."""

    @field_validator("unicode")
    @classmethod
    def _this_one(cls, version: str) -> str:
        here = unicodedata.unidata_version
        if version != here:
            raise ValueError(
                f"this Python has Unicode {here}, not {version}: leave it out, or run another one"
            )
        return version

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, **dict.fromkeys(_SHARES, pa.float32())}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        counts = count_characters(*text_buffers(batch.column("text")))
        known = dict(zip(NAMES, counts.T, strict=True))
        shares = {name: _share(known[part], known[whole]) for name, (part, whole) in _SHARES.items()}
        reasons = np.full(len(counts), -1)
        for number, (name, share) in enumerate(shares.items()):
            most = getattr(self, f"max_{name}")
            if most is not None:
                reasons[(reasons < 0) & (share > most)] = number
        columns = {name: pa.array(share.astype(np.float32)) for name, share in shares.items()}
        return {"drop": drop_column(reasons, list(_SHARES)), **columns}


def _share(part: Any, whole: Any) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
