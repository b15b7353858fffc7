"""Comments that suppress findings: where they count, which are wrong or without use, and how they are added."""

from __future__ import annotations

import ast
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import RunStatic

import nanguard
from nanguard.finding import Finding, Report, Span
from nanguard.matching import rules
from nanguard.repair.fixing import fix_paths
from nanguard.running.checking import check_paths
from nanguard.running.worker import Worker
from nanguard.settings import Settings
from nanguard.suppress.adding import with_ignores
from nanguard.suppress.comments import comments_of, mentioned
from nanguard.suppress.silence import silenced

HEAD = "import torch\nimport torch.nn.functional as F\n"
RISK = "torch.log(torch.sigmoid(x))"


pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def run(run_static: RunStatic) -> RunStatic:
    return run_static


def checked(source: str, name: str = "a.py", **given: object) -> Report:
    Path(name).write_text(source)
    return check_paths([name], Settings(static=True, quiet=True, **given))  # type: ignore[arg-type]


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


# --- what counts ------------------------------------------------------------------------------------------

SUPPRESSES = {
    "at the end": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG101]",
    "with a reason": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG101] -- x is positive",
    "a name": f"def f(x):\n    return {RISK}  # nanguard: ignore[log-sigmoid]",
    "a prefix": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG1]",
    "one of several": f"def f(x):\n    return {RISK}  # nanguard:ignore[ NG203,NG101 ]",
    "small letters": f"def f(x):\n    return {RISK}  # nanguard: IGNORE[ng101]",
    "after another comment": f"def f(x):\n    return {RISK}  # type: ignore  # nanguard: ignore[NG101]",
    "before another comment": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG101]  # type: ignore",
    "above": f"def f(x):\n    # nanguard: ignore[NG101]\n    return {RISK}",
    "above with comments between": f"def f(x):\n    # nanguard: ignore[NG101]\n    # as it was\n    return {RISK}",
    "first line of several": "def f(x):\n"
        "    return torch.log(  # nanguard: ignore[NG101]\n        torch.sigmoid(x)\n    )",
    "inner line": "def f(x):\n    return torch.log(\n        torch.sigmoid(x)  # nanguard: ignore[NG101]\n    )",
    "last line": "def f(x):\n    return torch.log(\n        torch.sigmoid(x)\n    )  # nanguard: ignore[NG101]",
    "own line inside": "def f(x):\n"
        "    return torch.log(\n        # nanguard: ignore[NG101]\n        torch.sigmoid(x)\n    )",
    "line of the statement": f"def f(x):\n    return g(\n        {RISK},\n        1,  # nanguard: ignore[NG101]\n    )",
    "backslash": f"def f(x):\n    return {RISK} \\\n        + 1  # nanguard: ignore[NG101]",
    "after a string of lines": f"def f(x):\n    return {RISK}, '''\n'''  # nanguard: ignore[NG101]",
    "head of a statement": f"def f(x):\n    if ({RISK}\n        ).all():  # nanguard: ignore[NG101]\n        pass",
    "above an elif": f"def f(x):\n"
        f"    if x is None:\n        pass\n    # nanguard: ignore[NG101]\n    elif {RISK}.all():\n        pass",
    "one line": f"def f(x): return {RISK}  # nanguard: ignore[NG101]",
    "noqa": f"def f(x):\n    return {RISK}  # noqa: NG101",
    "noqa with others": f"def f(x):\n    return {RISK}  # noqa: NG101,E501",
    "noqa with blanks": f"def f(x):\n    return {RISK}  # noqa:E501 NG101 because",
    "noqa, a prefix": f"def f(x):\n    return {RISK}  # noqa: NG1",
    "noqa without codes": f"def f(x):\n    return {RISK}  # noqa",
    "noqa in capitals": f"def f(x):\n    return {RISK}  # NOQA",
    "file": f"# nanguard: file-ignore[NG1]\ndef f(x):\n    return {RISK}",
    "file, at the end": f"def f(x):\n    return {RISK}\n# nanguard: file-ignore[NG101] generated",
}  # fmt: skip
REPORTS = {
    "another code": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG102]",
    "no codes": f"def f(x):\n    return {RISK}  # nanguard: ignore",
    "empty": f"def f(x):\n    return {RISK}  # nanguard: ignore[]",
    "unknown": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG999]",
    "everything": f"def f(x):\n    return {RISK}  # nanguard: ignore[NG]",
    "all": f"def f(x):\n    return {RISK}  # nanguard: ignore[ALL]",
    "in a string": f"def f(x):\n    return {RISK}, '# nanguard: ignore[NG101]'",
    "in a string of lines": f"def f(x):\n    return '''\n    # nanguard: ignore[NG101]\n    # noqa''', {RISK}",
    "below": f"def f(x):\n    return {RISK}\n    # nanguard: ignore[NG101]",
    "above, with an empty line": f"def f(x):\n    # nanguard: ignore[NG101]\n\n    return {RISK}",
    "above the function": f"# nanguard: ignore[NG101]\ndef f(x):\n    return {RISK}",
    "head, not body": f"def f(x):\n    if x.any():  # nanguard: ignore[NG101]\n        return {RISK}",
    "statement before": f"def f(x):\n    y = x  # nanguard: ignore[NG101]\n    return {RISK}",
    "noqa of others": f"def f(x):\n    return {RISK}  # noqa: E501",
    "noqa, and no code": f"def f(x):\n    return {RISK}  # noqa: because it is long",
    "noqa above": f"def f(x):\n    # noqa: NG101\n    return {RISK}",
    "noqa of the file": f"# ruff: noqa\n# flake8: noqa\ndef f(x):\n    return {RISK}",
    "file, indented": f"def f(x):\n    # nanguard: file-ignore[NG1]\n    return {RISK}",
    "file, behind code": f"a = 1  # nanguard: file-ignore[NG1]\ndef f(x):\n    return {RISK}",
    "talk": f"def f(x):\n    return {RISK}  # see nanguard: ignore[NG101]",
}


