"""Settled: whether a check saw all that any check would see of a place, so that what it did not find is not there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nanguard.finding import FileResult, Target
from nanguard.project import CONFIGURATIONS, REPOSITORY, SETUPS, marked
from nanguard.reading.files import Files
from nanguard.settings import Settings

_IMPORTS = re.compile(rb"^[ \t]*(?:from|import)\b(?:[^\n(]*\([^)]*\)|[^\n]*)", re.MULTILINE)
_WORD = re.compile(rb"[^\W\d]\w*")


def settled(result: FileResult, first: int = 0, last: int = 0) -> bool:
    """Whether all of a file, or what is around some lines, was seen as far as it can be.

    Either reading left nothing to prove, or what is there was traced; both without a failure.
    """
    if not whole(result):
        return False
    if result.answered:
        return all(target.reason is None for target in result.targets)
    around = list(_around(result.targets, first, last)) or result.targets
    return all(target.capture == "trace" and target.reason is None for target in around)


def whole(result: FileResult) -> bool:
    """Whether all of a file was asked for and looked at."""
    return result.whole and not any(note.failed for note in result.notes)


def target_at(targets: Iterable[Target], first: int, last: int) -> str:
    """The name of the innermost target that some lines are in, empty at the top of a file."""
    found = max(_around(targets, first, last), key=lambda target: target.span.line, default=None)
    return found.name if found else ""


def _around(targets: Iterable[Target], first: int, last: int) -> Iterator[Target]:
    return (target for target in targets if first and target.span.line <= last and first <= target.span.end_line)


@dataclass(slots=True)
class Outside:
    """The files of a project that were not checked: what they import may be found wrong only from there."""

    checked: Callable[[str], bool]  # whether a file was
    _imports: dict[str, frozenset[str]] = field(default_factory=dict)  # by folder

    def imports(self, path: str) -> bool:
        """Whether a file of the same project that was not checked may import a file; told by the words of imports."""
        real = Path(os.path.realpath(path))
        root, deep = _root(real)
        if root not in self._imports:
            self._imports[root] = frozenset(self._words(root, deep))
        return (real.parent.name if real.stem == "__init__" else real.stem) in self._imports[root]

    def _words(self, root: str, deep: bool) -> Iterator[str]:
        for path in _files(root, deep):
            if self.checked(path):
                continue
            try:
                data = Path(path).read_bytes()
            except OSError:
                continue
            for line in _IMPORTS.findall(data):
                yield from (word.decode("utf-8", "replace") for word in _WORD.findall(line))


def _root(path: Path) -> tuple[str, bool]:
    """The folder of a file's project, with what is below it; without a project its own folder, and that alone."""
    root = marked(path.parent, (*CONFIGURATIONS, *SETUPS, REPOSITORY))
    return (str(root), True) if root is not None else (str(path.parent), False)


def _files(root: str, deep: bool) -> Iterator[str]:
    if deep:
        return (file.path for file in Files([root], Settings()))
    return (str(path) for path in Path(root).glob("*.py"))
