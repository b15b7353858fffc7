"""Entries: the result of a file as plain lists for JSON, and back; what is read is validated value by value."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from nanguard.finding import Comment, FileResult, Finding, Note, Span, Target

_TEXT = type(None), str
_TARGETS = {(str, int, int, int, int, str, str, reason) for reason in _TEXT}


class Damaged(ValueError):
    """Something in a cache that is no entry."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that a result depends on, as it was: its stamp, and a hash of what it held."""

    path: str
    stamp: str
    digest: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A result, as lists for JSON, with what it depends on; `installed` is "" where that is no package.

    One that depends on how long things took as well is good `until` a time (of `time.time`), others for ever.
    """

    seen: tuple[Seen, ...]
    installed: str
    body: list[Any]  # the fields of the result but for its path
    until: float | None = None


def encode(result: FileResult) -> list[Any]:
    """The body of an entry."""
    targets = [_row(target) for target in result.targets]
    rest: list[Any] = [[], [], result.comments]  # None, or ()
    if _has_more(result.findings, result.notes, result.comments):
        from nanguard.running import wire

        rest = [wire.encode(part) for part in (result.findings, result.notes, result.comments)]
    return [targets, *rest, result.whole, result.answered]


def decode(path: str, body: object) -> FileResult:
    """The result of a file; raises `Damaged`."""
    match body:
        case [list(rows), findings, notes, comments, bool(whole), bool(answered)]:
            targets = tuple([_target(path, row) for row in rows])
        case _:
            raise Damaged("no result")
    if not _has_more(findings, notes, comments):
        return FileResult(path, targets, (), (), None if comments is None else (), whole, answered)
    from nanguard.running import wire

    try:
        return FileResult(
            path,
            targets,
            wire.decode(tuple[Finding, ...], findings),
            wire.decode(tuple[Note, ...], notes),
            wire.decode(tuple[Comment, ...] | None, comments),
            whole,
            answered,
        )
    except wire.WireError as error:
        raise Damaged(str(error)) from None


def _has_more(findings: object, notes: object, comments: object) -> bool:
    """Whether there is something in a result that few files have, for which more must be imported."""
    return any(part not in ((), [], None) for part in (findings, notes, comments))


def _row(target: Target) -> list[Any]:
    """A target without its path, which is that of its file."""
    span = target.span
    return [
        target.name, span.line, span.column, span.end_line, span.end_column, target.kind, target.capture,
        target.reason,
    ]  # fmt: skip


def _target(path: str, row: object) -> Target:
    if not isinstance(row, list) or tuple(map(type, row)) not in _TARGETS:
        raise Damaged("no target")
    name, line, column, end_line, end_column, kind, capture, reason = row
    span = Span(path, line, column, end_line, end_column)
    return Target(path, name, span, sys.intern(kind), sys.intern(capture), reason)
