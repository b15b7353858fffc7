"""Positions: where the spans of a finding stand as an editor counts, and the edits of a fix as it makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lsprotocol import types

from nanguard.finding import Edit, Finding, Span
from nanguard.repair.sourcetext import SourceText, overlapping
from nanguard.suppress.adding import ignore_edits

_UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


@dataclass(frozen=True)
class Positions:
    """The text of a document, and the unit of its columns: "utf-8", "utf-16" or "utf-32", as agreed with the editor."""

    text: str
    encoding: str = "utf-16"

    @cached_property
    def _source(self) -> SourceText:
        return SourceText(self.text, "utf-8")

    @property
    def source(self) -> str:
        """The text as nanguard reads it: line ends as ``\\n``, no mark of the byte order."""
        return self._source.source.removeprefix("\ufeff")

    def range(self, span: Span) -> types.Range:
        """The range of a span; its lines count from 0, its columns in units of the encoding."""
        return types.Range(self._position(span.line, span.column), self._position(span.end_line, span.end_column))

    def line(self, line: int) -> types.Range:
        """A line without the blanks around what it says; lines count from 1."""
        text = self._source.rows[line - 1][1].encode("utf-8", "surrogatepass")
        start, end = len(text) - len(text.lstrip()), len(text.rstrip())
        return types.Range(self._position(line, min(start, end)), self._position(line, end))

    def _position(self, line: int, column: int) -> types.Position:
        rows = self._source.rows
        if line > len(rows):  # just behind the end
            return self._position(len(rows), len(rows[-1][1].encode("utf-8", "surrogatepass")))
        before = rows[line - 1][1].encode("utf-8", "surrogatepass")[:column].decode("utf-8", "replace")
        name, size = _UNITS[self.encoding]
        return types.Position(line - 1, len(before.encode(name, "surrogatepass")) // size)

    def edits(self, edits: Iterable[Edit]) -> list[types.TextEdit]:
        """The edits as the editor makes them, in the line ends of the document."""
        return [types.TextEdit(self.range(edit.span), self._source.with_line_ends(edit)) for edit in edits]

    def ignored(self, finding: Finding) -> tuple[Edit, ...]:
        """The edits after which a comment suppresses a finding."""
        return ignore_edits(self._source, finding)

    def apart(self, groups: Iterable[Sequence[Edit]]) -> list[Edit]:
        """The edits of those groups that can be made together, the ones that come first before others; each once.

        A group is made as a whole or not at all.
        """
        taken: dict[Edit, tuple[int, int]] = {}
        for edits in groups:
            new = {edit: self._source.range(edit) for edit in edits if edit not in taken}
            if not overlapping(list(new.values()), list(taken.values())):
                taken |= new
        return list(taken)


def touches(one: types.Range, other: types.Range) -> bool:
    """Whether two ranges have a place in common, be it only an end."""
    return _before(one.start, other.end) and _before(other.start, one.end)


def _before(one: types.Position, other: types.Position) -> bool:
    return (one.line, one.character) <= (other.line, other.character)
