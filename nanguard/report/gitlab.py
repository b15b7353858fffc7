"""The code quality report of GitLab: a JSON array, read by its merge request widget.

Of two findings with one fingerprint GitLab shows only the first; ours are all different.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanguard.finding import Finding, Report
from nanguard.report.escaping import json_text
from nanguard.report.place import place, relative
from nanguard.report.view import marks

_SEVERITY = {"error": "major", "warning": "minor", "info": "info"}


def render(report: Report, findings: Sequence[Finding]) -> str:
    """The findings as an array, empty where there are none."""
    listed = zip(findings, marks(report, findings), strict=True)
    return json_text([_issue(finding, mark) for finding, mark in listed]) + "\n"


def _issue(finding: Finding, mark: str) -> dict[str, object]:
    at = place(finding.span)
    return {
        "description": finding.message,
        "check_name": f"{finding.code} {finding.name}",
        "fingerprint": mark,
        "severity": _SEVERITY[finding.severity],
        "location": {"path": relative(finding.span.path), "lines": {"begin": at.line, "end": at.end_line}},
    }
