"""Silence: which findings the comments of their files suppress, and which comments that leaves without a use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from nanguard.finding import Comment, Directive, Edit, Finding, Fix, Span, Suppressed
from nanguard.settings import UNUSED, Name, fits
from nanguard.suppress.comments import NOQA, covers, pieces

IN_SOURCE = "inSource"
Use = tuple[Span, Directive, str]  # a code of a directive of the comment at a place


@dataclass(slots=True)
class Silenced:
    """Findings that are left and findings that comments suppress, and the codes that did so."""

    left: list[Finding] = field(default_factory=list)
    suppressed: list[Suppressed] = field(default_factory=list)
    used: set[Use] = field(default_factory=set)


def silenced(findings: Sequence[Finding], comments_of: Callable[[str], Sequence[Comment]]) -> Silenced:
    """Part findings into those that comments of their own files suppress, and the others."""
    parted = Silenced()
    for finding in findings:
        uses = list(_uses(finding, comments_of(finding.span.path)))
        parted.used.update(uses)
        if uses:
            reason = next((directive.reason for _, directive, _ in uses if directive.reason), "")
            parted.suppressed.append(Suppressed(finding, IN_SOURCE, reason))
        else:
            parted.left.append(finding)
    return parted


def _uses(finding: Finding, comments: Sequence[Comment]) -> Iterator[Use]:
    rule = Name(finding.code, finding.name)
    for comment in comments:
        for directive in comment.directives:
            if not covers(directive, finding.span.line):
                continue
            if directive.kind == NOQA and not directive.codes:
                yield comment.span, directive, ""
            for code in directive.codes:
                if fits(code, rule):
                    yield comment.span, directive, code


def unused(
    comment: Comment, used: set[Use], target: str, judged: Callable[[Directive, str], bool]
) -> Finding | None:  # fmt: skip
    """The finding (NG002) about the codes of a comment that suppress nothing, with a fix that takes them away.

    None where all are of use, or are not `judged`: whether there is anything to suppress was not settled.
    """
    idle = {
        (directive.kind, code)
        for directive in comment.directives
        for code in directive.codes
        if code not in directive.expected
        and (comment.span, directive, code) not in used
        and not fits(code, UNUSED)
        and (directive.kind != NOQA or code.startswith("NG"))
        and judged(directive, code)
    }
    if not idle:
        return None
    text = without(comment.text, idle)
    codes = [code for directive in comment.directives for code in directive.codes if (directive.kind, code) in idle]
    what = f"write `{text}`" if text else "remove the comment"
    message = f"{', '.join(dict.fromkeys(codes))}: nothing to suppress here; {what}"
    return Finding(
        code=UNUSED.code, name=UNUSED.name, hazard="misuse", severity="warning", span=comment.span, target=target,
        expression=comment.text, message=message, confirmed=True,
        fix=Fix("removal", text, True, (_edit(comment, text),)),
    )  # fmt: skip


def without(text: str, idle: Collection[tuple[str, str]]) -> str:
    """The text of a comment without some codes, each with the kind of its directive; empty if nothing is left to say.

    A directive without codes goes with its reason; what else the comment says stays.
    """
    kept, done = "", 0
    for piece in pieces(text):
        codes = [code for code in piece.codes if (piece.kind, code) not in idle]
        kept += text[done : piece.start]
        done = piece.end
        if len(codes) == len(piece.codes):
            kept += text[piece.start : piece.end]
        elif codes:
            comma = ", " if " " in text[piece.codes_start : piece.codes_end].strip() else ","
            kept += text[piece.start : piece.codes_start] + comma.join(codes) + text[piece.codes_end : piece.end]
        else:
            kept = kept.rstrip()
    kept = (kept + text[done:]).strip()
    return kept if kept.strip("# \t") else ""


def _edit(comment: Comment, text: str) -> Edit:
    span = comment.span
    if text:
        return Edit(span, text)
    if comment.alone:
        return Edit(replace(span, column=0, end_line=span.line + 1, end_column=0), "")
    return Edit(replace(span, column=comment.margin), "")
