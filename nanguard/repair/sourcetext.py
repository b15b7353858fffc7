"""Sourcetext: a file as its bytes say it, so that an edit changes nothing else; and how it is written back."""

from __future__ import annotations

import io
import os
import stat
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from nanguard.errors import NanguardError
from nanguard.finding import Edit
from nanguard.reading.discover import bytes_of, without_waiting
from nanguard.repair.ground import LINE_END
from nanguard.writing import replace


@dataclass(frozen=True)
class SourceText:
    """The text of a file with its own line ends, and the encoding (with or without a mark) that it is written in."""

    text: str
    encoding: str

    @classmethod
    def decoded(cls, data: bytes) -> SourceText:
        """The text in the encoding that the bytes declare; raises `ValueError` or `SyntaxError` where they are none."""
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return cls(data.decode(encoding), encoding)

    def encoded(self) -> bytes:
        """The bytes; raises `ValueError` for a character that the encoding has not got."""
        return self.text.encode(self.encoding)

    @cached_property
    def source(self) -> str:
        """The text with line ends as ``\\n``, as the tree counts it."""
        return LINE_END.sub("\n", self.text)

    @cached_property
    def rows(self) -> list[tuple[int, str, str]]:
        """The lines: where each begins, its text, and its end."""
        found, start = [], 0
        for end in LINE_END.finditer(self.text):
            found.append((start, self.text[start : end.start()], end.group()))
            start = end.end()
        return [*found, (start, self.text[start:], "")]

    def offset(self, line: int, column: int) -> int:
        """Where a position of the tree is in the text; a line past the last one is the end."""
        if line > len(self.rows):
            return len(self.text)
        start, text, _ = self.rows[line - 1]
        before = text.encode("utf-8", "surrogatepass")[:column]
        return start + len(before.decode("utf-8", "surrogatepass"))

    def range(self, edit: Edit) -> tuple[int, int]:
        """What of the text an edit replaces."""
        span = edit.span
        return self.offset(span.line, span.column), self.offset(span.end_line, span.end_column)

    def edited(self, edits: Iterable[Edit]) -> tuple[SourceText, dict[Edit, tuple[int, int]]]:
        """The text with edits that do not overlap made, and where each stands in it."""
        parts: list[str] = []
        places: dict[Edit, tuple[int, int]] = {}
        done = length = 0
        for edit in sorted(edits, key=lambda edit: (*self.range(edit), edit.text)):
            start, end = self.range(edit)
            text = self.with_line_ends(edit)
            length += start - done
            places[edit] = (length, length + len(text))
            parts += [self.text[done:start], text]
            done, length = end, length + len(text)
        return SourceText("".join([*parts, self.text[done:]]), self.encoding), places

    def with_line_ends(self, edit: Edit) -> str:
        """The text of an edit with the line ends of the lines that it keeps, else of the line before."""
        if "\n" not in edit.text:
            return edit.text
        around = self.rows[edit.span.line - 1 : edit.span.end_line]
        before = [end for _, _, end in self.rows[: edit.span.line] if end]
        usual = next((end for _, _, end in around if end), before[-1] if before else "\n")
        *lines, last = edit.text.split("\n")
        ends = (next((end for _, text, end in around if end and line and text.endswith(line)), usual) for line in lines)
        return "".join(line + end for line, end in zip(lines, ends, strict=True)) + last


def overlapping(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> bool:
    """Whether ranges of the text meet, but for two insertions at one place."""
    return any(a < d and c < b for a, b in first for c, d in second)


def read(path: str) -> bytes:
    """The bytes of a file; raises `NanguardError`."""
    try:
        return bytes_of(path)
    except OSError as error:
        raise NanguardError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None


def write(path: str, before: bytes, after: bytes) -> None:
    """Put `after` in the place of `before`, at once or not at all.

    A link stays and what it leads to is written; mode and, where that is allowed, owner stay.  Nothing is left to do
    where another run has written the same.  Raises `NanguardError` where the file is read-only, cannot be written, or
    does not hold `before` any more.
    """
    real = os.path.realpath(path)
    try:
        kept = os.stat(real)
        if not stat.S_ISREG(kept.st_mode):
            raise NanguardError(f"{path}: not fixed, since it is no regular file any more; run again")
        if not kept.st_mode & 0o222 or not os.access(real, os.W_OK):
            raise NanguardError(f"{path}: not fixed, since it is read-only; change its permissions")
        with _locked(real):
            held = read(path)
            if held == after:
                return
            if held != before:
                raise NanguardError(f"{path}: not fixed, since it has been changed meanwhile; run again")
            replace(real, after)
    except OSError as error:
        why = error.strerror or str(error)
        raise NanguardError(f"{path}: not fixed, since it cannot be written ({why}); it is as it was") from None


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep other runs of nanguard from the file, where the system can."""
    with open(path, "rb", opener=without_waiting) as file:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
