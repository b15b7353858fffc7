"""Gather: what is known of each finding beside itself, worked out for all of a report, file by file.

Several processes do so where there are several files; what comes out is the same for any number of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanguard.finding import Finding
from nanguard.report.html.facts import Facts
from nanguard.report.html.picture import Figure
from nanguard.running.wire import Failure
from nanguard.settings import Settings

if TYPE_CHECKING:
    from nanguard.report.html.work import Found

MOST = 1000  # findings that have plots, so that a page of many more stays one that a browser opens
_STATIC = "No plot: the report was made with --static."
_NO_TORCH = "No plot: torch is not installed here."
_TOO_MANY = "No plot: only the first {most} findings of a report have one."
_NONE = "No plot: the expression does not run by itself, or has no exact value at the inputs of a plot."


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a finding, with its error plot, or why it has none."""

    facts: Facts = field(default_factory=Facts)
    figure: Figure | None = None
    without: str = ""


def gather(findings: Sequence[Finding], settings: Settings) -> list[Known]:
    """What is known of each finding; without torch, or with --static, only what needs none of it."""
    from nanguard.running.checking import has_torch

    if settings.static or not has_torch():
        return [Known(without=_STATIC if settings.static else _NO_TORCH) for _ in findings]
    files: dict[str, list[int]] = {}
    for number, finding in enumerate(findings[:MOST]):
        files.setdefault(finding.span.path, []).append(number)
    too_many = Known(without=_TOO_MANY.format(most=MOST))
    known = dict.fromkeys(range(MOST, len(findings)), too_many)
    files = dict(sorted(files.items(), key=lambda item: -len(item[1])))  # what takes longest is begun first
    figures: dict[str, Figure | None] = {}
    for numbers, answer in zip(files.values(), _answers(findings, files, settings), strict=True):
        if isinstance(answer, Failure):
            known.update(dict.fromkeys(numbers, Known(without=f"No plot: {answer.reason}.")))
            continue
        for name, figure in answer.figures.items():
            figures.setdefault(name, figure)
        for number, facts in zip(numbers, answer.facts, strict=True):
            known[number] = _known(findings[number], facts, figures)
    return [known[number] for number in range(len(findings))]


def _known(finding: Finding, facts: Facts, figures: Mapping[str, Figure | None]) -> Known:
    figure = figures.get(facts.figure) if facts.figure is not None else None
    remark = finding.confirmed and finding.witness is None  # about a comment, of which there is nothing to plot
    return Known(facts, figure, "" if figure is not None or remark else _NONE)


def _answers(
    findings: Sequence[Finding], files: Mapping[str, Sequence[int]], settings: Settings
) -> Iterator[Found | Failure]:
    """What there is to say of the findings of each file."""
    with _single_thread():  # before processes are forked, which could not use the threads of this one
        from nanguard.report.html.work import Asked, Found, Worker
        from nanguard.running.processes import processors
        from nanguard.running.readers import read_all

        asked = [Asked(path, tuple(findings[number] for number in numbers)) for path, numbers in files.items()]
        jobs = min(settings.jobs or processors(), len(asked))
        worker = Worker(settings)
        if jobs <= 1:
            yield from map(worker.work, asked)
            return
        for _, answer in read_all(asked, Asked, Found, worker.work, jobs, lambda: None):
            yield answer


@contextmanager
def _single_thread() -> Iterator[None]:
    from nanguard.lazy import load_torch

    torch = load_torch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
