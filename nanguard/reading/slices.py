"""Slices: a file as the statements at its top, of which functions and classes are parsed once they are needed.

Of a file that is followed for one of its functions most is never looked at, and to parse it takes longer than to read
what is.  Where a line begins at the margin, outside of strings that go over several lines, a statement begins: text for
which that does not hold (a bracket with lines at the margin, say) cannot be parsed in parts, and is parsed as a whole.
"""

from __future__ import annotations

import ast
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nanguard.cache.stamps import stamp

_MAX_BYTES = 400_000
_REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError)

_STRINGS = re.compile(
    r"""
    \#[^\n]*
    | \"\"\"[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"\"\"
    | '''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''
    | "[^"\\\n]*(?:\\.[^"\\\n]*)*"
    | '[^'\\\n]*(?:\\.[^'\\\n]*)*'
    """,
    re.VERBOSE | re.DOTALL,
)
_MARGIN = re.compile(r"^[^\s#)\]}]", re.MULTILINE)
_DEFINITION = re.compile(r"(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)")


@dataclass(slots=True, eq=False)
class Slice:
    """The text of a function or a class at the top of a file, or what has been made of it."""

    name: str
    line: int  # where it begins, from 0
    text: str
    parsed: ast.stmt | None = None

    @property
    def node(self) -> ast.stmt:
        """The definition; a statement without effect where it cannot be parsed."""
        if self.parsed is None:
            try:
                (self.parsed,) = _parse("\n" * self.line + self.text).body
            except _REFUSALS:
                self.parsed = ast.Pass(lineno=self.line + 1, col_offset=0, end_lineno=self.line + 1, end_col_offset=4)
            self.text = ""
        return self.parsed


@dataclass(frozen=True, slots=True, eq=False)
class Sliced:
    """The statements at the top of a file: definitions that are parsed when they are needed, and all others."""

    definitions: tuple[Slice, ...]
    others: tuple[ast.stmt, ...]


def sliced(path: Path) -> Sliced | None:
    """The statements of a file, None for one that cannot be read or is very long."""
    return _sliced(path, stamp(str(path)))


@lru_cache(maxsize=512)  # files of one project share most of the files they use
def _sliced(path: Path, stamped: str) -> Sliced | None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        with tokenize.open(path) as file:
            return slices(file.read())
    except (OSError, *_REFUSALS):
        return None


def slices(text: str) -> Sliced:
    """The statements of a text; raises `SyntaxError` and what else `ast.parse` does."""
    found: list[Slice] = []
    rest: list[str] = []  # the text without the definitions, line by line
    if "\f" in text:  # may stand before a statement at the margin
        return Sliced((), tuple(_parse(text).body))
    end = line = 0
    for start, stop, name in _definitions(text):
        between, definition = text[end:start], text[start:stop]
        line += between.count("\n")
        found.append(Slice(name, line, definition))
        lines = definition.count("\n")
        rest += [between, "\n" * lines]
        line, end = line + lines, stop
    rest.append(text[end:])
    try:
        return Sliced(tuple(found), tuple(_parse("".join(rest)).body))
    except SyntaxError:
        return Sliced((), tuple(_parse(text).body))


def _definitions(text: str) -> Iterator[tuple[int, int, str]]:
    """Where the functions and classes at the top of a text begin, with their decorators, and end, and their names."""
    begun: int | None = None  # the decorators of one, or itself
    name = ""
    for place in (*_margins(text), len(text)):
        if begun is not None and name:
            yield begun, place, name
            begun, name = None, ""
        definition = _DEFINITION.match(text, place)
        if definition is not None:
            begun, name = place if begun is None else begun, definition.group(1)
        elif begun is None and text.startswith("@", place):
            begun = place


def _margins(text: str) -> Iterator[int]:
    """The places at which lines begin at the margin, outside of strings."""
    strings = (found.span() for found in _STRINGS.finditer(text) if "\n" in found.group())
    first, last = next(strings, (len(text), len(text)))
    for found in _MARGIN.finditer(text):
        place = found.start()
        while place >= last < len(text):
            first, last = next(strings, (len(text), len(text)))
        if not first < place < last:
            yield place


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)
