"""The baseline: what it hides, what it calls fixed, and that edits elsewhere do not disturb it."""

from __future__ import annotations

import ast
import functools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import RunStatic

from nanguard.finding import FileResult, Finding, Report, Span
from nanguard.fingerprint import fingerprints
from nanguard.reading.discover import targets
from nanguard.running.worker import Worker
from nanguard.settings import Settings
from nanguard.suppress.baseline import load, rewritten, save, without_known

HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"
RISK = "torch.log(torch.sigmoid(x))"
FILE = "nanguard-baseline.json"


pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def run(run_static: RunStatic) -> RunStatic:
    return functools.partial(run_static, "--format", "concise")


def text(*names: str, body: str = f"return {RISK}") -> str:
    return HEAD + "\n\n".join(f"def {name}(x):\n    {body}\n" for name in names)


def entries(path: str = FILE) -> list[tuple[str, str, str]]:
    data = json.loads(Path(path).read_text())
    return [(item["path"], item["target"], item["code"]) for item in data["findings"]]


def test_hides_what_it_knows_and_shows_what_is_new(run) -> None:
    Path("a.py").write_text(text("f", "g"))
    assert run("--write-baseline", "a.py")[0] == 0
    assert entries() == [("a.py", "f", "NG101"), ("a.py", "g", "NG101")]
    status, out, err = run("--baseline", FILE, "--format", "text", "a.py")
    assert (status, out) == (0, "")
    assert "2 in the baseline" in err
    Path("a.py").write_text(text("new", "f", "g"))
    status, out, _ = run("--baseline", FILE, "a.py")
    assert status == 1
    assert [line.split(":")[1] for line in out.splitlines()] == ["6"]
    assert run("a.py")[1].count("NG101") == 3


def test_is_made_to_be_read_and_compared(run) -> None:
    Path("b.py").write_text(text("f"))
    Path("a.py").write_text(text("f", body="return torch.log(\n        torch.sigmoid(x)  # σ\n    )"))
    run("--write-baseline", ".")
    first = Path(FILE).read_bytes()
    item = json.loads(first)["findings"][0]
    assert {key: item[key] for key in ("path", "code", "target", "expression")} == {
        "path": "a.py", "code": "NG101", "target": "f", "expression": RISK,
    }  # fmt: skip
    assert len(item["fingerprint"]) == 32
    assert first.endswith(b"}\n")
    assert all(len(line) < 100 for line in first.splitlines())
    run("--write-baseline", ".")
    assert Path(FILE).read_bytes() == first


@pytest.mark.parametrize(
    "change",
    {
        "lines above": lambda source: "# one\n\n\n" + source.replace("def f", "A = 1\n\n\ndef f"),
        "another function above": lambda source: source.replace("def f", "def e(x):\n    return x\n\n\ndef f"),
        "moved": lambda source: HEAD + "\n\n".join(reversed(source[len(HEAD) :].split("\n\n"))),
        "layout": lambda source: source.replace(RISK, "torch.log(\n        torch.sigmoid( x, ),  # so\n    )"),
        "line ends": lambda source: source.replace("\n", "\r\n"),
        "indented": lambda source: source.replace("    return", "        return"),
    }.items(),
    ids=lambda item: item[0],
)
def test_edits_elsewhere_do_not_disturb_it(change, run) -> None:
    source = text("f", "g")
    Path("a.py").write_text(source)
    run("--write-baseline", "a.py")
    after = change[1](source)
    assert after != source
    Path("a.py").write_bytes(after.encode())
    assert run("--baseline", FILE, "--write-baseline", "a.py")[2].startswith("Wrote 2 findings")
    status, out, err = run("--baseline", FILE, "--format", "text", "a.py")
    assert (status, out) == (0, "")
    assert "2 in the baseline" in err
    assert "fixed" not in err


def test_what_is_fixed_is_said_and_goes_when_it_is_written_again(run) -> None:
    Path("a.py").write_text(text("f", "g"))
    run("--write-baseline", "a.py")
    Path("a.py").write_text(text("f"))
    status, _, err = run("--baseline", FILE, "--format", "text", "a.py", "-v")
    assert status == 0
    assert "1 in the baseline; 1 of the baseline is fixed" in err
    assert f"in the baseline, and fixed: a.py: NG101 in g: {RISK}" in err
    status, _, err = run("--baseline", FILE, "--write-baseline", "a.py")
    assert (status, err.splitlines()[-1]) == (
        0, f"Wrote 1 finding to {FILE}, 1 fixed one dropped; leave it out with --baseline {FILE}",
    )  # fmt: skip
    assert entries() == [("a.py", "f", "NG101")]


