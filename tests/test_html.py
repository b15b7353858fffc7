"""The HTML report: its plots against exact values, its text escaped, and the page in a real browser."""

from __future__ import annotations

import ast
import base64
import hashlib
import json as parser
import linecache
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Page, browsing, chromium, colours
from torch import Tensor

from nanguard.analyse import examine
from nanguard.finding import Note, Report
from nanguard.floats import FORMATS
from nanguard.matching.rules import load
from nanguard.proof.lanes import Bounds
from nanguard.proof.measure import measure
from nanguard.report import json, textplot
from nanguard.report.html import gather, page, plots, rule, sample
from nanguard.report.html.derive import derivation
from nanguard.report.html.drawn import (
    COLUMNS,
    DEAD,
    NONFINITE,
    OUTSIDE,
    SLOPE,
    UNDEFINED,
    Column,
    Curve,
    Heat,
    Plot,
    edge,
    full,
    position,
)
from nanguard.report.html.example import rule_plot
from nanguard.report.html.figure import Caption, Shared, panel
from nanguard.report.html.picture import figure
from nanguard.report.html.plot import Drawing, draw
from nanguard.report.html.sample import digits
from nanguard.report.html.subject import Subject, proved, shown
from nanguard.report.view import View
from nanguard.running.processes import children
from nanguard.settings import Settings
from nanguard.term import Term

HOSTILE = "</script><img src=x onerror=alert(1)>"
SOURCE = f'''\
import torch
import torch.nn.functional as F


def plain(logits):
    return torch.log(1 - torch.sigmoid(logits)).mean()


def guarded(score):
    return -torch.log(torch.sigmoid(score) + 1e-10), "{HOSTILE}\\x1b[2J"


def focal(logits, targets):
    return -0.25 * (1 - torch.sigmoid(logits)) ** 2 * torch.log(torch.sigmoid(logits)) * targets


def classes(scores):
    return torch.log(torch.softmax(scores, dim=1))


def root(x):
    return torch.sqrt((x - 1) ** 2)
'''
NAME = "<img src=x onerror=alert(2)>&\"'.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("html")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """However slow the machine is, there is time for all plots."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "SECONDS", 600.0)
        yield


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    path = folder / NAME
    path.write_text(SOURCE, encoding="utf-8")
    result = examine(str(path), SOURCE, Settings(static=True), None)
    notes = (Note("NG001", f"{HOSTILE}.py", 3, f"does not parse: {HOSTILE}", True),)
    return Report(1, result.targets, tuple(one for one in result.findings if one.confirmed), notes)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page.render(View(report, report.findings))


@pytest.fixture(scope="module")
def file(text: str, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


class Tree(HTMLParser):
    """The tags of a page with their attributes; raises where one is not closed in its order."""

    VOID = ("meta", "input", "br", "link", "img", "path", "rect", "use")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.stack: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


# --- how many digits are right ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "truth", "dtype", "expected"),
    [
        (1.0, 1.0, "float32", full("float32")),
        (0.0, 0.0, "float32", full("float32")),
        (1.001, 1.0, "float64", 3.0),
        (101.0, 100.0, "float32", 2.0),
        (5.0, 1.0, "float32", 0.0),
        (math.inf, 1.0, "float32", 0.0),
        (math.nan, 0.0, "float16", 0.0),
        (1.0, math.nan, "float32", None),  # there is no exact value
        (math.inf, 1e39, "float32", None),  # it is none of the dtype
        (math.inf, math.inf, "float32", None),
        (0.0, 1e-60, "float32", full("float32")),  # the nearest number is 0
    ],
)
def test_digits(value: float, truth: float, dtype: str, expected: float | None) -> None:
    assert digits(value, truth, dtype) == pytest.approx(expected, abs=1e-3)


def test_a_scale_forgives_what_is_small_beside_it() -> None:
    assert digits(1e-8, 0.0, "float64", scale=1.0) == pytest.approx(8, abs=1e-6)


