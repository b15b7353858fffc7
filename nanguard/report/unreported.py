"""Unreported: what comments and the baseline keep out of the report, in numbers and by name."""

from __future__ import annotations

from collections.abc import Iterator

from nanguard.finding import Report
from nanguard.report import concise

_BY = {"inSource": "suppressed by a comment", "baseline": "in the baseline"}


def counts(report: Report) -> Iterator[str]:
    """Parts of the summary; what is merely possible does not count."""
    kinds = [item.kind for item in report.suppressed if item.finding.severity != "info"]
    if number := kinds.count("inSource"):
        yield f"{number} suppressed"
    if number := kinds.count("baseline"):
        yield f"{number} in the baseline"
    if number := len(report.stale):
        yield f"{number} of the baseline {'is' if number == 1 else 'are'} fixed (--write-baseline drops them)"


def listed(report: Report) -> str:
    """A line for each."""
    lines = []
    for item in report.suppressed:
        reason = f" ({item.reason})" if item.reason else ""
        lines.append(f"nanguard: note: {_BY[item.kind]}{reason}: {concise.line(item.finding)}")
    for entry in report.stale:
        where = f"{entry.path}: {entry.code} in {entry.target or 'the module'}"
        lines.append(f"nanguard: note: in the baseline, and fixed: {where}: {' '.join(entry.expression.split())}")
    return "".join(f"{line}\n" for line in lines)
