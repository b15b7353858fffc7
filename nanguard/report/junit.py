"""JUnit XML: a test case for each function that was checked, so that what is in order shows as passed.

A case has one failure, as most readers allow, with all findings of the function in it.  A file that could not be
checked is an error, a function that could not be analysed is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from nanguard.finding import Finding, Note, Report
from nanguard.report import concise, text
from nanguard.report.escaping import xml
from nanguard.report.place import relative

_ORDER = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class _Case:
    path: str
    name: str
    line: int
    findings: tuple[Finding, ...] = ()
    note: Note | None = None
    skipped: str | None = None


def render(report: Report, findings: Sequence[Finding]) -> str:
    """The report as XML, a suite for each file."""
    suites: dict[str, list[_Case]] = {}
    for case in _cases(report, findings):
        suites.setdefault(case.path, []).append(case)
    root = Element("testsuites", {"name": "nanguard", **_counts([case for suite in suites.values() for case in suite])})
    for path, cases in sorted(suites.items()):
        suite = SubElement(root, "testsuite", {"name": _path(path), **_counts(cases)})
        for case in cases:
            _add(suite, case)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _cases(report: Report, findings: Sequence[Finding]) -> Iterator[_Case]:
    left = {id(finding): finding for finding in findings}
    for target in report.targets:
        here = [one for one in left.values() if (one.span.path, one.target) == (target.path, target.name)]
        for one in here:
            del left[id(one)]
        skipped = (target.reason or "not analysed") if target.capture == "none" else None
        yield _Case(target.path, target.name, target.span.line, tuple(here), skipped=skipped)
    outside: dict[tuple[str, str], list[Finding]] = {}
    for one in left.values():
        outside.setdefault((one.span.path, one.target), []).append(one)
    for (path, name), found in outside.items():
        yield _Case(path, name or "(module)", found[0].span.line, tuple(found))
    for note in report.notes:
        if note.failed:
            yield _Case(note.path, "(file)", max(note.line, 1), note=note)


def _counts(cases: Sequence[_Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.findings) for case in cases)),
        "errors": str(sum(case.note is not None for case in cases)),
        "skipped": str(sum(case.skipped is not None and not case.findings for case in cases)),
    }


def _add(suite: Element, case: _Case) -> None:
    path = _path(case.path)
    given = {"classname": path, "name": xml(case.name), "file": path, "line": str(case.line)}
    element = SubElement(suite, "testcase", given)
    if case.findings:
        worst = min(case.findings, key=lambda finding: _ORDER.index(finding.severity))
        codes = ", ".join(dict.fromkeys(finding.code for finding in case.findings))
        about = worst.message if len(case.findings) == 1 else f"{len(case.findings)} findings: {codes}"
        failure = SubElement(element, "failure", {"message": xml(about), "type": worst.code})
        failure.text = xml("\n".join(_lines(case.findings)))
    elif case.note is not None:
        SubElement(element, "error", {"message": xml(case.note.message), "type": case.note.code})
    elif case.skipped is not None:
        SubElement(element, "skipped", {"message": xml(case.skipped)})


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield concise.line(finding)
        yield from (f"  {label}: {fact}" for label, fact in text.facts(finding))


def _path(path: str) -> str:
    return xml(relative(path))
