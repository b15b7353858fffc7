"""Project: the files that mark the folder of a project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CONFIGURATIONS = ("nanguard.toml", "pyproject.toml")  # the first one wins where both are
SETUPS = ("setup.py", "setup.cfg")
REPOSITORY = ".git"


def marked(folder: Path, marks: Sequence[str]) -> Path | None:
    """The nearest folder, from a folder upward, that holds one of some marks."""
    return next((each for each in (folder, *folder.parents) if any((each / mark).exists() for mark in marks)), None)