@pytest.mark.parametrize("body", SUPPRESSES.values(), ids=SUPPRESSES)
def test_suppresses(body: str) -> None:
    report = checked(HEAD + body + "\n")
    assert codes(report) == []
    assert [(item.finding.code, item.kind) for item in report.suppressed] == [("NG101", "inSource")]
    assert report.notes == ()
    assert codes(checked(HEAD + body + "\n", ignore_suppressions=True)) == ["NG101"]


@pytest.mark.parametrize("body", REPORTS.values(), ids=REPORTS)
def test_does_not_suppress(body: str) -> None:
    report = checked(HEAD + body + "\n")
    assert codes(report) == ["NG101"]
    assert report.suppressed == ()


@pytest.mark.parametrize(
    "comment, said",
    [
        ("nanguard: ignore", "names no codes; write those that it is about, as in `# nanguard: ignore[NG101]`"),
        ("nanguard: ignore NG101", "names no codes"),
        ("nanguard: ignore[]", "brackets are empty"),
        ("nanguard: ignore[NG101", "not closed; write `# nanguard: ignore[NG101]`"),
        ("nanguard: ingore[NG101]", "'ingore' is nothing that nanguard knows; did you mean 'ignore'?"),
        ("nanguard:", "does not say what to do"),
        ("nanguard: ignore[NG1011]", "no rule 'NG1011'; did you mean 'NG101'?"),
        ("nanguard: ignore[log-sigmoids]", "did you mean 'log-sigmoid'?"),
        ("nanguard: ignore[ALL]", "'ALL' means every rule"),
        ("nanguard: ignore[NG]", "'NG' means every rule"),
        ("noqa: NG999", "no rule 'NG999'"),
        ("nanguard: file-ignore[NG1]", "not indented"),
    ],
)
def test_a_comment_that_suppresses_nothing_is_a_warning(comment: str, said: str, run) -> None:
    Path("a.py").write_text(f"{HEAD}def f(x):\n    return x  # {comment}\n")
    status, out, err = run("a.py")
    assert (status, out) == (0, "")
    assert "nanguard: warning: a.py:4: this comment suppresses nothing: " in err
    assert said in err
    assert "warning" not in run("a.py", "--quiet")[2]


def test_a_comment_counts_where_the_finding_stands() -> None:
    """The hazard is in a helper, as another file calls it."""
    Path("helper.py").write_text("import torch\n\ndef low(x):\n    return torch.log(x)  # nanguard: ignore[NG101]\n")
    Path("loss.py").write_text("import torch\nfrom helper import low\n\ndef f(x):\n    return low(torch.sigmoid(x))\n")
    for paths in (["loss.py"], ["loss.py", "helper.py"]):
        report = check_paths(paths, Settings(static=True, quiet=True))
        assert codes(report) == []
        assert [Path(item.finding.span.path).name for item in report.suppressed] == ["helper.py"]
    assert codes(check_paths(["helper.py"], Settings(static=True, quiet=True))) == []  # loss.py needs the comment


