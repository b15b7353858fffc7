"""Statistics: how many findings of each rule there are, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nanguard.finding import Finding
from nanguard.report.concise import fixable


def render(findings: Sequence[Finding]) -> str:
    """A row for each rule, the most frequent first; nothing where there are no findings."""
    if not findings:
        return ""
    from tabulate import tabulate

    counts = Counter((finding.code, finding.name) for finding in findings)
    repaired = Counter(finding.code for finding in findings if fixable(finding))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(count, code, name, repaired[code]) for (code, name), count in ordered]
    return tabulate(rows, headers=("count", "code", "name", "fixable")) + "\n"
