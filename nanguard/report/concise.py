"""The concise format: a finding is one line, as editors and other tools parse it."""

from __future__ import annotations

from collections.abc import Sequence

from nanguard.finding import Finding
from nanguard.report.escaping import visible
from nanguard.report.place import place


def render(findings: Sequence[Finding]) -> str:
    """The findings, a line each."""
    return "".join(line(finding) + "\n" for finding in findings)


def line(finding: Finding) -> str:
    """``path:line:column: CODE [*] message``; the star where a safe fix is available."""
    at = place(finding.span)
    star = " [*]" if fixable(finding) else ""
    return visible(f"{finding.span.path}:{at.line}:{at.column}: {finding.code}{star} {finding.message}")


def fixable(finding: Finding) -> bool:
    """Whether `--fix` makes the fix of a finding: it is safe, and the finding is proved."""
    return finding.fix is not None and finding.fix.safe and bool(finding.fix.edits) and finding.severity != "info"