def test_what_is_suppressed_is_counted_and_listed(run) -> None:
    Path("a.py").write_text(f"{HEAD}def f(x):\n    return {RISK}  # nanguard: ignore[NG101] -- known\n")
    status, out, err = run("a.py")
    assert (status, out) == (0, "")
    assert "1 suppressed" in err
    assert "a.py:4" not in err
    assert "suppressed by a comment (known): a.py:4:12: NG101" in run("a.py", "-v")[2]
    status, out, err = run("a.py", "--ignore-suppressions", "--format", "concise")
    assert status == 1
    assert "NG101" in out


def test_a_file_without_the_words_is_not_split_into_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanguard.suppress.comments.layout", None)
    assert not mentioned("import torch  # a comment\n")
    assert codes(checked(f"{HEAD}def f(x):\n    return {RISK}  # why\n")) == ["NG101"]


def test_python_calls_see_the_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "commented.py").write_text(
        f"{HEAD}def f(x):\n    return {RISK}  # nanguard: ignore[NG101]\n\n\ndef g(x):\n    return {RISK}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import commented  # type: ignore[import-not-found]

    assert nanguard.check(commented.f).ok
    assert not nanguard.check(commented.g).ok
    nanguard.assert_stable(commented.f)


def test_comments_are_found_without_torch() -> None:
    code = (
        "import sys; from nanguard.suppress import adding, baseline, quiet\n"
        "from nanguard.running.checking import check_paths; from nanguard.settings import Settings\n"
        "report = check_paths(['a.py'], Settings(static=True))\n"
        "assert len(report.findings) == 1, report\nassert 'torch' not in sys.modules"
    )
    Path("a.py").write_text("def f(x):\n    return x  # nanguard: ignore[NG101]\n")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_names_of_rules_are_those_of_their_files() -> None:
    assert [(rule.code, rule.name) for rule in rules.listed()] == [
        (rule.code, rule.name) for rule in rules.load().rules
    ]  # fmt: skip


# --- what is of no use ------------------------------------------------------------------------------------

UNUSED = {  # a body, and what the fix makes of it
    "a comment": ("def f(x):\n    return x  # nanguard: ignore[NG101]", "def f(x):\n    return x"),
    "its reason": ("def f(x):\n    return x  # nanguard: ignore[NG101] -- see #12", "def f(x):\n    return x"),
    "its line": ("def f(x):\n    # nanguard: ignore[NG101]\n    return x", "def f(x):\n    return x"),
    "a file's": ("# nanguard: file-ignore[NG101]\ndef f(x):\n    return x", "def f(x):\n    return x"),
    "several codes": ("def f(x):\n    return x  # nanguard: ignore[NG101, NG203]", "def f(x):\n    return x"),
    "another comment": (
        "def f(x):\n    return x  # type: ignore  # nanguard: ignore[NG101] why",
        "def f(x):\n    return x  # type: ignore",
    ),
    "another behind": (
        "def f(x):\n    return x  # nanguard: ignore[NG101] why  # pragma: no cover",
        "def f(x):\n    return x  # pragma: no cover",
    ),
    "noqa": ("def f(x):\n    return x  # noqa: NG101", "def f(x):\n    return x"),
    "noqa with others": ("def f(x):\n    return x  # noqa: E501,NG101", "def f(x):\n    return x  # noqa: E501"),
    "both": (
        "def f(x):\n    return x  # noqa: NG101, E501  # nanguard: ignore[NG101]",
        "def f(x):\n    return x  # noqa: E501",
    ),
    "after a repair": ("def f(x):\n    return F.logsigmoid(x)  # nanguard: ignore[NG101]",
                       "def f(x):\n    return F.logsigmoid(x)"),
    "inside": ("def f(x):\n    return g(\n        # nanguard: ignore[NG101]\n        x,\n    )",
               "def f(x):\n    return g(\n        x,\n    )"),
}  # fmt: skip


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("body, after", UNUSED.values(), ids=UNUSED)
def test_what_suppresses_nothing_is_found_and_taken_away(body: str, after: str, ends: str) -> None:
    source, wanted = (f"{HEAD}{text}\n".replace("\n", ends).encode() for text in (body, after))
    Path("a.py").write_bytes(source)
    report = check_paths(["a.py"], Settings(static=True, quiet=True))
    assert codes(report) == ["NG002"]
    assert report.findings[0].fix is not None
    assert report.findings[0].severity == "warning"
    outcome = fix_paths(["a.py"], Settings(static=True, quiet=True), unsafe=False)
    assert [file.after for file in outcome.files] == [wanted]
    assert outcome.report.findings == ()


def test_the_codes_that_are_of_use_stay(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        f"{HEAD}def f(x):\n    return {RISK}  # nanguard: ignore[NG101, NG203] -- old\n"
        "def g(x):\n    return torch.log(1 - torch.sigmoid(x))  # nanguard: ignore[NG401]\n"
    )
    report = check_paths([str(path)], Settings(quiet=True), worker)
    left = [finding for finding in report.findings if finding.code == "NG002"]
    assert [finding.message.partition(":")[0] for finding in left] == ["NG203", "NG401"]
    assert left[0].fix is not None
    assert left[0].fix.replacement == "# nanguard: ignore[NG101] -- old"
    assert [finding.target for finding in left] == ["f", "g"]


QUIET = {
    "not selected": ("def f(x):\n    return x  # nanguard: ignore[NG101]", {"select": ("NG2", "NG002")}),
    "a part not selected": ("def f(x):\n    return x  # nanguard: ignore[NG1]", {"ignore": ("NG103",)}),
    "ignored": ("def f(x):\n    return x  # nanguard: ignore[NG101]", {"ignore": ("NG002",)}),
    "not asked for": ("def f(x):\n    return x  # nanguard: ignore[NG101]", {"select": ("NG1",)}),
    "suppressed itself": ("def f(x):\n    return x  # nanguard: ignore[NG101, NG002]", {}),
    "suppressed for the file": (
        "# nanguard: file-ignore[NG002]\ndef f(x):\n    return x  # nanguard: ignore[NG101]", {}),
    "of others": ("def f(x):\n    return x  # noqa: E501", {}),
    "without codes": ("def f(x):\n    return x  # noqa", {}),
    "only read": (f"def f(x):\n    return {RISK}, x.foo()  # nanguard: ignore[NG101, NG203]", {}),
    "told to": ("def f(x):\n    return x  # nanguard: ignore[NG101]", {"ignore_suppressions": True}),
}  # fmt: skip


@pytest.mark.parametrize("body, given", QUIET.values(), ids=QUIET)
def test_says_nothing_of_a_comment_that_may_be_of_use(body: str, given: dict[str, object]) -> None:
    assert codes(checked(f"{HEAD}{body}\n", **given)) == []


def test_says_nothing_of_a_target_that_was_not_traced(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        f"{HEAD}def f(x):\n    return {RISK}\n"
        "def g(x):\n    y = x + 1  # nanguard: ignore[NG203]\n    raise RuntimeError(y)\n"
        "def h(x):\n    return x + 1  # nanguard: ignore[NG203]\n"
    )
    report = check_paths([str(path)], Settings(quiet=True), worker)
    assert {target.name: target.reason is None for target in report.targets} == {"f": True, "g": False, "h": True}
    assert [finding.target for finding in report.findings if finding.code == "NG002"] == ["h"]


def test_says_nothing_where_others_that_were_not_checked_import_the_file(tmp_path: Path) -> None:
    Path("pyproject.toml").touch()
    Path("tools").mkdir()
    Path("helper.py").write_text("def low(x):\n    return x.log()  # nanguard: ignore[NG101]\n")
    user = Path("tools/use.py")
    user.write_text("from . import (\n    helper,\n)\n")
    quiet = Settings(static=True, quiet=True)
    assert codes(check_paths(["helper.py"], quiet)) == []
    assert codes(check_paths(["helper.py", "tools"], quiet)) == ["NG002"]
    user.write_text("from . import other\n")
    assert codes(check_paths(["helper.py"], quiet)) == ["NG002"]


def test_says_nothing_where_a_part_of_the_file_was_asked_for() -> None:
    Path("a.py").write_text("def f(x):\n    return x  # nanguard: ignore[NG101]\n")
    assert codes(check_paths(["a.py::f"], Settings(static=True))) == []


# --- fixes ------------------------------------------------------------------------------------------------


def test_a_fix_leaves_what_is_suppressed() -> None:
    kept = f"def f(x):\n    return {RISK}  # nanguard: ignore[NG101]\n"
    Path("a.py").write_text(f"{HEAD}{kept}def g(x):\n    return {RISK}\n")
    outcome = fix_paths(["a.py"], Settings(static=True, quiet=True), unsafe=True)
    assert [file.after.decode() for file in outcome.files] == [f"{HEAD}{kept}def g(x):\n    return F.logsigmoid(x)\n"]
    assert outcome.bugs == ()
    assert outcome.report.findings == ()
    assert [item.finding.target for item in outcome.report.suppressed] == ["f"]


# --- adding -----------------------------------------------------------------------------------------------

LONG = "x" * 60
ADDED = {
    "at the end": (f"    return {RISK}\n", f"    return {RISK}  # nanguard: ignore[NG101]\n"),
    "no line end": (f"    return {RISK}", f"    return {RISK}  # nanguard: ignore[NG101]"),
    "blanks": (f"    return {RISK}   \n", f"    return {RISK}  # nanguard: ignore[NG101]\n"),
    "last line": ("    return torch.log(\n        torch.sigmoid(x)\n    )\n",
                  "    return torch.log(\n        torch.sigmoid(x)\n    )  # nanguard: ignore[NG101]\n"),
    "another comment": (f"    return {RISK}  # type: ignore\n",
                        f"    return {RISK}  # type: ignore  # nanguard: ignore[NG101]\n"),
    "merged": (f"    return {RISK}  # nanguard: ignore[NG203] -- so\n",
               f"    return {RISK}  # nanguard: ignore[NG203, NG101] -- so\n"),
    "merged above": (f"    # nanguard: ignore[NG203]\n    return {RISK}\n",
                     f"    # nanguard: ignore[NG203, NG101]\n    return {RISK}\n"),
    "backslash": (f"    return {RISK} \\\n        + 1\n",
                  f"    # nanguard: ignore[NG101]\n    return {RISK} \\\n        + 1\n"),
    "string": (f"    return {RISK}, '''\n    '''\n",
               f"    # nanguard: ignore[NG101]\n    return {RISK}, '''\n    '''\n"),
    "too long": (f"    return g({RISK}, {LONG}, {LONG[:20]})\n",
                 f"    # nanguard: ignore[NG101]\n    return g({RISK}, {LONG}, {LONG[:20]})\n"),
    "twice in a line": (f"    return {RISK}, {RISK}\n", f"    return {RISK}, {RISK}  # nanguard: ignore[NG101]\n"),
    "two codes": (f"    return {RISK}, torch.log(1 - torch.sigmoid(x))\n",
                  f"    return {RISK}, torch.log(1 - torch.sigmoid(x))  # nanguard: ignore[NG101, NG102]\n"),
}  # fmt: skip


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("body, after", ADDED.values(), ids=ADDED)
def test_adds_comments(body: str, after: str, ends: str, run) -> None:
    source, wanted = (f"{HEAD}def f(x):\n{text}".replace("\n", ends) for text in (body, after))
    Path("a.py").write_bytes(source.encode())
    status, out, err = run("--add-ignores", "a.py")
    assert (status, out) == (0, "")
    assert "Added comments for" in err
    assert Path("a.py").read_bytes().decode() == wanted
    status, out, err = run("a.py")
    assert (status, out) == (0, "")
    assert "suppressed" in err


def test_adds_a_reason(run) -> None:
    Path("a.py").write_text(f"{HEAD}def f(x):\n    return {RISK}\n")
    assert run("--add-ignores=from before nanguard", "a.py")[0] == 0
    assert "# nanguard: ignore[NG101] -- from before nanguard\n" in Path("a.py").read_text()


def test_keeps_encoding_mark_and_mode(run) -> None:
    path = Path("a.py")
    source = f"# -*- coding: latin-1 -*-\n{HEAD}def f(x):\n    'é'\n    return {RISK}\n".encode("latin-1")
    path.write_bytes(source)
    path.chmod(0o755)
    assert run("--add-ignores", "a.py")[0] == 0
    assert path.read_bytes() == source[:-1] + b"  # nanguard: ignore[NG101]\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    Path("b.py").write_bytes(b"\xef\xbb\xbf" + f"{HEAD}def f(x):\n    return {RISK}\n".encode())
    assert run("--add-ignores", "b.py")[0] == 0
    assert Path("b.py").read_bytes().startswith(b"\xef\xbb\xbfimport")
    before = path.read_bytes()
    path.write_bytes(source)
    status, _, err = run("--add-ignores=\u6570", "a.py")
    assert (status, path.read_bytes()) == (2, source)
    assert "a.py: no comments were added" in err
    assert before != source


@pytest.mark.parametrize("reason", ["two\nlines", "# noqa", "see # nanguard: ignore[NG1]"])
def test_refuses_a_reason_that_is_none(reason: str, run) -> None:
    Path("a.py").write_text(f"{HEAD}def f(x):\n    return {RISK}\n")
    status, _, err = run(f"--add-ignores={reason}", "a.py")
    assert status == 2
    assert "--add-ignores: the reason must be one line" in err


@pytest.mark.parametrize(
    "options", [("--fix",), ("--diff",), ("--write-baseline",), ("--ignore-suppressions",)], ids=lambda given: given[0]
)
def test_adding_goes_alone(options: tuple[str, ...], run) -> None:
    status, _, err = run("--add-ignores", *options, ".")
    assert status == 2
    assert "does not go with" in err


# Every way to write a statement with a risky call in it, more or less.
CALL = st.sampled_from(
    [
        "torch.log(x)", "torch.log(\n        x\n    )", "torch.log(  # why\n        x)", "(torch\n     .log(x))",
        "torch.log(\n        x  # nanguard: ignore[NG203] -- so\n    )", f"torch.log({LONG})", "torch.log(\n\tx)",
        "torch.log('''a\n    # noqa\n''')", "[torch.log(x) for x in y]", "(lambda: torch.log(x))", "f'{torch.log(x)}'",
    ]
)  # fmt: skip
STATEMENT = st.sampled_from(
    [
        "{0}", "return {0}   ", "y = {0}; z = {1}", "y = {0} \\\n        + {1}",
        "if {0}: y = {1}", "if {0}:\n        y = {1}",
        "while (\n        {0}\n    ):\n        # inside\n        y = {1}",
        "y = [{0},\n\n        # between\n        {1}]",
        "y = {0}, '''\n  text''', {1}", "with {0} as a, \\\n            {1} as b:\n        pass",
        "try:\n        {0}\n    except ValueError:  # noqa: E501\n        {1}",
        "@g({0})\n    def h(y={1}): pass",
        "# nanguard: ignore[NG203]\n    y = {0}",
        "# a\n    # nanguard: ignore[NG101] -- known\n    y = {0}\n    z = {1}",
        f"y = ({{0}},\n        '{LONG}', '{LONG}', {{1}}, '{LONG}')",
    ]
)  # fmt: skip
PIECE = st.builds(lambda statement, first, second: f"    {statement.format(first, second)}\n", STATEMENT, CALL, CALL)
FILE = st.lists(PIECE, min_size=1, max_size=4).map(lambda pieces: "def f(x, y):\n" + "".join(pieces))


def calls(source: str, codes: list[str]) -> list[Finding]:
    """A finding for each call of log, as a check might give it."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    nodes = [node for node in nodes if isinstance(node.func, ast.Attribute) and node.func.attr == "log"]
    found = []
    for number, node in enumerate(sorted(nodes, key=lambda node: (node.lineno, node.col_offset))):
        code = codes[number % len(codes)]
        end = node.end_lineno or node.lineno, node.end_col_offset or 0
        span = Span("a.py", node.lineno, node.col_offset, *end)
        name = next(rule.name for rule in rules.listed() if rule.code == code)
        found.append(Finding(code, name, "misuse", "warning", span, "f", ast.unparse(node), "", True))
    return found


@settings(max_examples=100, deadline=None)
@given(
    FILE,
    st.lists(st.sampled_from(["NG101", "NG102", "NG203"]), min_size=1, max_size=3),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_layout_is_clean_afterwards_and_means_the_same(source: str, codes: list[str], ends: str) -> None:
    before = source.replace("\n", ends).encode()
    left = silenced(calls(source, codes), lambda _: comments_of("a.py", source, rules.listed())[0]).left
    after, done = with_ignores("a.py", before, left, "so")
    assert done == left
    text = after.decode()
    assert text.count("\n") == text.count(ends)
    text = text.replace("\r\n", "\n")
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(source))
    comments, notes = comments_of("a.py", text, rules.listed())
    assert notes == ()
    assert silenced(calls(text, codes), lambda _: comments).left == []
    assert all(len(line) <= 120 for line in text.split("\n") if line not in source.split("\n"))
    assert with_ignores("a.py", after, [], "so")[0] == after
