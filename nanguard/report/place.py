"""Place: where a span stands as people count, and the lines it covers."""

from __future__ import annotations

import linecache
import os
from dataclasses import dataclass

from nanguard.finding import Span
from nanguard.report.escaping import valid


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


def source_text(path: str) -> str:
    """A file as its lines are shown, empty where it cannot be read; text from standard input counts as a file."""
    linecache.checkcache(path)
    return "".join(linecache.getlines(path))


def relative(path: str) -> str:
    """A path as tools on other machines take it: from this folder where it is inside of it, with slashes."""
    return valid(inside(path).replace(os.sep, "/"))


def inside(path: str) -> str:
    """A path from this folder, the whole path where it is not inside of it."""
    try:
        found = os.path.relpath(path)
    except ValueError:  # another drive
        return os.path.abspath(path)
    return os.path.abspath(path) if found == os.pardir or found.startswith(os.pardir + os.sep) else found


def _column(line: str, column: int) -> int:
    data = line.encode("utf-8", "surrogatepass")
    return len(data[:column].decode("utf-8", "replace")) + max(0, column - len(data)) + 1
