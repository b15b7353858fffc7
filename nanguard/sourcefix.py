"""Sourcefix: the edits of findings put into the source of a function."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from nanguard.checking import check_paths
from nanguard.discover import load_source, parse, targets
from nanguard.errors import NanguardError
from nanguard.finding import Edit, Finding, Fix, Target
from nanguard.settings import Settings


def rewritten(path: str, name: str, settings: Settings) -> str:
    """The source of a function, method or class with each finding in it replaced by what the rule offers.

    Gives the stable form, or the clamped one where the settings prefer that and the rule has one.  Raises
    `NanguardError` if the target is not in the file, or if what comes out does not parse.
    """
    source = load_source(path)
    known = targets(path, parse(path, source))
    target = _target(path, name, known)
    report = check_paths([f"{path}::{name}"], settings)
    failed = [note for note in report.notes if note.failed]
    if failed:
        raise NanguardError(f"{path}: {failed[0].message}")
    chosen = [fix for fix in (_fix(finding, settings.prefer) for finding in report.shown) if fix is not None]
    edits = [edit for fix in chosen for edit in fix.edits if edit.span.path == path and _inside(edit, target)]
    lines = source.encode().splitlines(keepends=True)
    start = target.span.line
    text = apply(lines, outermost(edits), start, target.span.end_line).decode()
    try:
        ast.parse(_dedented(text))
    except SyntaxError as error:
        raise NanguardError(f"{path}: the rewritten {name} does not parse ({error.msg}); please report this") from None
    return text.rstrip("\n") + "\n"


def _target(path: str, name: str, known: Sequence[Target]) -> Target:
    """The span of a name: that of the function, or from the first to the last function of a class."""
    exact = [target for target in known if target.name == name]
    if exact:
        return exact[0]
    inner = [target for target in known if target.name.startswith(name + ".")]
    if not inner:
        raise NanguardError(f"{path}: has no {name!r}; name a function, a class or Class.method")
    first, last = inner[0].span, inner[-1].span
    span = replace(first, end_line=max(last.end_line, first.end_line))
    return replace(inner[0], name=name, span=span)


def _fix(finding: Finding, prefer: str) -> Fix | None:
    """The fix of a finding that is asked for, else the one there is."""
    if prefer == "clamp":
        clamped = [fix for fix in (finding.clamp, finding.fix) if fix is not None and fix.kind == "clamp"]
        return clamped[0] if clamped else None
    return finding.fix


def _inside(edit: Edit, target: Target) -> bool:
    return target.span.line <= edit.span.line and edit.span.end_line <= target.span.end_line


def outermost(edits: Sequence[Edit]) -> list[Edit]:
    """The edits without those that lie inside of another one."""
    return [
        edit
        for edit in dict.fromkeys(edits)
        if not any(other.span != edit.span and other.span.covers(edit.span) for other in edits)
    ]


def apply(lines: Sequence[bytes], edits: Sequence[Edit], start: int, end: int) -> bytes:
    """Lines `start` to `end` (from 1, both included) with the edits made; columns are bytes of UTF-8."""
    kept = list(lines)
    for edit in sorted(edits, key=lambda edit: (edit.span.line, edit.span.column), reverse=True):
        span = edit.span
        head = kept[span.line - 1][: span.column]
        tail = kept[span.end_line - 1][span.end_column :]
        kept[span.line - 1 : span.end_line] = [head + edit.text.encode() + tail, *[b""] * (span.end_line - span.line)]
    return b"".join(kept[start - 1 : end])


def _dedented(text: str) -> str:
    """The text as a module: an indented method stands in a class."""
    return f"class _:\n{text}" if text[:1].isspace() else text