def subject_of(expression: str, code: str | None = None, dtype: str = "float32") -> Subject:
    """The subject of the finding in an expression of x and y."""
    from nanguard import analyse

    source = f"import torch\nimport torch.nn.functional as F\n\n\ndef loss(x, y):\n    return {expression}\n"
    scanned = analyse.scan("m.py", source, ast.parse(source), Settings(static=True, dtypes=(dtype,)), None)
    assert scanned.matcher is not None
    fitting = [each for each in scanned.suspects if code is None or each.match.rule.code == code]
    suspect = max(fitting, key=lambda each: each.match.root.size)
    names = scanned.reading.site(suspect.place, suspect.uses.masked).names
    return Subject(suspect.match, scanned.matcher, names)


def drawn(expression: str, dtype: str, exhaustive: bool = False, code: str | None = None) -> Curve | Heat:
    subject = subject_of(expression, code)
    seen = shown(subject, proved(subject))
    assert seen is not None
    result = draw(Drawing(seen.pair, subject.matcher, seen.witness), dtype, exhaustive)
    assert result is not None
    return result


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_dtypes_are_tried_exhaustively(dtype: str) -> None:
    curve = drawn("torch.log(1 - torch.sigmoid(x))", dtype, exhaustive=True)
    assert isinstance(curve, Curve)
    form = FORMATS[dtype]
    assert curve.exhaustive
    assert curve.points == 2 * form.ordinal(form.max) + 1
    assert curve.after is not None
    limit = {"float16": 8.3203125, "bfloat16": 6.25}[dtype]  # where 1 - sigmoid(x) first rounds to 0
    for index, column in enumerate(curve.before):
        first, last = form.from_ordinal(edge(dtype, index)), form.from_ordinal(edge(dtype, index + 1) - 1)
        assert (NONFINITE in column.states) == (last >= limit), (first, last)
    assert min(column.low for column in curve.after if column.low is not None) > full(dtype) - 0.8
    assert not any(column.states for column in curve.after)


@pytest.mark.parametrize(
    ("dtype", "limit"), [("float16", -17.34), ("bfloat16", -89.0), ("float32", -88.72), ("float64", -709.8)]
)
def test_samples_find_where_it_fails(dtype: str, limit: float) -> None:
    curve = drawn("torch.log(torch.sigmoid(x))", dtype)
    assert isinstance(curve, Curve)
    (wrong,) = [one for one in curve.stretches if NONFINITE in one.states]
    assert wrong.first == -FORMATS[dtype].max
    assert wrong.last == pytest.approx(limit, rel=1e-3)
    assert (wrong.low, wrong.after) == (0, full(dtype))


@pytest.mark.parametrize(
    ("expression", "code", "state"),
    [
        ("torch.log(torch.sigmoid(x) + 1e-10)", "NG101", DEAD),
        ("torch.sqrt(torch.exp(x))", "NG117", SLOPE),
        ("torch.log(1 + x)", "NG401", UNDEFINED),
        ("torch.log(torch.sigmoid(x.clamp(min=-200, max=3)))", "NG101", NONFINITE),
    ],
)
def test_what_goes_wrong_is_told_apart(expression: str, code: str, state: str) -> None:
    curve = drawn(expression, "float32", code=code)
    assert isinstance(curve, Curve)
    assert any(state in column.states for column in curve.before)
    assert curve.after is not None
    others = curve.after[:-1]  # up to torch 2.5, log1p is infinite from 1e38 on
    assert not any(DEAD in column.states or NONFINITE in column.states for column in others)


def test_what_is_no_input_is_not_tried() -> None:
    subject = subject_of("torch.log(torch.sigmoid(x))")
    seen = shown(subject, proved(subject))
    assert seen is not None
    leaf = seen.pair.before.free[0]
    subject.matcher.ranges.memo[leaf] = replace(subject.matcher.ranges.interval(leaf), low=-1.0, high=1.0)
    curve = draw(Drawing(seen.pair, subject.matcher, seen.witness), "float32", False)
    assert isinstance(curve, Curve)
    assert curve.before[0].states == curve.before[-1].states == {OUTSIDE}
    assert curve.before[0].low is None
    assert not any(NONFINITE in column.states for column in curve.before)


