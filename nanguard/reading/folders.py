"""Folders: the Python files below a folder, without those that are left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nanguard.project import REPOSITORY
from nanguard.reading.globs import Globs, globs

_PACKAGES = "site-packages"  # of a virtual environment
_PROBE = "\x00.py"  # a file that a pattern means only together with all others


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder with the patterns of its .gitignore."""

    folder: str  # absolute
    patterns: Globs


class Excluded:
    """Which files and folders are left out: by patterns, by .gitignore, and because they are a virtual environment.

    A pattern with a slash is that of an absolute path.  A .gitignore counts from the root of its repository down; where
    there is no repository, from `root` down, the folder of the project.
    """

    def __init__(self, patterns: tuple[str, ...], root: str) -> None:
        self._patterns, self._root = globs(patterns), root
        self._known: dict[str, _Level | None] = {}

    def below(self, folder: str, failed: Callable[[str, str], None]) -> Iterator[tuple[str, str]]:
        """The Python files below a folder that is named, sorted, with their real paths.

        What excludes the folder itself, or all that is in it, does not count.  A folder that links lead to twice is
        visited once.  `failed` is told of a folder that cannot be listed, and why.
        """
        start = os.path.abspath(folder)
        patterns = self._beside(start)
        levels = self._levels(start)
        seen: set[tuple[int, int]] = set()
        waiting = [_Step(folder, os.path.basename(start), start, os.path.realpath(start), True, levels)]
        while waiting:
            step = waiting.pop()
            if not step.folder:
                yield step.path, step.real
                continue
            try:
                status = os.stat(step.path)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(step.path) as listed:
                    entries = {entry.name: entry for entry in listed}
            except OSError as error:
                failed(step.path, error.strerror or str(error))
                continue
            if "pyvenv.cfg" in entries and step.whole != start:
                continue
            own = self._gitignore(step.whole) if ".gitignore" in entries else None
            if own is not None and step.whole == start and self._ignores_itself(own):
                own = None
            around = (*step.levels, own) if own is not None else step.levels
            found = [inner for entry in entries.values() if (inner := step.inside(entry, around)) is not None]
            kept = [inner for inner in found if not self._left_out(inner, patterns)]
            waiting.extend(sorted(kept, key=lambda inner: inner.order, reverse=True))

    def covers(self, path: str) -> bool:
        """Whether a file or folder is left out, by itself or by a folder around it in the project."""
        whole = os.path.abspath(path)
        inside = _relative(whole, self._root)
        step = self._root if inside is not None else os.path.dirname(whole)
        for name in (inside or os.path.basename(whole)).split("/"):
            step = os.path.join(step, name)
            folder = os.path.isdir(step)
            if self._patterns.match(_bare(step), name, folder):
                return True
            if folder and os.path.isfile(os.path.join(step, "pyvenv.cfg")):
                return True
        return self._ignored(whole)

    def _left_out(self, entry: _Step, patterns: Globs) -> bool:
        if patterns.match(_bare(entry.whole), entry.name, entry.folder):
            return True
        return _matched(entry.levels, entry.whole, entry.name, entry.folder)

    def _beside(self, start: str) -> Globs:
        """The patterns without those that mean everything in a folder."""
        path = _bare(os.path.join(start, _PROBE))
        installed = any(os.path.isfile(os.path.join(folder, "pyvenv.cfg")) for folder in _upward(start))
        return Globs(
            tuple(
                glob
                for glob in self._patterns.listed
                if not glob.matches(path, _PROBE, False)
                and not (installed and not glob.anchored and glob.matches(path, _PACKAGES, True))
            )
        )

    def _ignores_itself(self, level: _Level) -> bool:
        """Whether a folder inside of a project ignores all that is in it, as caches and virtual environments do."""
        inner = level.folder not in (self._root, self._top(level.folder))
        return inner and _matched((level,), os.path.join(level.folder, _PROBE), _PROBE, False)

    def _levels(self, start: str) -> tuple[_Level, ...]:
        """The .gitignores around a folder; none where they exclude the folder or what is in it."""
        top = self._top(start)
        levels = self._above(start, top)
        probe = os.path.join(start, _PROBE)
        ignored = start != top and (self._ignored(start) or _matched(levels, probe, _PROBE, False))
        return () if ignored else levels

    def _ignored(self, whole: str) -> bool:
        """Whether a .gitignore means a path, or a folder around it."""
        top = self._top(os.path.dirname(whole))
        inside = _relative(whole, top)
        step = top
        for name in inside.split("/") if inside else ():
            levels = self._above(os.path.join(step, name), top)
            step = os.path.join(step, name)
            if _matched(levels, step, name, os.path.isdir(step)):
                return True
        return False

    def _above(self, whole: str, top: str) -> tuple[_Level, ...]:
        """The .gitignores of the folders around a path, from `top` on."""
        found: list[_Level] = []
        for folder in _upward(os.path.dirname(whole)):
            if folder != top and _relative(folder, top) is None:
                break
            level = self._gitignore(folder)
            if level is not None:
                found.append(level)
        private = self._level(top, os.path.join(_repository(top), "info", "exclude"))
        return tuple(reversed([*found, private] if private is not None else found))

    def _gitignore(self, folder: str) -> _Level | None:
        return self._level(folder, os.path.join(folder, ".gitignore"))

    def _level(self, folder: str, file: str) -> _Level | None:
        if file not in self._known:
            lines = _lines(file)
            self._known[file] = _Level(folder, globs(lines)) if lines else None
        return self._known[file]

    def _top(self, folder: str) -> str:
        """Where .gitignores begin to count for a folder."""
        for above in _upward(folder):
            if os.path.lexists(os.path.join(above, REPOSITORY)):
                return above
        return self._root if folder == self._root or _relative(folder, self._root) is not None else folder


