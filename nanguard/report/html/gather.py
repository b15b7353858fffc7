"""Gather: what is known of each finding beside itself, worked out for all of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanguard.finding import Finding
from nanguard.report.html.card import Facts
from nanguard.settings import Settings

if TYPE_CHECKING:
    from nanguard.report.html.plots import Key, Plots
    from nanguard.report.html.subject import Shown, Subject, Subjects

SECONDS = 7.0  # of the processor, for all plots of a report
_STATIC = "No plot: the report was made with --static."
_NO_TORCH = "No plot: torch is not installed here."
_NO_TIME = "No plot: the time for plots was used up. `nanguard explain {code} --format html` draws that of the rule."
_NONE = "No plot: the expression does not run by itself, or has no exact value at the inputs of a plot."


def gather(findings: Sequence[Finding], settings: Settings) -> list[Facts]:
    """The facts of each finding; without torch, or with --static, only what needs none of it."""
    from nanguard.running.checking import has_torch

    if settings.static or not has_torch():
        return [Facts(without=_STATIC if settings.static else _NO_TORCH) for _ in findings]
    from nanguard.lazy import load_torch

    threads = load_torch().get_num_threads()
    load_torch().set_num_threads(1)
    try:
        return _gathered(findings, settings)
    finally:
        load_torch().set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class _Known:
    """A finding's subject where it is run, and the key of its plot."""

    subject: Subject
    shown: Shown | None
    key: Key | None


def _gathered(findings: Sequence[Finding], settings: Settings) -> list[Facts]:
    from nanguard.report.html.plots import Plots
    from nanguard.report.html.subject import Subjects

    subjects, plots = Subjects(settings), Plots(SECONDS)
    known = [_known(finding, subjects, plots) for finding in findings]
    plots.widen()
    plots.refine()
    return [_facts(finding, one, plots) for finding, one in zip(findings, known, strict=True)]


def _known(finding: Finding, subjects: Subjects, plots: Plots) -> _Known | None:
    from nanguard.report.html.subject import proved, shown

    subject = subjects.of(finding)
    if subject is None:
        return None
    seen = shown(subject, finding.witness if subject.own else proved(subject))
    return _Known(subject, seen, plots.add(subject, seen) if seen is not None else None)


def _facts(finding: Finding, known: _Known | None, plots: Plots) -> Facts:
    from nanguard.report.html.derive import derivation

    if known is None:  # no rule is behind it
        return Facts()
    plot = plots.made[known.key] if known.key is not None else None
    why = _NO_TIME.format(code=finding.code) if known.key is not None and plots.part >= 1 else _NONE
    without = "" if plot is not None else why
    if not known.subject.own:
        return Facts(plot, own=False, without=without)
    names = tuple(finding.witness.inputs) if finding.witness else ()
    seen = known.shown
    stable, slope = (seen.stable, seen.slope) if seen is not None else (None, None)
    return Facts(plot, derivation(known.subject), names, stable=stable, slope=slope, without=without)
