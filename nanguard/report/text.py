"""The text format: each finding with its source, its witness and what to write instead; the summary line."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import click

from nanguard.finding import Finding, Number, Report, Span, Witness
from nanguard.floats import FORMATS
from nanguard.report import concise, unreported
from nanguard.report.escaping import printable, visible
from nanguard.report.place import place, source_line

_LINES = 6  # of source, at most
_ENTRIES = 4  # of a tensor, at most
_LONGEST = 200  # characters of a call
_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


def render(report: Report, findings: Sequence[Finding] | None = None, colour: bool = False) -> str:
    """The given findings in full; without any given, those of the default level and the summary."""
    if findings is None:
        return render(report, report.shown, colour) + summary(report, report.shown) + "\n"
    return "".join(_block(finding, colour) + "\n\n" for finding in findings)


def summary(report: Report, findings: Sequence[Finding]) -> str:
    """One line on what was found where, and on what was not seen."""
    fixable = sum(map(concise.fixable, findings))
    possible = sum(finding.severity == "info" for finding in findings)
    noun = "proved problem" if possible else "problem"
    found = _count(len(findings) - possible, noun) if len(findings) > possible else f"no {noun}s"
    found += f" ([*] {fixable} fixable)" if fixable else ""
    found += f" and {possible} possible" if possible else ""
    parts = [f"Found {found} in {_count(report.files, 'file')}"]
    checked = f"{_count(len(report.targets) + report.unlisted, 'function')} checked"
    only_read = sum(target.capture == "read" and target.reason is not None for target in report.targets)
    unseen = sum(target.capture == "none" for target in report.targets)
    checked += f", {only_read} only by reading" if only_read else ""
    checked += f", {unseen} could not be analysed" if unseen else ""
    parts.append(checked)
    parts.extend(unreported.counts(report))
    if more := len(report.findings) - len(findings):
        parts.append(f"{more} more with --pedantic")
    return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _block(finding: Finding, colour: bool) -> str:
    lines = [_head(finding, colour), *_source(finding.span, colour)]
    margin = " " * (len(str(finding.span.line)) + 1)
    for label, text in facts(finding):
        lines.append(f"{margin}= {_style(label, colour, bold=True)}: {visible(text)}")
    return "\n".join(lines)


def _head(finding: Finding, colour: bool) -> str:
    where, _, rest = concise.line(finding).partition(f": {finding.code}")
    code = _style(finding.code, colour, fg=_COLOURS.get(finding.severity), bold=True)
    return f"{_style(where, colour, bold=True)}: {code}{rest}"


def _source(span: Span, colour: bool) -> Iterator[str]:
    """The lines of the span, each with carets below what the span covers of it."""
    at = place(span)
    width = len(str(span.line + _LINES))
    for line in range(at.line, min(at.end_line, at.line + _LINES - 1) + 1):
        text = source_line(span.path, line)
        if not text.strip():
            continue
        start = at.column - 1 if line == at.line else len(text) - len(text.lstrip())
        end = at.end_column - 1 if line == at.end_line else len(text)
        before = "".join("\t" if char == "\t" else " " * _cells(char) for char in text[:start])
        carets = "^" * max(1, sum(map(_cells, text[start:end])))
        yield f"{line:{width}} | {printable(text)}"
        yield f"{'':{width}} | {before}{_style(carets, colour, fg=_COLOURS['error'])}"
    if at.end_line >= at.line + _LINES:
        yield f"{'':{width}} | ..."


def _cells(char: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def facts(finding: Finding) -> Iterator[tuple[str, str]]:
    """What is known of a finding beside its message, each with a label."""
    if finding.witness:
        yield "witness", _witness(finding.witness)
        if finding.witness.level == "function":
            yield "function", whole(finding.witness)
    elif not finding.confirmed:
        yield "note", "possible, not proved"
    if finding.thresholds:
        limits = (f"{_brief(limit)} ({dtype})" for dtype, limit in finding.thresholds.items())
        yield "fails from", ", ".join(limits)
    if finding.fix and not finding.fix.safe:
        yield "note", "what is written instead does not give the same value everywhere"
    if finding.clamp:
        yield "help", f"or, clamped, `{finding.clamp.replacement}`"


def _witness(witness: Witness) -> str:
    inputs = ", ".join(f"{name} = {number(value, witness.dtype)}" for name, value in witness.inputs.items())
    computed, exact = number(witness.computed, witness.dtype), number(witness.exact, witness.dtype)
    text = f"{inputs} in {witness.dtype}: computed {computed}, exact {exact}"
    if witness.gradient is not None and witness.exact_gradient is not None:
        slope, right = number(witness.gradient, witness.dtype), number(witness.exact_gradient, witness.dtype)
        text += f"; gradient {slope}, exact {right}" if slope != right else ""
    return text


def whole(witness: Witness) -> str:
    """What the whole function does: the call as Python where it is short enough to be one, else the arguments."""
    call = witness.call if witness.call is not None and len(witness.call) <= _LONGEST else None
    if call is None:
        texts = (f"{name} = {number(value, witness.dtype)}" for name, value in witness.arguments.items())
        call = f"with {', '.join(texts)} it"
    return f"{call} {witness.outcome or 'goes wrong here; what it returns does not show it'}"


def _brief(value: Number) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number(value: Number, dtype: str) -> str:
    """A number in as few digits as give the same number of the dtype; a long tensor is cut short."""
    if isinstance(value, list):
        parts = [number(part, dtype) for part in value[:_ENTRIES]]
        return f"[{', '.join(parts)}{', ...' if len(value) > _ENTRIES else ''}]"
    try:
        value = float(value)
    except ValueError:
        return str(value)
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    form = FORMATS[dtype]
    target = form.round(value)
    if target in (0.0, float("inf"), float("-inf")):  # exact, and beyond what the dtype can hold
        return f"{value:.6g}"
    shorter = (float(f"{value:.{digits}g}") for digits in range(1, 17))
    return repr(next((short for short in shorter if form.round(short) == target), value)).removesuffix(".0")


def _style(text: str, colour: bool, fg: str | None = None, bold: bool = False) -> str:
    return click.style(text, fg=fg, bold=bold) if colour else text
