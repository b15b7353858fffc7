"""Work: what is known of the findings of one file beside themselves, and the plots of their expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nanguard.finding import Finding
from nanguard.report.html.derive import derivation
from nanguard.report.html.facts import Facts
from nanguard.report.html.picture import Figure, figure
from nanguard.report.html.plot import Drawing
from nanguard.report.html.plots import key, plot
from nanguard.report.html.subject import Shown, Subject, Subjects, proved, shown
from nanguard.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """The findings of a file about which something is to be found out."""

    path: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about each, and the figures that these name by their keys; None is one that cannot be had.

    Each process tells of a figure once.
    """

    facts: tuple[Facts, ...]
    figures: Mapping[str, Figure | None]


@dataclass(slots=True)
class Worker:
    """Works files out, one after the other."""

    settings: Settings
    known: set[str] = field(default_factory=set)  # keys of figures that it has told of
    examples: dict[tuple[str, str], Subject | None] = field(default_factory=dict)  # of rules, by code and dtype

    def work(self, asked: Asked) -> Found:
        """What is to be known of the findings of a file."""
        names = tuple(sorted({finding.target for finding in asked.findings}))
        spans = frozenset(finding.span for finding in asked.findings)
        subjects = Subjects(self.settings, names, spans, self.examples)
        figures: dict[str, Figure | None] = {}
        return Found(tuple(self._facts(finding, subjects, figures) for finding in asked.findings), figures)

    def _facts(self, finding: Finding, subjects: Subjects, figures: dict[str, Figure | None]) -> Facts:
        subject = subjects.of(finding)
        if subject is None:  # no rule is behind it
            return Facts()
        seen = shown(subject, finding.witness if subject.own else proved(subject))
        name = self._figure(subject, seen, figures) if seen is not None else None
        if not subject.own:
            return Facts(name, own=False)
        names = tuple(finding.witness.inputs) if finding.witness else ()
        stable, slope = (seen.stable, seen.slope) if seen is not None else (None, None)
        return Facts(name, derivation(subject), names, stable=stable, slope=slope)

    def _figure(self, subject: Subject, seen: Shown, figures: dict[str, Figure | None]) -> str:
        drawing = Drawing(seen.pair, subject.matcher, seen.witness)
        name = key(drawing)
        if name not in self.known:
            self.known.add(name)
            drawn = plot(drawing)
            figures[name] = figure(drawn) if drawn is not None else None
        return name
