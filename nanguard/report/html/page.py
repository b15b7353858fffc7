"""Page: a report as one self-contained HTML file, and the page of a rule.

The texts of the page (its frame, style sheet and script) are files beside this one.  Its policy lets no script run
but that one, known by its hash, and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from string import Template

import nanguard
from nanguard.finding import HAZARDS, Finding, Note, Target
from nanguard.report import concise
from nanguard.report.escaping import visible
from nanguard.report.html.card import badge, card
from nanguard.report.html.drawn import EXHAUSTIVE
from nanguard.report.html.figure import Shared
from nanguard.report.html.gather import gather
from nanguard.report.html.markup import text
from nanguard.report.html.picture import Figure
from nanguard.report.place import place
from nanguard.report.text import summary
from nanguard.report.view import View

_ORDER = ("error", "warning", "info")
_MOST = 500  # functions that were not run and are listed
_COLUMNS = (("severity", "Severity"), ("code", "Rule"), ("place", "Place"), ("target", "Function"),
            ("hazard", "Hazard"), ("fix", "Fix"))  # fmt: skip


def render(view: View) -> str:
    """The page of a view."""
    shared = Shared()
    known = gather(view.findings, view.settings)
    listed = [(finding, f"f{number}") for number, finding in enumerate(view.findings, 1)]
    cards = [card(finding, key, one, shared) for (finding, key), one in zip(listed, known, strict=True)]
    body = "".join((
        _head(view),
        _plots([one.figure for one in known if one.figure is not None]),
        _overview(view.findings),
        _notes(view.report.notes),
        _unseen(view.report.targets),
        _index(listed) if listed else '<p class="none">Nothing was found.</p>',
        f'<section id="cards" aria-label="Findings in full">{"".join(cards)}</section>',
    ))  # fmt: skip
    return framed("nanguard report", body, shared)


def framed(title: str, body: str, shared: Shared) -> str:
    """A page around a body, with the drawings that it shows."""
    folder = files("nanguard.report.html")
    script = (folder / "script.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template((folder / "page.html").read_text("utf-8")).substitute(
        title=text(title),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=(folder / "style.css").read_text("utf-8"),
        script=script,
        drawings=shared.defined(),
        body=body,
        version=text(nanguard.__version__),
    )


def _head(view: View) -> str:
    settings = view.settings
    how = "read only (--static)" if settings.static else "read and run"
    return (
        '<header class="top"><h1>nanguard report</h1>'
        f'<p class="lead">{text(summary(view.report, view.findings))}.</p>'
        f'<p class="lead quiet">Checked in {text(", ".join(settings.dtypes))}; {how}. '
        "Every finding with a witness is proved: the code as written was run there, and the exact value comes from "
        "ball arithmetic.</p></header>"
    )


def _overview(findings: Sequence[Finding]) -> str:
    """The counts: tiles, findings by hazard, findings by file."""
    severities = Counter(finding.severity for finding in findings)
    fixable = sum(map(concise.fixable, findings))
    tiles = [(str(len(findings)), "findings"), *((str(severities[each]), f"{each}s") for each in ("error", "warning")),
             (str(fixable), 'repaired by <span class="whole">--fix</span>')]  # fmt: skip
    shown = "".join(f"<li><strong>{number}</strong> {label}</li>" for number, label in tiles)
    hazards = Counter(finding.hazard for finding in findings)
    by_hazard = [(hazard, hazards[hazard]) for hazard in HAZARDS if hazards[hazard]]
    by_file = Counter(visible(finding.span.path) for finding in findings).most_common()
    tables = f"{_bars('By hazard', 'hazard', by_hazard)}{_bars('By file', 'file', by_file)}" if findings else ""
    return f'<ul class="tiles">{shown}</ul><div class="pair overview">{tables}</div>'


def _plots(figures: Sequence[Figure]) -> str:
    """How closely the curves of the small dtypes were looked at."""
    single = [figure for figure in figures if figure.line is None and len(figure.axes) == 1]
    if not single:
        return ""
    small = [picture for figure in single for picture in figure.pictures if picture.dtype in EXHAUSTIVE]
    missing = any(not figure.has(dtype) for figure in single for dtype in EXHAUSTIVE)
    every = all(picture.exhaustive for picture in small) and not missing
    share = "of all expressions with one input" if every else "of expressions with one input that have a plot in it"
    return (
        f'<p class="lead quiet">Error plots: every finite float16 and bfloat16 was tried {share}; each caption says '
        "how many inputs were compared with the exact value.</p>"
    )


def _bars(title: str, what: str, counts: Sequence[tuple[str, int]]) -> str:
    most = max((count for _, count in counts), default=1)
    rows = "".join(
        f'<tr><th scope="row"><button type="button" class="pick" data-{what}="{text(name)}">{text(name)}</button></th>'
        f'<td class="count">{count}</td>'
        f'<td class="bar" aria-hidden="true"><meter max="{most}" value="{count}"></meter></td></tr>'
        for name, count in counts
    )
    return (
        f'<section class="scroll"><table class="bars"><caption>{title}</caption><tbody>{rows}</tbody></table></section>'
    )


def _notes(notes: Sequence[Note]) -> str:
    if not notes:
        return ""
    items = "".join(
        f'<li class="{"failed" if note.failed else "remark"}"><span class="path">'
        f"{text(visible(note.path))}{f':{note.line}' if note.line else ''}</span> {text(note.message)}</li>"
        for note in notes
    )
    failed = sum(note.failed for note in notes)
    opened = " open" if failed else ""
    return (
        f'<details class="notes"{opened}><summary>{len(notes)} notes on files ({failed} not checked)</summary>'
        f"<ul>{items}</ul></details>"
    )


def _unseen(targets: Sequence[Target]) -> str:
    """The functions that were not run, with the reasons, where there is one."""
    listed = [target for target in targets if target.capture != "trace" and target.reason]
    if not listed:
        return ""
    far = {"read": "read only", "none": "not analysed"}
    rows = "".join(
        f"<tr><td>{text(visible(target.path))}:{target.span.line}</td><td><code>{text(target.name)}</code></td>"
        f"<td>{far[target.capture]}</td><td>{text(target.reason or '')}</td></tr>"
        for target in listed[:_MOST]
    )
    more = f"<p>and {len(listed) - _MOST} more</p>" if len(listed) > _MOST else ""
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("place", "function", "how far", "why not further"))
    return (
        f'<details class="notes"><summary>{len(listed)} functions were not run</summary><div class="scroll">'
        '<table class="list"><caption class="hidden">Functions that were not run</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{more}</details>"
    )


def _index(listed: Sequence[tuple[Finding, str]]) -> str:
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-sort="{key}">{label}</button></th>'
        for key, label in _COLUMNS
    )
    rows = "".join(_row(finding, key) for finding, key in listed)
    return (
        f'<section id="index" aria-labelledby="index-h"><h2 id="index-h">Findings</h2>{_controls(listed)}'
        '<div class="scroll"><table class="index"><caption class="hidden">Findings; the heads of the columns sort'
        f"</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _controls(listed: Sequence[tuple[Finding, str]]) -> str:
    findings = [finding for finding, _ in listed]
    return (
        '<form class="controls" role="search" aria-label="Filter the findings">'
        '<label>Search <input type="search" name="words" placeholder="code, file, function, text"></label>'
        f"{_select('hazard', 'Hazard', [each for each in HAZARDS if any(one.hazard == each for one in findings)])}"
        f"{_select('severity', 'Severity', [each for each in _ORDER if any(one.severity == each for one in findings)])}"
        f"{_select('file', 'File', sorted({visible(one.span.path) for one in findings}))}"
        '<label class="check"><input type="checkbox" name="fixable"> repaired by --fix</label>'
        '<button type="reset">Clear</button>'
        f'<output name="shown" aria-live="polite">{len(findings)} of {len(findings)} shown</output></form>'
    )


def _select(name: str, label: str, values: Sequence[str]) -> str:
    options = "".join(f'<option value="{text(value)}">{text(value)}</option>' for value in values)
    return f'<label>{label} <select name="{name}"><option value="">all</option>{options}</select></label>'


def _row(finding: Finding, key: str) -> str:
    at = place(finding.span)
    path = visible(finding.span.path)
    fix = "safe" if concise.fixable(finding) else "unsafe" if finding.fix else "none"
    return (
        f'<tr data-key="{key}" data-hazard="{text(finding.hazard)}" data-severity="{text(finding.severity)}" '
        f'data-file="{text(path)}" data-fix="{fix}">'
        f'<td data-order="{_ORDER.index(finding.severity)}">{badge(finding.severity)}</td>'
        f'<td><span class="code">{text(finding.code)}</span> {text(finding.name)}</td>'
        f'<td data-order="{text(path)}:{at.line:08}:{at.column:06}"><a href="#{key}">{text(path)}:{at.line}</a></td>'
        f"<td><code>{text(finding.target)}</code></td><td>{text(finding.hazard)}</td>"
        f'<td data-order="{("safe", "unsafe", "none").index(fix)}">{"" if fix == "none" else fix}</td></tr>'
    )
