"""The JSON formats, whose shape is a promise: fields may be added, none is renamed or dropped.

`schema.json` beside this file says what each field is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import nanguard
from nanguard.finding import Edit, Finding, Fix, Note, Report, Target, Witness
from nanguard.report.concise import fixable
from nanguard.report.escaping import json_text
from nanguard.report.place import place
from nanguard.report.view import marks

VERSION = 1


def render(report: Report, findings: Sequence[Finding]) -> str:
    """The report as one object, with those of its findings that are to be shown."""
    captures = [target.capture for target in report.targets]
    document = {
        "version": VERSION,
        "nanguard": nanguard.__version__,
        "targets": [_target(target) for target in report.targets],
        "findings": _findings(report, findings),
        "suppressed": _suppressed(report),
        "notes": [_note(note) for note in report.notes],
        "summary": {
            "files": report.files,
            "targets": len(captures),
            "traced": captures.count("trace"),
            "read": captures.count("read"),
            "findings": len(findings),
            "fixable": sum(map(fixable, findings)),
        },
    }
    return json_text(document) + "\n"


def render_lines(report: Report, findings: Sequence[Finding]) -> str:
    """The findings alone, an object a line."""
    return "".join(json_text(finding, indent=None) + "\n" for finding in _findings(report, findings))


def _findings(report: Report, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [_finding(finding, mark) for finding, mark in zip(findings, marks(report, findings), strict=True)]


def _suppressed(report: Report) -> list[dict[str, Any]]:
    found = _findings(report, [item.finding for item in report.suppressed])
    return [
        {"kind": item.kind, "reason": item.reason, "finding": finding}
        for item, finding in zip(report.suppressed, found, strict=True)
    ]


def _note(note: Note) -> dict[str, Any]:
    return {
        "code": note.code,
        "path": note.path,
        "line": note.line,
        "message": note.message,
        "failed": note.failed,
        "warning": note.warning,
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "path": target.path,
        "name": target.name,
        "line": target.span.line,
        "capture": target.capture,
        "reason": target.reason,
    }


def _finding(finding: Finding, mark: str) -> dict[str, Any]:
    at = place(finding.span)
    return {
        "code": finding.code,
        "name": finding.name,
        "hazard": finding.hazard,
        "severity": finding.severity,
        "path": finding.span.path,
        "line": at.line,
        "column": at.column,
        "end_line": at.end_line,
        "end_column": at.end_column,
        "target": finding.target,
        "expression": finding.expression,
        "message": finding.message,
        "confirmed": finding.confirmed,
        "witness": _witness(finding.witness) if finding.witness else None,
        "thresholds": _plain(finding.thresholds),
        "fix": _fix(finding.fix) if finding.fix else None,
        "clamp": _fix(finding.clamp) if finding.clamp else None,
        "fingerprint": mark,
    }


def _witness(witness: Witness) -> dict[str, Any]:
    return {
        "dtype": witness.dtype,
        "inputs": _plain(witness.inputs),
        "computed": _plain(witness.computed),
        "exact": _plain(witness.exact),
        "gradient": _plain(witness.gradient),
        "exact_gradient": _plain(witness.exact_gradient),
        "level": witness.level,
        "arguments": _plain(witness.arguments),
        "call": witness.call,
        "outcome": witness.outcome,
    }


def _fix(fix: Fix) -> dict[str, Any]:
    return {
        "kind": fix.kind,
        "replacement": fix.replacement,
        "safe": fix.safe,
        "edits": [_edit(edit) for edit in fix.edits],
    }


def _edit(edit: Edit) -> dict[str, Any]:
    at = place(edit.span)
    return {
        "path": edit.span.path,
        "line": at.line,
        "column": at.column,
        "end_line": at.end_line,
        "end_column": at.end_column,
        "text": edit.text,
    }


def _plain(value: object) -> Any:
    """A value with the numbers that JSON cannot write as texts: inf, -inf and nan."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
