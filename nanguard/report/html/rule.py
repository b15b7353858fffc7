"""The page of a rule: its words, where it fails in each dtype at a glance, and its error plots."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nanguard.finding import DTYPES, SEVERITY
from nanguard.matching.rule import Rule
from nanguard.report import explain
from nanguard.report.html.card import badge
from nanguard.report.html.figure import Caption, Shared, stacked
from nanguard.report.html.markup import cell, lines, prose, text
from nanguard.report.html.page import framed
from nanguard.report.html.picture import figure

if TYPE_CHECKING:
    from nanguard.proof.measure import Measured
    from nanguard.report.html.drawn import Plot


def render(rule: Rule, measured: Measured | None, plot: Plot | None) -> str:
    """The page; without measurements it has words alone."""
    shared = Shared()
    body = "".join((
        f'<header class="top"><h1>{text(rule.name)} <span class="code">({text(rule.code)})</span></h1>'
        f'<p class="lead">{badge(SEVERITY[rule.hazard])} {text(rule.hazard)}. {text(explain.availability(rule))}</p>'
        f'<p class="lead">{prose(rule.summary)}.</p></header>',
        _thresholds(measured),
        f'<section class="card"><h2>Why is this bad?</h2><p class="message">{prose(" ".join(rule.why.split()))}</p>'
        "</section>" if rule.why.strip() else "",
        _plots(plot, measured, shared),
        _values(measured),
        _examples(rule),
        _words(rule),
    ))  # fmt: skip
    return framed(f"{rule.name} ({rule.code})", body, shared)


def _thresholds(measured: Measured | None) -> str:
    """The first failing input of each dtype."""
    if measured is None:
        return '<p class="note">Nothing was measured: torch is not installed here, or --static was given.</p>'
    tiles = "".join(
        f'<li data-dtype="{dtype}"><strong>{text(_brief(measured.thresholds.get(dtype)))}</strong> {dtype}</li>'
        for dtype in DTYPES
    )
    return (
        f'<h2>First failing input</h2><ul class="tiles">{tiles}</ul><p class="note">Measured with torch '
        f"{text(measured.torch)} on <code>{text(measured.example)}</code>.</p>"
    )


def _brief(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _DASH if value is None else str(value)


def _plots(plot: Plot | None, measured: Measured | None, shared: Shared) -> str:
    if plot is None or measured is None:
        return ""
    caption = Caption("rule", (), measured.thresholds, "float32", own=True)
    return f'<section class="card"><h2>Error plots</h2>{stacked(figure(plot), shared, caption)}</section>'


def _values(measured: Measured | None) -> str:
    if measured is None:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{row.dtype}</th>'
        f"<td>{text(', '.join(f'{name} = {_brief(value)}' for name, value in row.inputs.items()))}</td>"
        f"<td>{row.what}</td>{cell(row.naive, row.dtype)}{cell(row.stable, row.dtype)}{cell(row.exact, row.dtype)}</tr>"
        for row in measured.rows
    )
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    return (
        '<section class="card"><h2>At the witnesses</h2><div class="scroll"><table><caption class="hidden">What the '
        f"witnesses give</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


_DASH = "\u2013"
_HEADS = ("dtype", "input", "what", "as written", "stable form", "exact")


def _examples(rule: Rule) -> str:
    kinds = (
        ("Example", "del", [example.bad for example in rule.examples]),
        ("Use instead", "ins", [example.good for example in rule.examples]),
        ("Not reported", "span", [example.near for example in rule.examples]),
    )
    found = [(title, tag, list(dict.fromkeys(filter(None, listed)))) for title, tag, listed in kinds]
    blocks = "".join(
        f'<section><h3>{title}</h3><pre class="diff plain"><code>{"".join(_block(tag, listed))}</code></pre></section>'
        for title, tag, listed in found
        if listed
    )
    return f'<section class="card"><h2>Examples</h2><div class="stack">{blocks}</div></section>'


def _block(tag: str, listed: Sequence[str]) -> Iterator[str]:
    for example in listed:
        yield f"<{tag}>{lines(example.strip())}\n</{tag}>"


def _words(rule: Rule) -> str:
    pairs = "".join(
        f"<tr><td>{text(explain.show(variant.match))}</td>"
        f"<td>{text(explain.show(variant.stable)) if variant.stable else _DASH}</td>"
        f"<td>{text(explain.show(variant.clamp)) if variant.clamp else _DASH}</td></tr>"
        for variant in rule.variants
    )
    safety = "".join(f"<p>{prose(each)}</p>" for each in explain.safety(rule))
    references = "".join(f"<li>{_linked(reference)}</li>" for reference in rule.references)
    return (
        '<section class="card"><h2>Replacement</h2><div class="scroll"><table><caption class="hidden">Patterns and '
        'replacements</caption><thead><tr><th scope="col">pattern</th><th scope="col">stable form</th>'
        f'<th scope="col">clamped</th></tr></thead><tbody>{pairs}</tbody></table></div><h3>Fix safety</h3>{safety}'
        + (f"<h3>References</h3><ul>{references}</ul>" if references else "")
        + "</section>"
    )


def _linked(reference: str) -> str:
    """A reference with its addresses as links."""
    parts = re.split(r"(https?://[^\s)>\"']+)", reference)
    return "".join(
        f'<a href="{text(part)}" rel="noreferrer">{text(part)}</a>' if index % 2 else prose(part)
        for index, part in enumerate(parts)
    )
