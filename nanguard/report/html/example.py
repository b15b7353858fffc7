"""The plot of a rule: that of its first example with a proof, as exact as can be."""

from __future__ import annotations

from nanguard.report.html.drawn import Plot
from nanguard.report.html.plot import Drawing
from nanguard.report.html.plots import plot
from nanguard.report.html.subject import Subjects, proved, shown
from nanguard.settings import Settings


def rule_plot(code: str, files: tuple[str, ...], exhaustive: bool) -> Plot | None:
    """The plot of a rule (`files` are those of rules beside nanguard's own); None where there is none."""
    subject = Subjects(Settings(rules=files)).example(code)
    seen = shown(subject, proved(subject)) if subject is not None else None
    if subject is None or seen is None:
        return None
    return plot(Drawing(seen.pair, subject.matcher, seen.witness), exhaustive, limited=False)
