"""Adding: a comment that suppresses it for each finding of a report, for a project that begins with nanguard."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nanguard.errors import NanguardError
from nanguard.finding import Edit, Finding, Span
from nanguard.repair.sourcetext import SourceText, read, write
from nanguard.settings import UNUSED
from nanguard.suppress.comments import IGNORE, pieces
from nanguard.suppress.layout import Layout, Remark, layout

Key = TypeVar("Key")

_WIDTH = 120  # characters of a line, above which the comment gets a line of its own


@dataclass(slots=True)
class Added:
    """What was done: the findings that have a comment now, the others, and why files were left as they were."""

    done: list[Finding] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)
    files: int = 0
    errors: list[str] = field(default_factory=list)


def add_ignores(findings: Sequence[Finding], reason: str) -> Added:
    """Write ``# nanguard: ignore[CODE]`` for each finding into its file, behind its line or above its statement.

    Each file is written at once or not at all.  Findings about comments (NG002) are left.  Raises `NanguardError` for
    a reason that cannot stand in a comment.
    """
    check_reason(reason)
    added = Added()
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.code == UNUSED.code:
            added.left.append(finding)
        else:
            by_file.setdefault(os.path.realpath(finding.span.path), []).append(finding)
    for own in by_file.values():
        path = own[0].span.path
        try:
            before = read(path)
            after, done = with_ignores(path, before, own, reason)
            if done:
                write(path, before, after)
        except NanguardError as error:
            added.errors.append(str(error))
            done = []
        added.files += bool(done)
        added.done += done
        added.left += [finding for finding in own if finding not in done]
    return added


def ignore_edits(text: SourceText, finding: Finding) -> tuple[Edit, ...]:
    """The edits that put a comment for one finding into a text; none where there is no place for it."""
    plan = _Plan(finding.span.path, text, layout(text.source), "")
    return tuple(plan.edits()) if finding.code != UNUSED.code and plan.take(finding) else ()


def check_reason(reason: str) -> None:
    """Raise `NanguardError` for a reason that cannot stand in a comment."""
    if not reason.isprintable() or any(True for _ in pieces(f"# {reason}")):
        raise NanguardError(
            f"--add-ignores: the reason must be one line without a directive of its own, not {reason!r}"
        )


def with_ignores(
    path: str, data: bytes, findings: Sequence[Finding], reason: str
) -> tuple[bytes, list[Finding]]:  # fmt: skip
    """The bytes of a file with comments for findings in it, and the findings that have one.

    Raises `NanguardError` where that would change more than comments.
    """
    try:
        text = SourceText.decoded(data)
        tree = _tree(text.source)
    except (SyntaxError, ValueError, LookupError):
        raise NanguardError(f"{path}: no comments were added, since it does not parse any more; run again") from None
    plan = _Plan(path, text, layout(text.source), reason)
    done = [finding for finding in findings if plan.take(finding)]
    edited, _ = text.edited(plan.edits())
    try:
        after = edited.encoded()
        same = SourceText.decoded(after).text == edited.text and _tree(edited.source) == tree
    except (SyntaxError, ValueError, LookupError):
        same = False
    if not same:
        raise NanguardError(f"{path}: no comments were added, since the reason cannot be written in its encoding")
    return after, done


def _tree(source: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.dump(ast.parse(source))


@dataclass(slots=True)
class _Plan:
    """The comments to add to a file: codes by the comment they go into, or by the line they go behind or above."""

    path: str
    text: SourceText
    layout: Layout
    reason: str
    merged: dict[Remark, list[str]] = field(default_factory=dict)
    behind: dict[int, list[str]] = field(default_factory=dict)
    above: dict[int, list[str]] = field(default_factory=dict)
    firsts: dict[int, int] = field(default_factory=dict)  # the first line of the statement of a line

    def take(self, finding: Finding) -> bool:
        """Find a place for the code of a finding; false where there is no statement."""
        logical = self.layout.around(finding.span.line)
        if logical is None:
            return False
        first, last = logical
        line = max(first, min(finding.span.end_line, last))
        self.firsts[line] = first
        known = next((remark for remark in self.layout.remarks if remark.first == first and _directive(remark)), None)
        if known is not None:
            _put(self.merged, known, finding.code)
        elif line in self.layout.closed:
            _put(self.above, first, finding.code)
        else:
            _put(self.behind, line, finding.code)
        return True

    def edits(self) -> Iterator[Edit]:
        """The edits of the text."""
        above = {line: list(codes) for line, codes in self.above.items()}
        for remark, codes in self.merged.items():
            edit = self._into(remark, codes)
            if edit is not None:
                yield edit
            else:
                for code in codes:
                    _put(above, remark.first, code)
        for line, codes in self.behind.items():
            row = self.text.rows[line - 1][1]
            kept = row.rstrip()
            new = f"  {self._comment(codes)}"
            if len(kept) + len(new) <= _WIDTH:
                yield Edit(Span(self.path, line, _width(kept), line, _width(row)), new)
            else:
                for code in codes:
                    _put(above, self.firsts[line], code)
        for line, codes in above.items():
            row = self.text.rows[line - 1][1]
            indent = row[: len(row) - len(row.lstrip())]
            yield Edit(Span(self.path, line, 0, line, 0), f"{indent}{self._comment(codes)}\n")

    def _comment(self, codes: Iterable[str]) -> str:
        return f"# nanguard: ignore[{', '.join(codes)}]" + (f" -- {self.reason}" if self.reason else "")

    def _into(self, remark: Remark, codes: Sequence[str]) -> Edit | None:
        """The edit that puts codes into a comment; None where its line would become too long."""
        start, end, given, has_reason = _directive(remark) or (0, 0, (), True)
        new = ", ".join((*given, *(code for code in codes if code not in given))) + "]"
        if self.reason and not has_reason:
            new += f" -- {self.reason}"
        row = self.text.rows[remark.line - 1][1]
        if not remark.alone and len(row) + len(new) - (end - start) > _WIDTH:
            return None
        first, last = (remark.column + _width(remark.text[:offset]) for offset in (start, end))
        return Edit(Span(self.path, remark.line, first, remark.line, last), new)


def _directive(remark: Remark) -> tuple[int, int, tuple[str, ...], bool] | None:
    """Where in a comment the codes of an ignore stand, with the bracket behind; the codes, and if a reason follows."""
    for piece in pieces(remark.text):
        if piece.kind == IGNORE and not piece.problem and remark.last:
            return piece.codes_start, piece.codes_end + 1, piece.codes, bool(piece.reason)
    return None


def _put(table: dict[Key, list[str]], key: Key, code: str) -> None:
    codes = table.setdefault(key, [])
    if code not in codes:
        codes.append(code)


def _width(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
