"""Stamps: what tells at the price of one system call that a file is still the one that it was."""

from __future__ import annotations

import hashlib
import os
import stat
import time

ABSENT, FOLDER = "", "folder"
_MOST = 4_000  # stamps that are remembered: of the helpers of some folders, at least
_RECENT = 100_000_000  # nanoseconds in which a file may change once more without a new time

_stat = os.stat  # the file under examination may replace it


def stamp(path: str) -> str:
    """The times and the size of a regular file, FOLDER for a folder, ABSENT for anything else."""
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return ABSENT
    if stat.S_ISREG(found.st_mode):
        return f"{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_size}"
    return FOLDER if stat.S_ISDIR(found.st_mode) else ABSENT


def is_file(stamped: str) -> bool:
    """Whether a stamp is that of a regular file."""
    return stamped not in (ABSENT, FOLDER)


def recent(stamped: str) -> bool:
    """Whether a file was written so lately that it may have been written again within the same tick of the clock."""
    return is_file(stamped) and time.time_ns() - max(map(int, stamped.split(":")[:2])) < _RECENT


def digest(path: str) -> str:
    """A hash of what a file holds; ABSENT where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    except (OSError, ValueError):
        return ABSENT


class Stamps:
    """Stamps and hashes of files as they are in one run, each taken once."""

    def __init__(self) -> None:
        self._stamps: dict[str, str] = {}
        self._digests: dict[tuple[str, str], str] = {}

    def stamp(self, path: str) -> str:
        """As the function `stamp`."""
        found = self._stamps.get(path)
        if found is None:
            if len(self._stamps) >= _MOST:
                self._stamps.clear()
            found = self._stamps[path] = stamp(path)
        return found

    def digest(self, path: str, stamped: str) -> str:
        """As the function `digest`, for a file with this stamp; nothing is read of what is none."""
        if not is_file(stamped):
            return stamped
        key = path, stamped
        if key not in self._digests:
            if len(self._digests) >= _MOST:
                self._digests.clear()
            self._digests[key] = digest(path)
        return self._digests[key]
