"""Place: where a span stands as people count, and the lines it covers."""

from __future__ import annotations

import linecache
from dataclasses import dataclass

from nanguard.finding import Span


@dataclass(frozen=True, slots=True)
class Place:
    """Lines and columns from 1, columns in characters, the end column one past the last character."""

    line: int
    column: int
    end_line: int
    end_column: int


def place(span: Span) -> Place:
    """The place of a span.

    Columns in UTF-8 bytes become columns in characters here and nowhere else.  Where the file cannot be read
    (any more), the bytes are counted.
    """
    return Place(
        span.line,
        _column(source_line(span.path, span.line), span.column),
        span.end_line,
        _column(source_line(span.path, span.end_line), span.end_column),
    )


def source_line(path: str, line: int) -> str:
    """A line of a file without its end, empty where there is none; cells of a notebook count as files."""
    linecache.checkcache(path)
    return linecache.getline(path, line).rstrip("\n")


def _column(line: str, column: int) -> int:
    data = line.encode("utf-8", "surrogatepass")
    return len(data[:column].decode("utf-8", "replace")) + max(0, column - len(data)) + 1
