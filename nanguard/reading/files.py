"""Files: from paths and node ids (``losses.py::FocalLoss``) to the files they mean, found as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from nanguard.finding import Note
from nanguard.reading.discover import SourceFile, failed
from nanguard.settings import Settings

if TYPE_CHECKING:
    from nanguard.reading.folders import Excluded


class Files:
    """The files that some paths mean, each once and in order; iterate over it once.

    Folders are searched as the iteration comes to them, without what the settings exclude; what is named itself is
    excluded only by `force_exclude`.  `notes` has one for each path that means no file, and for each folder so far
    that cannot be listed.  Of a file that was handed out a hash is left, so that memory hardly grows with the files.
    """

    def __init__(self, paths: Sequence[str | SourceFile], settings: Settings) -> None:
        self._root, self._shard = os.path.abspath(settings.root), settings.shard
        self._excluded: Excluded | None = None  # made where a folder is searched, which most runs on files do not need
        self._settings = settings
        self._given: list[tuple[str, str | None]] = []  # folders, and files with their real paths, as they were given
        self._named: dict[str, SourceFile] = {}  # by real path: those that are not handed out yet
        self._real: set[int] = set()  # hashes of the real paths of the files that were handed out
        self._shown: set[int] = set()  # of their paths
        self._others: set[int] = set()  # of the real paths of the files of other shards
        self.notes: list[Note] = []
        for given in paths:
            self._take(given)

    def __iter__(self) -> Iterator[SourceFile]:
        for path, real in self._ordered():
            for inner, its in [(path, real)] if real is not None else self._below(path):
                if hash(its) in self._real or hash(its) in self._others:
                    continue
                file = self._named.pop(its, None) or SourceFile(inner)
                file = file if real is not None else replace(file, path=inner, whole=True)
                if _in_shard(file.path, self._shard, self._root):
                    self._real.add(hash(its))
                    self._shown.add(hash(file.path))
                    yield file
                else:
                    self._others.add(hash(its))

    def _ordered(self) -> list[tuple[str, str | None]]:
        """What was given, as it was given; but functions after folders, which may hold all of their files."""
        last = {real for real, file in self._named.items() if not file.whole}
        return sorted(self._given, key=lambda given: given[1] in last)

    def shown(self, path: str) -> bool:
        """Whether a file was handed out under this very path."""
        return hash(path) in self._shown

    def has(self, path: str) -> bool:
        """Whether a file was handed out, whatever its path."""
        return hash(os.path.realpath(path)) in self._real

    def _take(self, given: str | SourceFile) -> None:
        """Look at a path: a folder is searched later."""
        path, name = (given.path, None) if isinstance(given, SourceFile) else split(given)
        folder = os.path.isdir(path) and not name
        if self._settings.force_exclude and self._exclusion().covers(path):
            return
        if isinstance(given, SourceFile):
            self._name(given)
        elif folder:
            self._given.append((path, None))
        elif problem := _problem(given, path, name):
            self.notes.append(failed(path, problem))
        else:
            self._name(SourceFile(path, (name,), whole=False) if name else SourceFile(path))

    def _name(self, file: SourceFile) -> None:
        """Take a file that is named, together with what was asked for of it before."""
        real = os.path.realpath(file.path)
        known = self._named.setdefault(real, file)
        if known is file:
            self._given.append((file.path, real))
            return
        names = tuple(dict.fromkeys((*known.names, *file.names)))
        self._named[real] = replace(known, names=names, whole=known.whole or file.whole)

    def _below(self, folder: str) -> Iterator[tuple[str, str]]:
        return self._exclusion().below(folder, partial(_unlisted, self.notes))

    def _exclusion(self) -> Excluded:
        if self._excluded is None:
            from nanguard.reading.folders import Excluded

            self._excluded = Excluded(self._settings.exclude, self._root)
        return self._excluded


def find(paths: Sequence[str | SourceFile], settings: Settings | None = None) -> tuple[list[SourceFile], list[Note]]:
    """All the files at once that `paths` mean, and a note for each path that means none."""
    files = Files(paths, settings or Settings())
    return list(files), files.notes


def _in_shard(path: str, shard: tuple[int, int] | None, root: str) -> bool:
    """Whether a file belongs to a part, by its path in the project: whatever else there is, it is in the same one."""
    if shard is None:
        return True
    inside = os.path.relpath(path, root).replace(os.sep, "/")
    return crc32(os.fsencode(inside)) % shard[1] == shard[0] - 1


def split(given: str) -> tuple[str, str | None]:
    """The path and the dotted name of a node id; no name where there is no ``::``."""
    if "::" not in given or os.path.exists(given):
        return given, None
    path, _, name = given.partition("::")
    ends = [end for end in range(len(given)) if given.startswith("::", end)]
    known = next((end for end in reversed(ends) if os.path.exists(given[:end])), None)  # a name may have :: in it, too
    if known is not None:
        path, name = given[:known], given[known + 2 :]
    return path, name.replace("::", ".")


def _problem(given: str, path: str, name: str | None) -> str | None:
    if not path:
        return f"{given!r} names no file; write FILE or FILE::NAME"
    if not os.path.lexists(path):
        return f"no such file or folder; nanguard looked for it from {os.getcwd()}"
    if os.path.isdir(path):
        return f"{given!r} asks for a name in a folder; write FILE::NAME"
    if not os.path.isfile(path):
        return "not a regular file; name a .py file or a folder"
    if path.endswith(".ipynb"):
        return "is a notebook, which nanguard does not read; export it as a script and check that"
    if name == "":
        return "no name after '::'; write FILE::NAME, or the file alone"
    return None


def _unlisted(notes: list[Note], path: str, reason: str) -> None:
    notes.append(failed(path, f"cannot be listed ({reason}); change its permissions or leave it out"))