def test_what_has_no_value_anywhere_is_not_drawn() -> None:
    subject = subject_of("torch.log(torch.sigmoid(x))")
    seen = shown(subject, proved(subject))
    assert seen is not None
    leaf = seen.pair.before.free[0]
    subject.matcher.ranges.memo[leaf] = replace(subject.matcher.ranges.interval(leaf), low=math.inf, high=-math.inf)
    assert plots.plot(Drawing(seen.pair, subject.matcher, seen.witness)) is None


def test_two_inputs_make_a_heat_map() -> None:
    heat = drawn("-0.25 * (1 - torch.sigmoid(x)) ** 2 * torch.log(torch.sigmoid(x)) * y", "float32", code="NG132")
    assert isinstance(heat, Heat)
    middle = heat.before[len(heat.before) // 2]
    assert NONFINITE in middle[0].states  # a very negative x, whatever y is
    assert middle[-1].states == frozenset()
    assert heat.after is not None
    assert heat.after[len(heat.after) // 2][0].states == frozenset()
    shown_as = figure(Plot("f(x, y)", ("x", "y"), None, (heat,)))
    said = panel(shown_as, shown_as.pictures[0], Shared(), Caption("f1", ("x", "y"), {}, "float32", own=True))
    (described,) = re.findall(r"<desc[^>]*>([^<]*)</desc>", said)
    assert re.search(r"as written value inf or nan in \d+", described)
    assert "By the stable form nothing is infinite" in described
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", said)
    assert len(rows) == 16
    assert (
        {row[0] for row in rows} == {row[1] for row in rows} == {"below \u22121", "\u22121 to 0", "0 to 1", "above 1"}
    )
    for x, _, before, after in rows:
        assert ("inf or nan" in before) == (x == "below \u22121")
        assert "inf or nan" not in after


def test_entries_that_meet_are_taken_along_a_line() -> None:
    curve = drawn("torch.log(torch.softmax(x, dim=1))", "float32", code="NG103")
    assert isinstance(curve, Curve)
    assert NONFINITE in curve.before[-1].states
    assert curve.after is not None
    assert full("float32") == curve.after[-1].low


def test_columns_have_all_floats_once() -> None:
    for dtype, form in FORMATS.items():
        assert edge(dtype, 0) == -form.ordinal(form.max)
        assert edge(dtype, COLUMNS) == form.ordinal(form.max) + 1
        assert position(dtype, -form.max) == 0
        assert position(dtype, 0.0) == 0.5
        assert position(dtype, form.max) == 1


# --- derivations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("torch.log(torch.sigmoid(x))", ["log(sigmoid(x))"]),
        ("torch.log(1 - torch.sigmoid(x))", ["one_minus_sigmoid(x)", "log(one_minus_sigmoid(x))"]),
        ("torch.log(1 - 1 / (1 + torch.exp(-x)))", ["sigmoid(x)", "one_minus_sigmoid(x)"]),
        ("torch.log1p(-torch.sigmoid(x))", ["one_minus_sigmoid(x)"]),
        ("torch.log(torch.sigmoid(x) + 1e-9)", ["sigmoid(x) + 1e-09", "log(sigmoid(x))"]),
    ],
)
def test_a_derivation_leads_from_the_code_to_the_pattern(expression: str, expected: list[str]) -> None:
    steps = derivation(subject_of(expression))
    assert steps[0].why == "as written"
    assert steps[-1].why == "fits the pattern"
    assert set(expected) <= {step.after for step in steps}


def test_a_derivation_names_what_the_program_names() -> None:
    assert derivation(subject_of("torch.log(1 - torch.sigmoid(x * y))"))[-1].after == "x = x * y"


# --- the page --------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_loads_nothing(text: str) -> None:
    tree = Tree(text)
    assert not {"img", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in tree.tags}
    for tag, attrs in tree.tags:
        assert "src" not in attrs
        assert not any(key.startswith("on") for key in attrs)
        assert tag == "a" or attrs.get("href", "#").startswith("#")
    assert not re.search(r"@import|url\((?!#)", text)


