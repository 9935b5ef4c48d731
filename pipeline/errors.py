"""The errors that tamis raises on purpose, each with its exit code."""

from __future__ import annotations

import errno
from typing import ClassVar

RESOURCES = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
RESOURCES |= {errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}


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


def exit_code(error: BaseException) -> int:
    """The command's exit code for an error: 1 a bug, 2 bad config, 3 bad data, 4 resumable."""
    if isinstance(error, TamisError):
        return error.exit_code
    if isinstance(error, MemoryError | KeyboardInterrupt):
        return ResourceError.exit_code
    return ResourceError.exit_code if isinstance(error, OSError) and error.errno in RESOURCES else 1
