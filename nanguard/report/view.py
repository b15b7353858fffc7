"""View: what a format is asked to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nanguard.finding import Finding, Report
from nanguard.fingerprint import fingerprints
from nanguard.settings import Settings


@dataclass(frozen=True, slots=True)
class View:
    """A report, those of its findings that are to be shown, and the settings it was made with."""

    report: Report
    findings: Sequence[Finding]
    settings: Settings = field(default_factory=Settings)
    colour: bool = False


def failing(findings: Sequence[Finding], settings: Settings) -> list[Finding]:
    """Those of some findings that fail a run: what is merely possible does so only where that is asked for."""
    return [finding for finding in findings if settings.pedantic or finding.severity != "info"]


def marks(report: Report, findings: Sequence[Finding]) -> tuple[str, ...]:
    """The fingerprint of each of some findings; those that are not shown count in the numbering."""
    silent = (item.finding for item in report.suppressed)
    listed = {id(finding): finding for finding in (*report.findings, *silent, *findings)}
    known = dict(zip(listed, fingerprints(tuple(listed.values())), strict=True))
    return tuple(known[id(finding)] for finding in findings)
