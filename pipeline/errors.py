"""The errors that tamis raises on purpose, each with its exit code."""

from __future__ import annotations

from typing import ClassVar


class TamisError(Exception):
    """Says what is wrong, where, which value, and what to do."""

    exit_code: ClassVar[int] = 1


class ConfigError(TamisError):
    """The config, an operator's fields or a path are wrong; nothing has run."""

    exit_code = 2


class DataError(TamisError):
    """The data, or an operator that met it, failed; what is done stays done."""

    exit_code = 3


class TooMuchDropped(DataError):
    """A node would drop more of a source than its guard allows."""

    def __init__(self, text: str, node: str) -> None:
        super().__init__(text)
        self.node = node


class ResourceError(TamisError):
    """Memory, disk, a model or the cluster was missing; the run can be resumed."""

    exit_code = 4


class Interrupted(TamisError):
    """The user stopped the run; it can be resumed."""

    exit_code = 4
