"""Annotations of GitHub Actions: a workflow command for each finding, the worst first.

GitHub keeps 10 errors and 10 warnings of a step and drops the rest without a word, so the log gets the text report too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nanguard.finding import Finding
from nanguard.report.escaping import visible
from nanguard.report.place import place, relative

LIMIT = 10  # annotations of a kind that GitHub shows of one step
_LEVEL = {"error": "error", "warning": "warning", "info": "notice"}
_ORDER = tuple(_LEVEL)


def render(findings: Sequence[Finding]) -> str:
    """The findings, a command each."""
    ordered = sorted(findings, key=lambda finding: _ORDER.index(finding.severity))
    return "".join(_command(finding) + "\n" for finding in ordered)


def _command(finding: Finding) -> str:
    at = place(finding.span)
    properties = {
        "title": f"nanguard {finding.code} ({finding.name})",
        "file": relative(finding.span.path),
        "line": at.line,
        "endLine": at.end_line,
    }
    if at.line == at.end_line:  # columns of several lines are refused
        properties |= {"col": at.column, "endColumn": at.end_column}
    given = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{_LEVEL[finding.severity]} {given}::{_data(finding.message)}"


def _data(text: str) -> str:
    text = "".join(char if char in "\r\n" else visible(char) for char in text)
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def log(text: str) -> str:
    """A text for the log of a step, in which nothing is a workflow command (of the present or the older form)."""
    lines = (f" {line}" if line.startswith("::") else line for line in text.replace("##[", "## [").split("\n"))
    return "\n".join(lines)


def dropped(findings: Sequence[Finding]) -> str | None:
    """What to say where GitHub will not show all annotations."""
    counts = Counter(_LEVEL[finding.severity] for finding in findings)
    many = [f"{count} {level}s" for level, count in counts.items() if count > LIMIT]
    if not many:
        return None
    return f"{' and '.join(many)}: GitHub shows {LIMIT} annotations of a kind; all are in the report above"
