"""SARIF 2.1.0 (OASIS), as code scanning reads it: https://docs.oasis-open.org/sarif/sarif/v2.1.0/.

Columns count characters from 1 with an exclusive end, paths are relative to the folder that nanguard ran in, and what
a witness confirms is of very high precision.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import nanguard
from nanguard.finding import SEVERITY, Edit, Finding, Fix, Note, Span, Suppressed
from nanguard.fingerprint import NAME
from nanguard.matching.rule import Rule
from nanguard.matching.rules import load
from nanguard.report import explain, text
from nanguard.report.escaping import json_text
from nanguard.report.place import inside, place
from nanguard.report.view import View, marks
from nanguard.settings import Settings

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL = {"error": "error", "warning": "warning", "info": "note"}
_FIXES = {
    "stable": "Write the stable form",
    "clamp": "Write the clamped form",
    "removal": "Drop what suppresses nothing",
}
_ROOT = "%SRCROOT%"
_LONGEST = 1024  # characters of a description


def render(view: View) -> str:
    """The view as a log with one run."""
    silent = {id(item.finding): item for item in view.report.suppressed}
    findings = (*view.findings, *(item.finding for item in silent.values()))
    codes = tuple(sorted({finding.code for finding in findings}))
    rules = _rules(codes, findings, view.settings) if codes else []
    results = [
        {**_result(finding, codes.index(finding.code), mark), **_suppression(silent.get(id(finding)))}
        for finding, mark in zip(findings, marks(view.report, findings), strict=True)
    ]
    run = {
        "tool": {"driver": {"name": "nanguard", "version": nanguard.__version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The folder that nanguard ran in."}}},
        "invocations": [_invocation(view.report.notes)],
        "results": results,
    }
    return json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}) + "\n"


def _rules(codes: Sequence[str], findings: Sequence[Finding], settings: Settings) -> list[dict[str, Any]]:
    known = load(settings.rules)
    return [_rule(known.find(code), [one for one in findings if one.code == code]) for code in codes]


def _suppression(item: Suppressed | None) -> dict[str, Any]:
    if item is None:
        return {}
    why = {"justification": item.reason} if item.reason else {}
    return {"suppressions": [{"kind": "inSource" if item.kind == "inSource" else "external", **why}]}


def _rule(rule: Rule | None, findings: Sequence[Finding]) -> dict[str, Any]:
    """The rule of some findings; one that is not among those loaded is what its findings say."""
    first = findings[0]
    hazard, summary = (rule.hazard, rule.summary) if rule else (first.hazard, first.name)
    why = " ".join(rule.why.split()) if rule else ""
    level = _LEVEL[SEVERITY[hazard]]
    page = explain.rule_text(rule) if rule else f"# {first.name} ({first.code})"
    return {
        "id": first.code,
        "name": first.name,
        "shortDescription": {"text": _cut(summary)},
        "fullDescription": {"text": _cut(why or summary)},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": level},
        "properties": {
            "precision": "very-high" if all(finding.confirmed for finding in findings) else "medium",
            "problem.severity": "recommendation" if level == "note" else level,
            "tags": ["numerical-stability", "pytorch", hazard],
        },
    }


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3].rsplit(" ", 1)[0] + "..."


def _result(finding: Finding, index: int, mark: str) -> dict[str, Any]:
    fixes = [_fix(fix) for fix in (finding.fix, finding.clamp) if fix is not None and fix.edits]
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVEL[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [
            {
                "physicalLocation": {**_artifact(finding.span.path), "region": _region(finding.span)},
                "logicalLocations": [{"fullyQualifiedName": finding.target, "kind": "function"}],
            }
        ],
        "partialFingerprints": {NAME: mark},
        "properties": {"confirmed": finding.confirmed, "hazard": finding.hazard},
        **({"fixes": fixes} if fixes else {}),
    }


def _message(finding: Finding) -> str:
    """The message and what proves it, a sentence each: readers take the first for the title."""
    return ". ".join([finding.message, *(f"{label}: {fact}" for label, fact in text.facts(finding))]) + "."


def _fix(fix: Fix) -> dict[str, Any]:
    files = dict.fromkeys(edit.span.path for edit in fix.edits)
    what = _FIXES[fix.kind] + (f": {fix.replacement}" if fix.replacement else "")
    return {
        "description": {"text": what if fix.safe else f"{what} (unsafe)"},
        "artifactChanges": [
            {**_artifact(path), "replacements": [_replacement(edit) for edit in fix.edits if edit.span.path == path]}
            for path in files
        ],
    }


def _replacement(edit: Edit) -> dict[str, Any]:
    return {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}}


def _artifact(path: str) -> dict[str, Any]:
    """Where a file is: its bytes percent-encoded, relative to the folder where it is inside of it."""
    found = inside(path)
    uri = quote(os.fsencode(found.replace(os.sep, "/")), safe="/")
    if os.path.isabs(found):
        return {"artifactLocation": {"uri": f"file://{uri}"}}
    return {"artifactLocation": {"uri": uri, "uriBaseId": _ROOT}}


def _region(span: Span) -> dict[str, int]:
    at = place(span)
    return {
        "startLine": at.line,
        "startColumn": at.column,
        "endLine": at.end_line,
        "endColumn": at.end_column,
    }


def _invocation(notes: Sequence[Note]) -> dict[str, Any]:
    return {
        "executionSuccessful": not any(note.failed for note in notes),
        "toolExecutionNotifications": [_notification(note) for note in notes],
    }


def _notification(note: Note) -> dict[str, Any]:
    region = {"region": {"startLine": note.line}} if note.line else {}
    locations = [{"physicalLocation": {**_artifact(note.path), **region}}] if note.path else []
    return {
        "descriptor": {"id": note.code},
        "level": "error" if note.failed else "note",
        "message": {"text": note.message},
        **({"locations": locations} if locations else {}),
    }