def test_a_comment_takes_the_place_of_an_entry(run) -> None:
    Path("a.py").write_text(text("f", "g"))
    run("--write-baseline", "a.py")
    source = text("f") + "\n\n" + text("g", body=f"return {RISK}  # nanguard: ignore[NG101]")[len(HEAD) :]
    Path("a.py").write_text(source)
    _, _, err = run("--baseline", FILE, "--format", "text", "a.py")
    assert "1 suppressed; 1 in the baseline" in err
    assert "fixed" not in err
    run("--write-baseline", "a.py")
    assert entries() == [("a.py", "f", "NG101")]


NOT_LOOKED_FOR = {
    "other files": ("--baseline", FILE, "b.py"),
    "other rules": ("--baseline", FILE, "--select", "NG3", "."),
    "a part of the file": ("--baseline", FILE, "a.py::clean"),
    "other dtypes": ("--baseline", FILE, "--dtype", "float64", "."),
}


@pytest.mark.parametrize("options", NOT_LOOKED_FOR.values(), ids=NOT_LOOKED_FOR)
def test_what_was_not_looked_for_is_kept(options: tuple[str, ...], run) -> None:
    Path("a.py").write_text(text("f") + "\n\ndef clean(x):\n    return x\n")
    Path("b.py").write_text(text("f"))
    run("--write-baseline", ".")
    known = set(entries())
    assert len(known) == 2
    Path("a.py").write_text(HEAD + "def clean(x):\n    return x\n")
    assert "fixed" not in run(*options, "--format", "text")[2]
    run(*options, "--write-baseline")
    assert known <= set(entries())
    run("--write-baseline", ".")
    assert ("a.py", "f", "NG101") not in entries()
    assert ("b.py", "f", "NG101") in entries()


def test_the_entries_of_a_file_that_is_gone_go_with_it(run) -> None:
    Path("a.py").write_text(text("f"))
    Path("b.py").write_text(text("f"))
    run("--write-baseline", ".")
    Path("a.py").unlink()
    assert "fixed" not in run("--baseline", FILE, "--format", "text", ".")[2]
    run("--write-baseline", ".")
    assert entries() == [("b.py", "f", "NG101")]


def test_what_only_a_trace_sees_is_not_fixed_where_nothing_is_traced(worker: Worker, tmp_path: Path, run) -> None:
    Path("a.py").write_text(text("f", "g"))
    run("--write-baseline", "a.py")
    data = json.loads(Path(FILE).read_text())
    data["findings"].append({**data["findings"][0], "fingerprint": "0" * 32})
    Path(FILE).write_text(json.dumps(data))
    assert "fixed" not in run("--baseline", FILE, "--format", "text", "a.py")[2]
    from nanguard.running.checking import check_paths

    report = check_paths([str(tmp_path / "a.py")], Settings(quiet=True, baseline=FILE), worker)
    assert [entry.fingerprint for entry in report.stale] == ["0" * 32]