@dataclass(frozen=True, slots=True)
class _Step:
    """A file or folder on the way: as it is shown, whole (absolute), and real (without links)."""

    path: str
    name: str
    whole: str
    real: str
    folder: bool
    levels: tuple[_Level, ...] = ()  # those of the folders around it

    @property
    def order(self) -> str:
        return self.name + "/" if self.folder else self.name

    def inside(self, entry: os.DirEntry[str], levels: tuple[_Level, ...]) -> _Step | None:
        """An entry of this folder, None for what is neither a folder nor a Python file."""
        try:
            folder = entry.is_dir()
            if not folder and not (entry.name.endswith(".py") and entry.is_file()):
                return None
        except OSError:  # a link to itself
            return None
        path = entry.name if self.path == "." else os.path.join(self.path, entry.name)
        real = os.path.realpath(path) if entry.is_symlink() else os.path.join(self.real, entry.name)
        return _Step(path, entry.name, os.path.join(self.whole, entry.name), real, folder, levels)


def _relative(whole: str, folder: str) -> str | None:
    """A path relative to a folder that it lies in."""
    prefix = folder if folder.endswith(os.sep) else folder + os.sep
    return whole[len(prefix) :].replace(os.sep, "/") if whole.startswith(prefix) else None


def _bare(whole: str) -> str:
    """An absolute path as patterns have it."""
    return whole.replace(os.sep, "/").lstrip("/")


def _upward(folder: str) -> Iterator[str]:
    """A folder and those around it, from the inside out."""
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _repository(top: str) -> str:
    """Where the repository of a folder keeps its data; in another worktree .git is a file that leads there."""
    data = os.path.join(top, REPOSITORY)
    if os.path.isfile(data):
        for line in _lines(data):
            if line.startswith("gitdir: "):
                own = os.path.join(top, line.removeprefix("gitdir: ").strip())
                common = _lines(os.path.join(own, "commondir"))
                return os.path.join(own, common[0].strip()) if common else own
    return data


def _lines(path: str) -> list[str]:
    """The lines of a file; none of one that is not there, or is a pipe that would be waited for."""
    if not os.path.isfile(path):
        return []
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            return file.read().split("\n")
    except OSError:
        return []


def _matched(levels: tuple[_Level, ...], whole: str, name: str, folder: bool) -> bool:
    """Whether .gitignores mean a path: the innermost one that says anything decides."""
    for level in reversed(levels):
        found = level.patterns.match(_relative(whole, level.folder), name, folder)
        if found is not None:
            return found
    return False
