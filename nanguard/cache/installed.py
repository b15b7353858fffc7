"""Installed: which packages a program of this interpreter would import, and in which versions.

By the names that package managers give to what they install (``torch-2.9.1.dist-info``): asking for each version
would take longer than the rest of a run that has its results already.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from contextlib import suppress

from nanguard.cache.stamps import stamp
from nanguard.lazy import torch_file

_FOLDERS = ("site-packages", "dist-packages")
_ENDS = (".dist-info", ".egg-info", ".egg-link", ".pth")
_STANDARD = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})


def is_installed(path: str) -> bool:
    """Whether a path lies among what is installed: Python's own modules, or packages with a version."""
    return path.startswith(_STANDARD) or not set(_FOLDERS).isdisjoint(path.split(os.sep))


def installed() -> str:
    """A hash of the names and versions of the packages that are installed, and of the torch that is found."""
    found: list[str] = []
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for folder in (*sys.path, *paths):
        if folder in paths or os.path.basename(folder) in _FOLDERS:
            with suppress(OSError):
                names = sorted(name for name in os.listdir(folder or ".") if name.endswith(_ENDS))
                found.extend(f"{folder}:{name}" for name in names)
    return hashlib.blake2b("\n".join([*found, _torch()]).encode("utf-8", "replace"), digest_size=16).hexdigest()


def _torch() -> str:
    """What tells one torch from another that was built in its place; "" where there is none."""
    file = torch_file()
    return file + stamp(os.path.join(os.path.dirname(file), "version.py")) if file else ""
