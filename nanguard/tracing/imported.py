"""Imported: which files of the project an import looks for, so that a result can be used until one of them changes.

What is installed with a version counts as a whole (see `nanguard.cache.installed`); of all other folders each file is
taken down that Python looks for, whether it is there or not.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import ModuleType

from nanguard.cache.installed import is_installed
from nanguard.cache.stamps import FOLDER, is_file, stamp

_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class _Looker(importlib.abc.MetaPathFinder):
    """Finds nothing; it takes down what others are going to look for."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}  # stamps of files, from before they are read
        self.package = ""  # the outermost one of the file that is checked, which may be installed itself
        self.tell: Callable[[Mapping[str, str]], None] | None = None
        self.told = 0  # how many of the stamps

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """The files that a module may come from."""
        self.look(fullname, path)
        self.report()

    def report(self) -> None:
        """Tell of what has not been told of."""
        if self.tell is not None and len(self.seen) > self.told:
            new = dict(islice(self.seen.items(), self.told, None))
            self.told = len(self.seen)
            self.tell(new)

    def look(self, fullname: str, path: Sequence[str] | None) -> None:
        """Take down the files that a module may come from."""
        top, _, _ = fullname.partition(".")
        name = fullname.rpartition(".")[2]
        for folder in list(sys.path if path is None else path):
            if not isinstance(folder, str) or (is_installed(os.path.join(folder, "")) and top != self.package):
                continue
            folder = folder or os.getcwd()
            if self.stamp(folder) == FOLDER and self.is_there(os.path.join(folder, name)):
                return

    def is_there(self, place: str) -> bool:
        """Whether a module lies at a place: a package, or a file with a suffix of one; a mere folder is none yet."""
        if self.stamp(place) == FOLDER and is_file(self.stamp(os.path.join(place, "__init__.py"))):
            return True
        return any(is_file(self.stamp(place + suffix)) for suffix in _SUFFIXES)

    def stamp(self, path: str) -> str:
        if path not in self.seen:
            self.seen[path] = stamp(path)
        return self.seen[path]


_looker = _Looker()


def watch_imports(package: str, tell: Callable[[Mapping[str, str]], None] | None = None) -> None:
    """Take down from now on what is imported in this process; `package` is the outermost one of the checked file.

    `tell` is told of the files that have not been told of before, with their stamps, as soon as an import looks for
    some: it may never come to an end.
    """
    _looker.package, _looker.tell = package, tell
    if _looker in sys.meta_path:
        sys.meta_path.remove(_looker)
    sys.meta_path.insert(0, _looker)
    _looker.report()


def looked_for() -> Mapping[str, str]:
    """The files that imports have looked for, with the stamps that they had then."""
    return dict(_looker.seen)
