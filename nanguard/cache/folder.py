"""Folder: where the cache lies, and whether a folder is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nanguard.errors import NanguardError
from nanguard.project import CONFIGURATIONS, REPOSITORY, marked

NAME = ".nanguard_cache"
PACK, HALF = ".json", ".tmp"  # ends of the names of what is in it
_TAG = "CACHEDIR.TAG"
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
_OURS = "nanguard"
_OWN = {
    ".gitignore": "# Made by nanguard.\n*\n",
    _TAG: f"{_SIGNATURE}\n# This folder is a cache made by {_OURS}; `nanguard clean` removes it.\n"
    "# About such tags: https://bford.info/cachedir/\n",
}


def place(given: str | None = None, root: str = "") -> Path:
    """The folder of the cache: `given`, or one in the `root` of the project.

    Without any that is the nearest folder with a configuration file or a repository, else the current one.
    """
    if given:
        return Path(given)
    if root:
        return Path(root) / NAME
    here = Path.cwd()
    return (marked(here, (*CONFIGURATIONS, REPOSITORY)) or here) / NAME


def is_cache(folder: Path) -> bool:
    """Whether nanguard made a folder for its cache."""
    try:
        text = (folder / _TAG).read_text("utf-8", "replace")
    except OSError:
        return False
    return text.startswith(_SIGNATURE) and _OURS in text


def make(folder: Path) -> None:
    """Make the folder; raises `OSError`, also for a folder that holds something else."""
    if is_cache(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if set(os.listdir(folder)) - set(_OWN):
        raise FileExistsError(0, "it is a folder with other things in it")
    for name, text in _OWN.items():
        (folder / name).write_text(text, "utf-8")


def remove(folder: Path) -> tuple[int, int]:
    """Remove a cache; the number of its files that held results, and their size in bytes.

    Raises `NanguardError` for a folder that is none, or that cannot be removed; what else is in it stays.
    """
    if not is_cache(folder):
        raise NanguardError(
            f"{folder}: not a cache of nanguard (it has no {_TAG} of it), so it stays; remove it by hand"
        )
    count = size = 0
    try:
        for path in packs(folder):
            with suppress(FileNotFoundError):  # another run has tidied up
                size += path.stat().st_size
                path.unlink()
                count += path.suffix == PACK
        others = sorted(set(os.listdir(folder)) - set(_OWN))
        if others:
            raise NanguardError(f"{folder}: emptied, but it stays: it holds {others[0]!r}, which is not nanguard's")
        for name in (".gitignore", _TAG):  # the tag last: without it, this could not be taken up again
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError as error:
        raise NanguardError(f"{folder}: cannot be removed ({error.strerror}); change its permissions") from None
    return count, size


def packs(folder: Path) -> Iterator[Path]:
    """The files in a cache that hold results, and those that were not written to their end."""
    for name in os.listdir(folder):
        if name.endswith((PACK, HALF)):
            yield folder / name