def test_paths_count_from_the_baseline(run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("src").mkdir()
    Path("src/a.py").write_text(text("f"))
    run("--write-baseline=base.json", "src")
    assert entries("base.json") == [("src/a.py", "f", "NG101")]
    monkeypatch.chdir("src")
    assert run("--baseline", "../base.json", "a.py")[0] == 0
    assert run("--baseline", "../base.json", str(Path.cwd() / "a.py"))[0] == 0


def test_a_file_or_a_path_to_check_behind_the_option(run) -> None:
    Path("a.py").write_text(text("f"))
    assert run("--write-baseline", "known.json", "a.py")[0] == 0
    assert entries("known.json") == [("a.py", "f", "NG101")]
    assert run("--write-baseline", "a.py")[0] == 0
    assert entries(FILE) == [("a.py", "f", "NG101")]
    assert run("--baseline", "known.json", "--write-baseline", "a.py")[2].startswith("Wrote 1 finding to known.json")


def test_a_fix_leaves_what_the_baseline_knows(run) -> None:
    Path("a.py").write_text(text("f"))
    run("--write-baseline", "a.py")
    source = text("f", "g")
    Path("a.py").write_text(source)
    assert run("--baseline", FILE, "--fix", "a.py")[0] == 0
    assert Path("a.py").read_text() == source.replace(
        f"def g(x):\n    return {RISK}", "def g(x):\n    return F.logsigmoid(x)"
    )


@pytest.mark.parametrize(
    "data, said",
    [
        (None, "no such baseline; write it with --write-baseline"),
        ("{", "this is no baseline of nanguard (line 1"),
        ("[]", "this is no baseline"),
        ("[" * 100_000, "this is no baseline"),
        ('{"version": 0, "findings": []}', "this is no baseline"),
        ('{"version": 1}', "this is no baseline"),
        ('{"version": 1, "findings": [{}]}', "finding 1 is not whole"),
        ('{"version": 1, "findings": [{"fingerprint": 3}]}', "finding 1 is not whole"),
        ('{"version": 2, "findings": 1}', "version 2 of a baseline is that of a newer nanguard; update nanguard"),
        (b"\xff\xfe", "this is no baseline"),
    ],
)
def test_a_baseline_that_cannot_be_used(data: str | bytes | None, said: str, run) -> None:
    Path("a.py").write_text(text("f"))
    if data is not None:
        Path("known.json").write_bytes(data if isinstance(data, bytes) else data.encode())
    for fix in ((), ("--fix",)):
        status, out, err = run("--baseline", "known.json", *fix, "a.py")
        assert (status, out) == (2, "")
        assert "known.json: " in err
        assert said in err
        assert err.count("\n") == 1
    if data is not None:
        assert run("--write-baseline", "known.json", "a.py")[0] == 2
        written = Path("known.json").read_bytes()
        assert written == (data if isinstance(data, bytes) else data.encode())


def test_a_baseline_that_cannot_be_written(run) -> None:
    Path("a.py").write_text(text("f"))
    status, _, err = run("--write-baseline=missing/known.json", "a.py")
    assert status == 2
    assert "missing/known.json: the baseline cannot be written" in err
    assert [path.name for path in Path().iterdir() if path.suffix != ".py"] == []


def test_a_link_and_its_mode_stay(run, tmp_path: Path) -> None:
    Path("a.py").write_text(text("f"))
    real = tmp_path / "real.json"
    run("--write-baseline=real.json", "a.py")
    real.chmod(0o640)
    Path("known.json").symlink_to(real)
    Path("a.py").write_text(text("f", "g"))
    run("--write-baseline=known.json", "a.py")
    assert Path("known.json").is_symlink()
    assert len(entries("real.json")) == 2
    assert real.stat().st_mode & 0o777 == 0o640


# --- any edit that changes no expression --------------------------------------------------------------------

LAYOUTS = st.sampled_from(
    ["torch.log({0})", "torch.log( {0} )", "torch.log(\n        {0}\n    )", "torch.log(  # why\n        {0},\n    )",
     "(torch\n     .log({0}))"]
)  # fmt: skip
OPERANDS = ("x", "x + 1", "x['a']", "1e-08 * x")
SPELLINGS = {
    "x": ["x", "(x)"], "x + 1": ["x+1", "(x + 1)", "x + (1)"], "x['a']": ['x["a"]', "x [ 'a' ]"],
    "1e-08 * x": ["1e-8*x", "1E-08 * x"],
}  # fmt: skip
ABOVE = st.lists(
    st.sampled_from(["\n", "# a comment\n", "import os\n", "A = 1\n", "def other(x):\n    return x\n"]), max_size=3
)


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str]:
    """A file with functions that log something, and the same file after somebody went over it."""
    functions = draw(st.lists(st.lists(st.sampled_from(OPERANDS), min_size=1, max_size=3), min_size=1, max_size=4))
    before, after = [], []
    for number, operands in enumerate(functions):
        first = "".join(f"    y = torch.log({operand})\n" for operand in operands)
        lines = [draw(LAYOUTS).format(draw(st.sampled_from([operand, *SPELLINGS[operand]]))) for operand in operands]
        between = st.sampled_from(["", "    # so\n", "\n", "    z = 2\n"])
        second = "".join(f"{draw(between)}    y = {line}\n" for line in lines)
        before.append(f"def f{number}(x):\n{first}")
        after.append(f"def f{number}(x):\n{second}")
    after = draw(st.permutations(after))
    return "".join(before), "".join(draw(ABOVE)) + "".join("".join(draw(ABOVE)) + part for part in after)


def result(source: str) -> FileResult:
    """What a check might find: every log."""
    tree = ast.parse(source)
    found = []
    for target in targets("a.py", tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and target.span.line <= node.lineno <= target.span.end_line:
                end = node.end_lineno or 0, node.end_col_offset or 0
                span = Span("a.py", node.lineno, node.col_offset, *end)
                expression = ast.get_source_segment(source, node) or ""
                found.append(Finding("NG201", "log", "misuse", "warning", span, target.name, expression, "", True))
    return FileResult("a.py", targets("a.py", tree), tuple(found), (), (), whole=True, answered=True)


@settings(max_examples=100, deadline=None)
@given(edits())
def test_nothing_is_new_and_nothing_is_fixed(pair: tuple[str, str]) -> None:
    Path("a.py").touch()
    Path("known.json").unlink(missing_ok=True)
    before, after = map(result, pair)
    save(rewritten("known.json", Report(1, before.targets, before.findings), False))
    assert len(load("known.json").entries) == len(set(fingerprints(before.findings)))
    report = without_known(
        Report(1, after.targets, after.findings),
        [after],
        lambda path: os.path.basename(path) == "a.py",
        Settings(baseline="known.json"),
        lambda path: frozenset({"NG201"}),
    )
    assert report.findings == ()
    assert report.stale == ()
    assert len(report.suppressed) == len(before.findings)
