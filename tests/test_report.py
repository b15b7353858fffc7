"""The formats of a report, and where a finding is said to be."""

from __future__ import annotations

import json as parser
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nanguard.finding import Edit, Finding, Fix, Report, Span, Target, Witness
from nanguard.fingerprint import fingerprints
from nanguard.report import concise, json, text
from nanguard.report.place import Place, place

SOURCE = """\
def loss(x):
    π = 1; 損失 = -log(sigmoid(x))
\treturn log(
        sigmoid(x)
    )
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(SOURCE, encoding="utf-8")
    return "m.py"


def span_of(source: str, line: int, part: str, path: str = "m.py") -> Span:
    """The span of a part of a line, in bytes as `ast` counts."""
    row = source.splitlines()[line - 1]
    start = len(row[: row.index(part)].encode())
    return Span(path, line, start, line, start + len(part.encode()))


FINDING = Finding(
    code="NG101",
    name="log-sigmoid",
    hazard="forward-nonfinite",
    severity="error",
    span=span_of(SOURCE, 2, "log(sigmoid(x))"),
    target="loss",
    expression="log(sigmoid(x))",
    message="-inf once sigmoid(x) underflows",
    confirmed=True,
    witness=Witness("float32", {"x": -104.0}, "-inf", -104.0, "nan", 1.0),
    thresholds={"float32": -88.72283935546875, "float64": float("-inf")},
    fix=Fix("stable", "logsigmoid(x)", True, (Edit(span_of(SOURCE, 2, "log(sigmoid(x))"), "logsigmoid(x)"),)),
    clamp=Fix("clamp", "log(sigmoid(x).clamp(1e-7, 1 - 1e-7))", False),
)
POSSIBLE = replace(FINDING, severity="info", confirmed=False, witness=None, thresholds={}, fix=None, clamp=None)
TARGETS = (
    Target("m.py", "loss", Span("m.py", 1, 0, 5, 5), "function", "trace"),
    Target("m.py", "other", Span("m.py", 1, 0, 5, 5), "function", "read", "took longer than 20 s"),
    Target("m.py", "third", Span("m.py", 1, 0, 5, 5), "function", "none", "x is unknown"),
)


def report(*findings: Finding) -> Report:
    return Report(files=2, targets=TARGETS, findings=findings)


# --- places ----------------------------------------------------------------------------------------------


def test_columns_are_characters_from_one(path: str) -> None:
    assert place(FINDING.span) == Place(2, 18, 2, 33)
    assert place(span_of(SOURCE, 2, "損失")) == Place(2, 12, 2, 14)
    assert place(Span(path, 3, 8, 5, 5)) == Place(3, 9, 5, 6)


def test_columns_of_a_file_that_is_gone_are_bytes() -> None:
    assert place(Span("gone.py", 7, 4, 7, 9)) == Place(7, 5, 7, 10)


def test_a_file_that_changed_is_read_again(path: str) -> None:
    assert place(FINDING.span).column == 18
    Path(path).write_text("\n" + " " * 40)
    assert place(FINDING.span).column == FINDING.span.column + 1


# --- concise ---------------------------------------------------------------------------------------------


def test_a_line_is_what_editors_parse(path: str) -> None:
    assert concise.render([FINDING, POSSIBLE]) == (
        "m.py:2:18: NG101 [*] -inf once sigmoid(x) underflows\nm.py:2:18: NG101 -inf once sigmoid(x) underflows\n"
    )
    assert re.fullmatch(r"[^:]+:\d+:\d+: [A-Z]{2}\d{3} .+", concise.line(POSSIBLE))


def test_an_unsafe_fix_has_no_star(path: str) -> None:
    assert "[*]" not in concise.line(replace(FINDING, fix=FINDING.clamp))


# --- text ------------------------------------------------------------------------------------------------


def test_a_finding_in_full(path: str) -> None:
    assert text.render(report(FINDING), [FINDING]) == (
        "m.py:2:18: NG101 [*] -inf once sigmoid(x) underflows\n"
        "2 |     π = 1; 損失 = -log(sigmoid(x))\n"
        "  |                    ^^^^^^^^^^^^^^^\n"
        "  = witness: x = -104 in float32: computed -inf, exact -104; gradient nan, exact 1\n"
        "  = fails from: -88.7228 (float32), -inf (float64)\n"
        "  = help: or, clamped, `log(sigmoid(x).clamp(1e-7, 1 - 1e-7))`\n"
        "\n"
    )


def test_every_line_of_an_expression_is_marked(path: str) -> None:
    finding = replace(POSSIBLE, span=Span(path, 3, 8, 5, 5))
    assert text.render(report(finding), [finding]).splitlines()[1:7] == [
        "3 | \treturn log(",
        "  | \t       ^^^^",
        "4 |         sigmoid(x)",
        "  |         ^^^^^^^^^^",
        "5 |     )",
        "  |     ^",
    ]


def test_a_long_expression_is_cut(path: str) -> None:
    Path(path).write_text("f(\n" + "x,\n" * 50 + ")\n")
    finding = replace(POSSIBLE, span=Span(path, 1, 0, 52, 1))
    lines = text.render(report(finding), [finding]).splitlines()
    assert lines[-3].strip() == "| ..."
    assert len(lines) < 20


def test_control_characters_of_a_file_do_not_reach_the_terminal(path: str) -> None:
    Path(path).write_text("'\x1b[2J', log(x)\n")
    finding = replace(POSSIBLE, span=span_of("'\x1b[2J', log(x)", 1, "log(x)"))
    assert "\x1b" not in text.render(report(finding), [finding])


def test_colour_changes_nothing_but_colour(path: str) -> None:
    coloured = text.render(report(FINDING), [FINDING], colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text.render(report(FINDING), [FINDING])


def test_the_summary_counts_what_was_found_and_what_was_not_seen(path: str) -> None:
    assert text.summary(report(FINDING, POSSIBLE), [FINDING]) == (
        "Found 1 problem ([*] 1 fixable) in 2 files; "
        "3 functions checked, 1 only by reading, 1 could not be analysed; 1 more with --pedantic"
    )
    assert text.summary(Report(1, TARGETS[:1], ()), []) == "Found no problems in 1 file; 1 function checked"


def test_a_report_prints_itself(path: str) -> None:
    assert str(report(FINDING, POSSIBLE)).count("NG101") == 1
    assert str(Report(1, (), ())) == "Found no problems in 1 file; 0 functions checked\n"


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (-88.72283935546875, "float32", "-88.72284"),
        (0.1, "float64", "0.1"),
        (0.1 + 0.2, "float64", "0.30000000000000004"),
        (65504.0, "float16", "65504"),
        (3.0e38, "float32", "3e+38"),
        (1234567.0, "float32", "1234567"),
        (True, "float32", "1"),
        (float("nan"), "float32", "nan"),
        (-0.0, "float32", "-0"),
        ("-inf", "float32", "-inf"),
        (1e40, "float32", "1e+40"),
        (1e-50, "float32", "1e-50"),
        ([1.0, [2.0, "nan"]], "float32", "[1, [2, nan]]"),
        ([0.5] * 9, "float32", "[0.5, 0.5, 0.5, 0.5, ...]"),
    ],
)
def test_a_number_is_as_short_as_the_dtype_allows(value: float, dtype: str, expected: str) -> None:
    assert text.number(value, dtype) == expected


# --- json ------------------------------------------------------------------------------------------------


def test_json_has_the_promised_shape(path: str) -> None:
    document = parser.loads(json.render(report(FINDING, POSSIBLE), [FINDING]), parse_constant=pytest.fail)
    assert document == {
        "version": 1,
        "nanguard": "0.1.0",
        "targets": [
            {"path": "m.py", "name": "loss", "line": 1, "capture": "trace", "reason": None},
            {
                "path": "m.py",
                "name": "other",
                "line": 1,
                "capture": "read",
                "reason": "took longer than 20 s",
            },
            {"path": "m.py", "name": "third", "line": 1, "capture": "none", "reason": "x is unknown"},
        ],
        "findings": [
            {
                "code": "NG101",
                "name": "log-sigmoid",
                "hazard": "forward-nonfinite",
                "severity": "error",
                "path": "m.py",
                "line": 2,
                "column": 18,
                "end_line": 2,
                "end_column": 33,
                "target": "loss",
                "expression": "log(sigmoid(x))",
                "message": "-inf once sigmoid(x) underflows",
                "confirmed": True,
                "witness": {
                    "dtype": "float32",
                    "inputs": {"x": -104.0},
                    "computed": "-inf",
                    "exact": -104.0,
                    "gradient": "nan",
                    "exact_gradient": 1.0,
                    "level": "expression",
                    "arguments": {},
                    "call": None,
                    "outcome": "",
                },
                "thresholds": {"float32": -88.72283935546875, "float64": "-inf"},
                "fix": {
                    "kind": "stable",
                    "replacement": "logsigmoid(x)",
                    "safe": True,
                    "edits": [
                        {
                            "path": "m.py",
                            "line": 2,
                            "column": 18,
                            "end_line": 2,
                            "end_column": 33,
                            "text": "logsigmoid(x)",
                        }
                    ],
                },
                "clamp": {
                    "kind": "clamp",
                    "replacement": "log(sigmoid(x).clamp(1e-7, 1 - 1e-7))",
                    "safe": False,
                    "edits": [],
                },
                "fingerprint": fingerprints([FINDING])[0],
            }
        ],
        "suppressed": [],
        "notes": [],
        "summary": {"files": 2, "targets": 3, "traced": 1, "read": 1, "findings": 1, "fixable": 1},
    }


def test_json_writes_null_where_there_is_none(path: str) -> None:
    (finding,) = parser.loads(json.render(report(POSSIBLE), [POSSIBLE]))["findings"]
    assert finding["witness"] is None
    assert finding["fix"] is None
    assert finding["thresholds"] == {}


def test_json_writes_numbers_it_has_not_got_as_texts(path: str) -> None:
    witness = Witness("float32", {"x": [float("inf"), [float("nan")]]}, float("-inf"), 1.0, None, None)
    finding = replace(FINDING, witness=witness)
    document = parser.loads(json.render(report(finding), [finding]), parse_constant=pytest.fail)
    assert document["findings"][0]["witness"] == {
        "dtype": "float32",
        "inputs": {"x": ["inf", ["nan"]]},
        "computed": "-inf",
        "exact": 1.0,
        "gradient": None,
        "exact_gradient": None,
        "level": "expression",
        "arguments": {},
        "call": None,
        "outcome": "",
    }
