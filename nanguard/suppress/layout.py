"""Layout: the comments of a file, the statements that they belong to, and where another one can be put."""

from __future__ import annotations

import io
import token as kinds
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace

_BLANK = frozenset({tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING})
_OPENS, _CLOSES = getattr(kinds, "FSTRING_START", -1), getattr(kinds, "FSTRING_END", -1)  # from Python 3.12


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment: its line, its column in UTF-8 bytes, the column at which the blanks before it begin, and its text.

    Whether it is alone on its line, and inside of a statement.  It belongs to the logical line (a simple statement, or
    the head of a compound one) from `first` to `last`, in which it stands or above which it stands with nothing but
    comments between; 0 and 0 where there is none.
    """

    line: int
    column: int
    margin: int
    text: str
    alone: bool
    inside: bool
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The comments of a file in order, its logical lines, and the lines that no comment can be put behind.

    These end in a backslash, or inside of a string.
    """

    remarks: tuple[Remark, ...]
    logical: tuple[tuple[int, int], ...]
    closed: frozenset[int]

    def around(self, line: int) -> tuple[int, int] | None:
        """The first and last line of the logical line that a line is in."""
        return next((pair for pair in self.logical if pair[0] <= line <= pair[1]), None)


def layout(source: str) -> Layout:
    """The layout of a text with line ends as ``\\n``; of one that cannot be split into tokens, what comes before."""
    remarks: list[Remark] = []
    logical: list[tuple[int, int]] = []
    closed: set[int] = set()
    own: list[Remark] = []  # those of the statement in hand, or of the next one
    begin = 0  # of the statement in hand, 0 between statements
    strings: list[int] = []  # the lines in which f-strings that are open began
    last = tokenize.NEWLINE, 0  # kind and end of the token before
    lines = source.split("\n")
    for item in _tokens(source):
        row, end = item.start[0], item.end[0]
        if begin and last[0] not in (tokenize.NL, tokenize.COMMENT):
            closed.update(range(last[1], row))
        if item.type == tokenize.COMMENT:
            before = lines[row - 1][: item.start[1]]
            own.append(
                Remark(row, _width(before), _width(before.rstrip()), item.string, not before.strip(), bool(begin))
            )
        elif item.type == tokenize.NL and not begin and last != (tokenize.COMMENT, row):  # an empty line
            remarks += own
            own = []
        elif item.type == tokenize.NEWLINE:
            remarks += (replace(remark, first=begin or row, last=row) for remark in own)
            logical.append((begin or row, row))
            own, begin = [], 0
        elif item.type not in _BLANK:
            begin = begin or row
            if item.type == tokenize.STRING:
                closed.update(range(row, end))
            elif item.type == _OPENS:
                strings.append(row)
            elif item.type == _CLOSES:
                closed.update(range(strings.pop(), end))
        last = item.type, end
    return Layout((*remarks, *own), tuple(logical), frozenset(closed))


def _width(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(source).readline)
    except (tokenize.TokenError, SyntaxError):
        return
