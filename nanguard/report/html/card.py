"""Card: one finding as HTML: its source, its plot, its witness, its replacement, its derivation, its command."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Sequence

from nanguard.finding import Finding, Witness
from nanguard.repair.edits import apply
from nanguard.report import concise
from nanguard.report.escaping import visible
from nanguard.report.html.drawn import Step
from nanguard.report.html.facts import Facts
from nanguard.report.html.figure import Caption, Shared, tabs
from nanguard.report.html.gather import Known
from nanguard.report.html.markup import cell, lines, prose, text
from nanguard.report.place import place, source_line

_AROUND = 2  # lines of the source before and after the expression
_LONGEST = 14  # lines of an expression that are shown


def card(finding: Finding, key: str, known: Known, shared: Shared) -> str:
    """A finding as an article with the id `key`."""
    at = place(finding.span)
    where = f"{visible(finding.span.path)}:{at.line}:{at.column}"
    parts = (
        f'<article class="card" id="{key}" aria-labelledby="{key}-h" tabindex="-1">'
        f'<header><h3 id="{key}-h">{badge(finding.severity)} <span class="code">{text(finding.code)}</span> '
        f'{text(finding.name)}</h3><p class="place"><span class="path">{text(where)}</span> '
        f"in <code>{text(finding.target)}</code> \u00b7 {text(finding.hazard)}</p></header>",
        f'<p class="message">{prose(finding.message)}</p>',
        f'<div class="pair"><section><h4>Source</h4>{_source(finding)}</section>',
        f"<section><h4>Replacement</h4>{_replacement(finding)}</section></div>",
        _figure(finding, key, known, shared),
        _proof(finding, known.facts),
        f'<section><h4>Reproduce</h4><pre class="command"><code>{text(command(finding))}</code></pre></section>',
        "</article>",
    )
    return "".join(parts)


def badge(severity: str) -> str:
    """The severity as a word with its colour."""
    return f'<span class="severity {text(severity)}">{text(severity)}</span>'


def command(finding: Finding) -> str:
    """The command that finds it again."""
    dtype = finding.witness.dtype if finding.witness else "float32"
    pedantic = "" if finding.confirmed else " --pedantic"
    name = f"{visible(finding.span.path)}::{finding.target}" if finding.target else visible(finding.span.path)
    return f"nanguard check {shlex.quote(name)} --select {finding.code} --dtype {dtype}{pedantic}"


# --- the source


def _source(finding: Finding) -> str:
    at = place(finding.span)
    last = min(at.end_line, at.line + _LONGEST - 1)
    rows = []
    for number in range(max(1, at.line - _AROUND), last + _AROUND + 1):
        line = source_line(finding.span.path, number)
        if not line and number > last:
            continue
        start = at.column - 1 if number == at.line else 0
        end = at.end_column - 1 if number == at.end_line else len(line)
        shown = text(line)
        if at.line <= number <= last:
            indent = len(line) - len(line.lstrip()) if number > at.line else start
            start = max(start, indent)
            shown = f"{text(line[:start])}<mark>{text(line[start:end])}</mark>{text(line[end:])}"
        rows.append(f'<span class="row"><span class="number">{number}</span>{shown}</span>')
    if at.end_line > last:
        rows.append('<span class="row"><span class="number">\u2026</span></span>')
    return f'<pre class="source"><code>{"".join(rows)}</code></pre>'


# --- the replacement


def _replacement(finding: Finding) -> str:
    parts = []
    if finding.fix is None:
        parts.append("<p>None can be written here without knowing more. <code>nanguard explain "
                     f"{text(finding.code)}</code> says what to write instead.</p>")  # fmt: skip
    else:
        safe = "A safe fix: <code>--fix</code> makes it" if concise.fixable(finding) else (
            "An unsafe fix: it gives other values somewhere; <code>--unsafe-fixes</code> takes it"
        )  # fmt: skip
        diff = "".join(_diff(finding))
        shown = f'<pre class="diff"><code>{diff}</code></pre>' if diff else (
            f'<pre class="diff"><code><ins>{lines(finding.fix.replacement)}</ins></code></pre>'
        )  # fmt: skip
        parts.append(f'{shown}<p class="note">{safe}.</p>')
    if finding.clamp is not None:
        parts.append(f'<p class="note">Or, clamped: <code>{text(finding.clamp.replacement)}</code></p>')
    return "".join(parts)


def _diff(finding: Finding) -> Iterator[str]:
    """The lines that the edits change, before and after; nothing where there are no edits."""
    assert finding.fix is not None
    edits = [edit for edit in finding.fix.edits if edit.span.path == finding.span.path]
    if not edits:
        return
    first = min(edit.span.line for edit in edits)
    last = max(edit.span.end_line for edit in edits)
    before = [source_line(finding.span.path, number) + "\n" for number in range(1, last + 1)]
    encoded = [line.encode("utf-8", "surrogatepass") for line in before]
    after = apply(encoded, edits, first, last).decode("utf-8", "surrogatepass").splitlines(keepends=True)
    for line in list(difflib.ndiff(before[first - 1 :], after)):
        sign, rest = line[:2], line[2:].rstrip("\n")
        tag = {"+ ": "ins", "- ": "del"}.get(sign)
        if tag is not None:
            yield f"<{tag}>{text(rest)}\n</{tag}>"
        elif sign == "  ":
            yield f"<span>{text(rest)}\n</span>"


# --- the plot, the witness, the derivation


def _figure(finding: Finding, key: str, known: Known, shared: Shared) -> str:
    if known.figure is None:
        return f'<p class="note">{text(known.without)}</p>' if known.without else ""
    dtype = finding.witness.dtype if finding.witness else "float32"
    thresholds = finding.thresholds if known.facts.own else {}
    caption = Caption(key, known.facts.names, thresholds, dtype, known.facts.own)
    return f"<section><h4>Error plot</h4>{tabs(known.figure, shared, caption)}</section>"


def _proof(finding: Finding, facts: Facts) -> str:
    """The witness and the derivation; a remark about a comment has neither."""
    if finding.confirmed and finding.witness is None:
        return ""
    return (
        f'<div class="pair"><section><h4>Witness</h4>{_witness(finding, facts)}</section>'
        f"<section><h4>Derivation</h4>{_derivation(facts.steps)}</section></div>"
    )


def _witness(finding: Finding, facts: Facts) -> str:
    witness = finding.witness
    if witness is None:
        return '<p class="note">Possible, not proved.</p>'
    dtype = witness.dtype
    inputs = "".join(
        f'<tr><th scope="row">{text(name)}</th>{cell(value, dtype)}</tr>' for name, value in witness.inputs.items()
    )
    values = f"{cell(witness.computed, dtype)}{cell(facts.stable, dtype)}{cell(witness.exact, dtype)}"
    rows = f'<tr><th scope="row">value</th>{values}</tr>'
    if witness.gradient is not None:
        slopes = f"{cell(witness.gradient, dtype)}{cell(facts.slope, dtype)}{cell(witness.exact_gradient, dtype)}"
        rows += f'<tr><th scope="row">gradient</th>{slopes}</tr>'
    return (
        f'<div class="scroll"><table class="inputs"><caption>Input, in {dtype}</caption><tbody>{inputs}</tbody></table>'
        "<table><caption>What it gives</caption><thead><tr><td></td>"
        '<th scope="col">as written</th><th scope="col">stable form</th><th scope="col">exact</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{_whole(witness)}"
    )


def _whole(witness: Witness) -> str:
    """With which arguments the function as a whole goes wrong, where that is known."""
    if witness.level != "function" or not witness.arguments:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>{cell(value, witness.dtype)}</tr>'
        for name, value in witness.arguments.items()
    )
    return (
        "<details><summary>The whole function goes wrong with these arguments</summary>"
        f'<div class="scroll"><table class="inputs"><caption class="hidden">Arguments</caption><tbody>{rows}</tbody>'
        f"</table></div>{_called(witness)}</details>"
    )


def _called(witness: Witness) -> str:
    """The call of the function as Python, and what it gives."""
    made = f'<pre class="command"><code>{text(witness.call)}</code></pre>' if witness.call is not None else ""
    return f'{made}<p class="note">It {text(witness.outcome)}.</p>' if witness.outcome else made


def _derivation(steps: Sequence[Step]) -> str:
    if not steps:
        return '<p class="note">Not known here.</p>'
    items = []
    for step in steps:
        arrow = f'<code>{text(step.before)}</code> <span class="arrow">\u2192</span> ' if step.before else ""
        items.append(f'<li><span class="why">{text(step.why)}</span>{arrow}<code>{text(step.after)}</code></li>')
    return f'<ol class="steps">{"".join(items)}</ol>'
