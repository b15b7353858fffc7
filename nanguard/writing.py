"""Writing: a file that is written at once or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress


def replace(path: str, data: bytes) -> None:
    """Put `data` in the place of what a file holds, if there is one; raises `OSError`, and then nothing has changed.

    A link stays and what it leads to is written; mode and, where that is allowed, owner stay.  What is no regular file
    (``/dev/stdout``, a pipe) is written to.
    """
    real = os.path.realpath(path)
    try:
        kept = os.stat(real)
    except FileNotFoundError:
        kept = None
    if kept is not None and not stat.S_ISREG(kept.st_mode):
        with open(real, "wb") as file:
            file.write(data)
        return
    folder, name = os.path.split(real)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name[:_SHOWN]}.", suffix=".nanguard")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), stat.S_IMODE(kept.st_mode) if kept is not None else 0o666 & ~_umask())
            if kept is not None:
                with suppress(OSError):  # only root may give a file away
                    os.fchown(file.fileno(), kept.st_uid, kept.st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, real)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


_SHOWN = 100  # characters of a name in that of the file beside it, which may have 255 bytes


def _umask() -> int:
    """What new files are not allowed to everybody; it can be asked for only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