def test_only_its_own_script_may_run(text: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for attrs in Tree(text).all("meta") if "http-equiv" in attrs]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_references_within_the_page_lead_somewhere(text: str) -> None:
    tree = Tree(text)
    ids = [attrs["id"] for _, attrs in tree.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    wanted = [attrs["href"][1:] for tag, attrs in tree.tags if tag in ("a", "use")]
    wanted += [name for _, attrs in tree.tags for name in attrs.get("aria-labelledby", "").split()]
    wanted += [attrs["for"] for attrs in tree.all("label") if "for" in attrs]
    assert set(wanted) <= set(ids)
    assert all(attrs["scope"] in ("col", "row") for attrs in tree.all("th"))


def test_what_comes_from_the_code_is_text(text: str) -> None:
    assert "<img" not in text
    assert "\x1b" not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text
    assert "&lt;img src=x onerror=alert(2)&gt;&amp;&quot;&#x27;.py" in text


def test_every_finding_has_its_parts(text: str, report: Report) -> None:
    cards = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert len(cards) == len(report.findings) >= 5
    for card, finding in zip(cards, report.findings, strict=True):
        assert finding.code in card
        assert "<mark>" in card
        for part in ("Source", "Replacement", "Error plot", "Witness", "Derivation", "Reproduce"):
            assert f"<h4>{part}</h4>" in card
        assert f"--select {finding.code} --dtype float32" in card
        assert ("<ins>" in card) == (finding.fix is not None)


def test_a_witness_shows_what_the_stable_form_gives(text: str, report: Report) -> None:
    (finding,) = [one for one in report.findings if one.target == "plain"]
    assert finding.witness is not None
    assert finding.witness.inputs == {"logits": 17.0}
    row = '<th scope="row">value</th><td class=bad>-inf</td><td>-17</td><td>-17</td>'
    assert row in text


def test_plots_say_what_the_json_says(text: str, report: Report) -> None:
    document = parser.loads(json.render(report, report.findings))
    for number, finding in enumerate(document["findings"], 1):
        card = re.findall(rf'<article class="card" id="f{number}".*?</article>', text, re.DOTALL)[0]
        drawn = dict(re.findall(r'data-dtype="(\w+)"(?: data-threshold="([^"]*)")?', card))
        assert set(drawn) >= set(finding["thresholds"])
        for dtype, threshold in drawn.items():
            assert threshold in ("", repr(finding["thresholds"].get(dtype)))


def test_a_plot_in_words_begins_to_fail_where_the_finding_says(text: str, report: Report) -> None:
    (finding,) = [one for one in report.findings if one.target == "plain"]
    first = re.findall(r"<tr><td>([^<]*)</td><td>[^<]*</td><td>value inf or nan and gradient inf or nan</td>", text)
    for threshold in finding.thresholds.values():  # a vector is worked out a little differently from a number
        assert any(float(value.replace("\u2212", "-")) == pytest.approx(threshold, rel=5e-3) for value in first)


def test_static_reports_have_no_plots_and_say_so(report: Report) -> None:
    text = page.render(View(report, report.findings, Settings(static=True)))
    assert "<use" not in text
    assert "No plot: the report was made with --static." in text


def test_without_torch_a_report_has_no_plots_and_says_so(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanguard.running.checking.has_torch", lambda: False)
    assert "No plot: torch is not installed here." in page.render(View(report, report.findings))


def test_a_remark_about_a_comment_has_no_proof(report: Report) -> None:
    found = replace(report.findings[0], code="NG002", name="unused-suppression", witness=None, thresholds={})
    text = page.render(View(replace(report, findings=(found,)), (found,)))
    assert "<h4>Source</h4>" in text
    assert "<h4>Witness</h4>" not in text
    assert "No plot" not in text


def test_text_of_standard_input_is_plotted_as_it_is() -> None:
    text = "import torch\n\n\ndef loss(x):\n    return torch.log(1 - torch.sigmoid(x))\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(linecache.cache, "given.py", (len(text), None, text.splitlines(keepends=True), "given.py"))
        (finding,) = examine("given.py", text, Settings(static=True), None).findings
        (known,) = gather.gather([finding], Settings())
    assert known.facts.own
    assert known.facts.steps[0].after == "log(1 - sigmoid(x))"


def test_an_empty_report_is_a_page() -> None:
    text = page.render(View(Report(0, (), ()), ()))
    assert "Nothing was found." in text
    Tree(text)


def test_many_findings_keep_to_the_size(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(replace(one) for one in report.findings * 40)
    text = page.render(View(replace(report, findings=many), many))
    assert len(text) < 5_000_000
    assert text.count("<article") == len(many) >= 200
    assert text.count('<g id="plot-') <= 4 * len(report.findings)  # each is drawn once
    monkeypatch.setattr(gather, "MOST", 1)
    first = page.render(View(report, report.findings))
    assert first.count("No plot: only the first 1 findings of a report have one.") == len(report.findings) - 1
    assert "<use" in first


def test_an_expression_that_takes_too_long_has_the_plot_in_its_own_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "SECONDS", 1e-9)
    subject = subject_of("torch.log(torch.sigmoid(x))")
    seen = shown(subject, proved(subject))
    assert seen is not None
    monkeypatch.setattr(plots.time, "process_time", iter([0.0, 0.0, 1.0, 1.0, 1.0]).__next__)
    found = plots.plot(Drawing(seen.pair, subject.matcher, seen.witness))
    assert found is not None
    assert [each.dtype for each in found.drawn] == ["float32"]


def test_expressions_that_are_the_same_but_for_names_have_one_key() -> None:
    def key(expression: str) -> str:
        subject = subject_of(expression)
        seen = shown(subject, proved(subject))
        assert seen is not None
        return plots.key(Drawing(seen.pair, subject.matcher, seen.witness))

    same = {key("torch.log(torch.sigmoid(x))"), key("y.sigmoid().log()"), key("torch.log(torch.sigmoid(x - y))")}
    assert len(same) == 1
    assert key("torch.log(torch.sigmoid(x.clamp(max=3)))") not in same
    assert key("torch.log(1 - torch.sigmoid(x))") not in same


def test_any_number_of_processes_makes_the_same_page(folder: Path) -> None:
    paths = [folder / f"part{number}.py" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_text(f"import torch\n\n\ndef loss(x):\n    return torch.log(torch.sigmoid(x + {number}))\n")
    findings = tuple(
        one for path in paths for one in examine(str(path), path.read_text(), Settings(static=True), None).findings
    )
    report = Report(3, (), findings)
    before = children()
    pages = {page.render(View(report, findings, Settings(jobs=jobs))) for jobs in (1, 2, 3)}
    assert len(pages) == 1
    assert pages.pop().count("<use") >= 3 * 4
    assert children() == before  # no process is left behind


def test_bounds_say_what_balls_say(monkeypatch: pytest.MonkeyPatch) -> None:
    by_bounds = drawn("torch.log(1 - torch.sigmoid(x))", "float32")
    monkeypatch.setattr(sample, "BOUNDED", ())
    by_balls = drawn("torch.log(1 - torch.sigmoid(x))", "float32")
    assert isinstance(by_bounds, Curve)
    assert isinstance(by_balls, Curve)
    for one, other in zip(by_bounds.before, by_balls.before, strict=True):
        assert one.states == other.states
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-3)


def test_bounds_that_balls_contradict_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(term: Term, leaves: Mapping[Term, Tensor], others: Mapping[Term, Tensor]) -> Bounds:
        ones = torch.ones(len(next(iter(leaves.values()))), dtype=torch.float64)
        return Bounds(ones, ones)

    monkeypatch.setattr(sample, "bounds", wrong)
    curve = drawn("torch.log(torch.sigmoid(x))", "float32")
    monkeypatch.setattr(sample, "BOUNDED", ())
    assert drawn("torch.log(torch.sigmoid(x))", "float32") == curve


def test_a_finding_that_only_ran_is_plotted_by_its_rule(report: Report) -> None:
    (finding,) = [one for one in report.findings if one.target == "plain"]
    moved = replace(finding, span=replace(finding.span, path="elsewhere.py"))
    (known,) = gather.gather([moved], Settings())
    assert known.figure is not None
    assert not known.facts.own
    assert known.facts.steps == ()


# --- rules -----------------------------------------------------------------------------------------------


def test_the_page_of_a_rule_has_the_thresholds_of_all_dtypes() -> None:
    found = load().find("NG102")
    assert found is not None
    measured = measure(found)
    assert measured is not None
    text = rule.render(found, measured, rule_plot("NG102", (), exhaustive=False))
    tiles = dict(re.findall(r'<li data-dtype="(\w+)"><strong>([^<]*)</strong>', text))
    assert tiles == {dtype: f"{value:.6g}" for dtype, value in measured.thresholds.items()}
    assert len(tiles) == 4
    marks = dict(re.findall(r'data-dtype="(\w+)" data-threshold="([^"]*)"', text))
    assert {dtype: float(value) for dtype, value in marks.items()} == measured.thresholds
    Tree(text)


def test_the_page_of_a_rule_without_measurements_is_words() -> None:
    found = load().find("NG102")
    assert found is not None
    text = rule.render(found, None, None)
    assert "Nothing was measured" in text
    assert "<use" not in text


@pytest.mark.parametrize(("blocks", "characters"), [(True, "▁█x "), (False, "_#x ")])
def test_a_plot_in_text(blocks: bool, characters: str) -> None:
    bad, none = Column(0.0, 0.0, frozenset({NONFINITE})), Column(None, None, frozenset({OUTSIDE}))
    columns = (bad,) * 60 + (Column(0.0, 0.1),) * 60 + (Column(7.2, 7.2),) * 60 + (none,) * 60
    plot = Plot("log(x)", ("x",), None, (Curve("float32", columns, None, (), 240, False),))
    axis, row, *_ = textplot.render(plot, blocks).splitlines()
    low, high, wrong, blank = characters
    assert row == f"float32   {wrong * 15}{low * 15}{high * 15}{blank * 15}  as written"
    assert axis.split() == ["-max", "-1", "0", "1", "max"]
    assert axis.index(" 0 ") + 1 == 10 + 30


def test_two_inputs_have_no_plot_in_text() -> None:
    plot = Plot("x * y", ("x", "y"), None, (Heat("float32", (), None, 0),))
    assert "--format html" in textplot.render(plot, True)


# --- in a browser ----------------------------------------------------------------------------------------

PROGRAM = chromium()
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert PROGRAM is not None
    with browsing(PROGRAM) as found:
        yield found


@pytest.fixture
def opened(browser: Page, file: Path) -> Page:
    browser.open(file)
    browser.resize(1280)
    browser.media()
    return browser


def rows(opened: Page, what: str = "row.cells[1].textContent") -> list[Any]:
    """Something of each row of the index that is shown."""
    script = f"[...document.querySelector('table.index tbody').rows].filter(row => !row.hidden).map(row => {what})"
    return list(opened.run(script))


@needs_browser
def test_the_page_runs_nothing_of_the_code_and_logs_nothing(opened: Page, report: Report) -> None:
    assert opened.errors == []
    assert opened.run("document.images.length") == 0
    assert opened.run("document.querySelectorAll('article').length") == len(report.findings)
    opened.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    assert opened.run("new Promise(done => setTimeout(() => done(window.ran === undefined), 50))") is True
    assert opened.errors != []  # the policy tells of it, so that a breach would have been seen above


@needs_browser
def test_filters(opened: Page, report: Report) -> None:
    count = len(report.findings)
    script = "(name, value) => { const form = document.querySelector('form.controls'); form[name].value = value; " \
             "form[name].dispatchEvent(new Event('input', {bubbles: true})); return form.shown.value; }"  # fmt: skip
    hazard = sum(one.hazard == "forward-nonfinite" for one in report.findings)
    assert 0 < hazard < count
    assert opened.run(f"({script})('hazard', 'forward-nonfinite')") == f"{hazard} of {count} shown"
    assert len(rows(opened)) == hazard
    assert opened.run("document.querySelectorAll('article:not([hidden])').length") == hazard
    assert opened.run(f"({script})('words', 'softmax scores')") == f"1 of {count} shown"
    opened.run("document.querySelector('form.controls').reset()")
    assert opened.run(
        "new Promise(done => setTimeout(() => done(document.querySelector('form').shown.value), 20))"
    ) == (f"{count} of {count} shown")
    opened.run("document.querySelector('[name=fixable]').click()")
    safe = sum(one.fix is not None and one.fix.safe for one in report.findings)
    assert rows(opened, "row.dataset.fix") == ["safe"] * safe


@needs_browser
def test_columns_sort_both_ways_and_cards_follow(opened: Page) -> None:
    head = "document.querySelector('[data-sort=code]')"
    opened.run(f"{head}.click()")
    assert rows(opened) == sorted(rows(opened))
    assert opened.run(f"{head}.closest('th').getAttribute('aria-sort')") == "ascending"
    opened.run(f"{head}.click()")
    assert rows(opened) == sorted(rows(opened), reverse=True)
    assert opened.run("[...document.querySelectorAll('article')].map(card => card.id)") == rows(
        opened, "row.dataset.key"
    )
    assert opened.run("[...document.querySelectorAll('[aria-sort]')].map(head => head.ariaSort)").count("none") == 5


@needs_browser
def test_the_keyboard_reaches_everything(opened: Page) -> None:
    opened.press("Tab", 9)
    assert opened.run("document.activeElement.textContent") == "To the findings"
    assert opened.run("document.activeElement.getBoundingClientRect().height > 1") is True
    opened.run("document.querySelector('[data-sort=place]').focus()")
    opened.press("Enter", 13, "\r")
    assert opened.run("document.activeElement.closest('th').ariaSort") == "ascending"
    opened.run("document.querySelector('#f1 .tabs input:checked').focus()")
    before = opened.run("document.activeElement.id")
    opened.press("ArrowRight", 39)
    after = opened.run("document.activeElement.id")
    assert (before, after) == ("f1-float32", "f1-float64")
    shown = "[...document.querySelectorAll('#f1 .panel')].filter(part => part.offsetHeight).length"
    assert opened.run(shown) == 1
    assert opened.run("document.querySelector('#f1 .panel:nth-child(4)').offsetHeight > 100") is True


@needs_browser
def test_plots_are_there(opened: Page, report: Report) -> None:
    script = (
        "[...document.querySelectorAll('article')].map(card => [...card.querySelectorAll('.panel')]"
        ".filter(panel => panel.offsetHeight).map(panel => panel.querySelector('svg')).map(svg => "
        "[svg.querySelector('title').textContent, svg.querySelector('use').getBBox().width > 500, "
        "document.querySelector(svg.querySelector('use').href.baseVal).querySelectorAll('.line, .cell').length]))"
    )
    cards = opened.run(script)
    assert len(cards) == len(report.findings)
    for ((title, wide, parts),) in cards:  # one panel of a card is seen
        assert title.startswith("Digits that are right in float32: ")
        assert wide
        assert parts >= 2


@needs_browser
def test_plots_are_painted_in_the_colours_of_the_page(opened: Page, tmp_path: Path) -> None:
    opened.media(scheme="dark")
    opened.screenshot(tmp_path / "plot.png", "#f1 .panel:nth-child(3) svg")
    names = ("before", "after", "nonfinite", "slope")
    script = f"{list(names)!r}.map(name => getComputedStyle(document.documentElement).getPropertyValue('--' + name))"
    counts = colours(tmp_path / "plot.png")
    for name, colour in zip(names, opened.run(script), strict=True):
        assert counts[bytes.fromhex(colour.strip().removeprefix("#"))] > 100, name
    assert counts[b"\0\0\0"] == 0


@needs_browser
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_scrolls_sideways(opened: Page, width: int) -> None:
    opened.resize(width)
    assert opened.run("document.documentElement.scrollWidth") <= width


CONTRAST = """
(() => {
  const luminance = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  const poor = [];
  const seen = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (seen.nextNode()) {
    const node = seen.currentNode.parentElement;
    if (!seen.currentNode.textContent.trim() || node.closest("svg, option") || !node.offsetParent) continue;
    const pair = [getComputedStyle(node).color, behind(node)].map(luminance).sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) poor.push([node.className, node.textContent.slice(0, 30), ratio]);
  }
  return poor;
})()
"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened: Page, scheme: str) -> None:
    opened.media(scheme=scheme)
    back = opened.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back))) < 200) == (scheme == "dark")
    assert opened.run(CONTRAST) == []  # WCAG 2.1, 1.4.3


@needs_browser
def test_print_leaves_out_the_controls(opened: Page) -> None:
    opened.media("print")
    assert opened.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert opened.run("getComputedStyle(document.querySelector('.card')).breakInside") == "avoid"
