"""The configuration of a project: where it is found, what wins, what is refused, and what the settings do."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from inprocess import in_process

from nanguard.cli import main
from nanguard.cli.output import uncaptured
from nanguard.config import pages
from nanguard.config.keys import BY_NAME, KEYS, KINDS
from nanguard.config.values import rebased
from nanguard.errors import NanguardError
from nanguard.finding import Report, Span, Target
from nanguard.settings import Settings
from nanguard.stated import Range, parse_range

LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
FOUND = "loss.py:5:13: NG101 [*] "

Run = Callable[..., "Outcome"]


class Outcome:
    """What a run printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def settings(self) -> dict[str, tuple[object, str]]:
        """What `nanguard config --format json` said: values and where they come from, by the names of the keys."""
        listed = json.loads(self.out)["settings"]
        return {name: (row["value"], row["from"]) for name, row in listed.items()}


@pytest.fixture(scope="module", autouse=True)
def without_processes() -> Iterator[None]:
    with in_process():
        yield


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "NANGUARD_OUTPUT_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    Path("loss.py").write_text(LOSS)
    return tmp_path


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str, text: str | None = None) -> Outcome:
        if text is not None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capfdbinary.readouterr()
        assert isinstance(caught.value.code, int)
        return Outcome(caught.value.code, out.decode(), err.decode())

    return run


def check(run: Run, *arguments: str, text: str | None = None) -> Outcome:
    return run("check", "--static", "--format", "concise", *arguments, text=text)


def configure(text: str, file: str = "pyproject.toml") -> None:
    """Write a configuration; its keys are put below [tool.nanguard] in a pyproject.toml."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "pyproject.toml":
        text = "[tool.nanguard]\n" + text.replace("[inputs", "[tool.nanguard.inputs").replace(
            "[per", "[tool.nanguard.per"
        )
    path.write_text(text)


def origin(run: Run, key: str, *arguments: str) -> tuple[object, str]:
    outcome = run("config", "--format", "json", *arguments)
    assert outcome.status == 0, outcome.err
    return outcome.settings[key]


# --- where it is found -----------------------------------------------------------------------------------


def test_the_nearest_folder_with_a_configuration_has_it(run: Run, folder: Path) -> None:
    configure("timeout = 1", "pyproject.toml")
    configure("timeout = 2", "inner/nanguard.toml")
    Path("inner/pyproject.toml").write_text("[tool.other]\nnanguard = 1\n")
    Path("inner/deep").mkdir()
    Path("inner/deep/pyproject.toml").write_text("[project]\nname = 'x'\n")  # has none, so it is passed over
    Path("inner/deep/m.py").write_text(LOSS)
    assert origin(run, "timeout") == (1, "pyproject.toml: tool.nanguard.timeout")
    assert origin(run, "timeout", "inner") == (2, "inner/nanguard.toml: timeout")
    assert origin(run, "timeout", "inner/deep/m.py::loss") == (2, "inner/nanguard.toml: timeout")
    assert origin(run, "timeout", "inner/deep", "loss.py")[0] == 1  # the nearest above both
    assert origin(run, "timeout", str(folder / "inner/deep/m.py"))[0] == 2
    assert origin(run, "timeout", "inner/deep/missing.py")[0] == 2


def test_a_file_of_its_own_wins_beside_a_pyproject(run: Run) -> None:
    configure("timeout = 1")
    configure("timeout = 2", "nanguard.toml")
    assert origin(run, "timeout")[0] == 2
    configure("", "nanguard.toml")
    assert origin(run, "timeout") == (20.0, "default")


def test_a_file_that_is_named_and_none_at_all(run: Run) -> None:
    configure("timeout = 1")
    configure("timeout = 3", "other/settings.toml")
    configure("timeout = 4", "other/pyproject.toml")
    assert origin(run, "timeout", "--config", "other/settings.toml") == (3, "other/settings.toml: timeout")
    assert origin(run, "timeout", "--config", "other/pyproject.toml")[0] == 4
    assert origin(run, "timeout", "--isolated") == (20.0, "default")


def test_what_is_not_needed_is_not_imported() -> None:
    code = "import sys\nfrom nanguard.cli import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules)"

    def modules(*arguments: str) -> set[str]:
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        return set(done.stdout.split())

    Path("m.py").write_text("x = 1\n")
    assert {"torch", "tabulate", "nanguard.config.values"}.isdisjoint(modules("check", "m.py", "-q"))
    assert {"torch", "tomllib", "nanguard.config.values"}.isdisjoint(modules("config"))
    configure("timeout = 1")
    loaded = modules("config")
    assert "tomllib" in loaded
    assert "torch" not in loaded


# --- what wins -------------------------------------------------------------------------------------------


def test_the_command_line_wins_over_the_environment_over_the_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("check", "loss.py", "--static").out.startswith(f"{FOUND}log")
    configure('output-format = "json"')
    assert run("check", "loss.py", "--static").out.startswith("{")
    monkeypatch.setenv("NANGUARD_OUTPUT_FORMAT", "concise")
    assert len(run("check", "loss.py", "--static").out.splitlines()) == 1
    assert origin(run, "output-format") == ("concise", "environment: NANGUARD_OUTPUT_FORMAT")
    assert len(run("check", "loss.py", "--static", "--format", "text").out.splitlines()) > 1
    monkeypatch.setenv("NANGUARD_OUTPUT_FORMAT", "xml")
    outcome = run("check", "loss.py")
    assert (outcome.status, outcome.out) == (2, "")
    assert "NANGUARD_OUTPUT_FORMAT is the text 'xml'; give 'text' or" in outcome.err


@pytest.mark.parametrize(
    ("key", "options", "value"),
    [
        ("select", ["--select", "NG1,NG2"], ["NG1", "NG2"]),
        ("dtype", ["--dtype", "float16", "--dtype", "float64"], ["float16", "float64"]),
        ("static", ["--static"], True),
        ("static", ["--no-static"], False),
        ("unsafe-fixes", ["--no-unsafe-fixes"], False),
        ("force-exclude", ["--force-exclude"], True),
        ("jobs", ["-j", "3"], 3),
        ("eps", ["--eps", "1e-3"], 1e-3),
        ("rules", ["--rules", "mine.toml"], ["mine.toml"]),
        ("cache-dir", ["--cache-dir", "kept"], "kept"),
    ],
)
def test_config_says_what_comes_from_the_command_line(run: Run, key: str, options: list[str], value: object) -> None:
    configure('select = ["NG4"]\ndtype = "float16"\nstatic = true\nunsafe-fixes = true\njobs = 8\neps = 0.1')
    Path("mine.toml").write_text((Path(__file__).parents[1] / "rules/NG101-log-sigmoid.toml").read_text().replace(
        "NG101", "XY101").replace("log-sigmoid", "my-log-sigmoid"))  # fmt: skip
    assert origin(run, key, *options) == (value, "command line")


def test_config_is_a_table_with_every_key(run: Run) -> None:
    configure("jobs = 2")
    outcome = run("config", "loss.py")
    rows = {line.split()[0]: line for line in outcome.out.splitlines()}
    assert list(rows) == ["key", *(key.name for key in KEYS)]
    assert rows["jobs"].split() == ["jobs", "2", "pyproject.toml:", "tool.nanguard.jobs"]
    assert rows["timeout"].split() == ["timeout", "20.0", "default"]


@pytest.mark.parametrize(
    ("file", "options", "codes"),
    [
        ('select = ["NG4"]', [], []),
        ('select = ["log-sigmoid"]', [], ["NG101"]),
        ('select = ["NG2"]', ["--select", "NG1"], ["NG101"]),
        ('select = ["NG2"]\nextend-select = ["NG101"]', [], ["NG101"]),
        ('select = ["NG2"]\nextend-select = ["NG101"]', ["--select", "NG3"], []),
        ('select = ["NG2"]', ["--extend-select", "NG101"], ["NG101"]),
        ('ignore = ["NG1", "NG2"]', [], []),
        ('ignore = ["NG1"]', ["--extend-select", "NG101"], ["NG101"]),
        ('ignore = ["NG101"]', ["--select", "NG10"], []),  # the longest selector decides
        ('ignore = ["NG101"]', ["--select", "NG101"], ["NG101"]),  # and at a draw the command line
        ('ignore = ["NG101"]', ["--ignore", "NG2"], ["NG101"]),
        ('ignore = ["ALL"]', [], []),
    ],
)
def test_rules_are_selected_by_the_file_and_the_command_line(
    run: Run, file: str, options: list[str], codes: list[str]
) -> None:
    configure(file)
    outcome = check(run, "loss.py", *options)
    assert [line.split()[1] for line in outcome.out.splitlines()] == codes
    assert outcome.status == (1 if codes else 0)


# --- what is refused -------------------------------------------------------------------------------------

REFUSED = {
    "timout = 1": "timout is no key of nanguard's; did you mean 'timeout'?",
    "per_file_ignores = 1": "per_file_ignores is no key of nanguard's; did you mean 'per-file-ignores'?",
    "zzz = 1": "zzz is no key of nanguard's; it may have select, extend-select, ignore",
    'select = "NG1"': "select is the text 'NG1'; give a list of rules",
    "select = [1]": "select has the number 1; give a list of rules",
    'select = ["NG1O1"]': "select: no rule 'NG1O1'; did you mean 'NG101'?",
    'extend-select = ["log-sigmod"]': "extend-select: no rule 'log-sigmod'; did you mean 'log-sigmoid'?",
    'ignore = ["NG9"]': "ignore: no rule 'NG9'",
    'unfixable = ["NG9"]': "unfixable: no rule 'NG9'",
    '[per-file-ignores]\n"tests/*" = ["NG9"]': "per-file-ignores['tests/*']: no rule 'NG9'",
    '[per-file-ignores]\n"tests/*" = "NG1"': "per-file-ignores['tests/*'] is the text 'NG1'; give a list of rules",
    'per-file-ignores = ["NG1"]': "per-file-ignores is a list; give a table of patterns",
    "static = 1": "static is the number 1; give true or false",
    "static = 'yes'": "static is the text 'yes'; give true or false",
    "exclude = true": "exclude is true; give a list of patterns",
    "jobs = 0": "jobs is the number 0; give a whole number of 1 or more",
    "jobs = 1.5": "jobs is the number 1.5; give a whole number of 1 or more",
    "jobs = true": "jobs is true; give a whole number",
    "timeout = -1": "timeout is the number -1; give a number above 0",
    "timeout = inf": "timeout is the number inf; give a number above 0",
    "timeout = 1979-05-27": "timeout is a date; give a number above 0",
    "eps = 0.5": "eps is the number 0.5; give a number above 0 and below 0.5",
    "eps = 1e-10": "eps 1e-10 has no effect in float32; the least that has is",
    'dtype = "float23"': "dtype is the text 'float23'; give 'float16' or 'bfloat16' or 'float32' or 'float64'; did you",
    'dtype = ["float32", 1]': "dtype is the number 1; give 'float16'",
    "dtype = []": "dtype is an empty list; give 'float16'",
    'prefer = "exact"': "prefer is the text 'exact'; give 'stable' or 'clamp'",
    'output-format = "jsn"': "output-format is the text 'jsn'; give",
    'color = "on"': "color is the text 'on'; give 'auto' or 'always' or 'never'",
    "baseline = []": "baseline is an empty list; give a file",
    "cache-dir = 3": "cache-dir is the number 3; give a folder",
    'inputs = "any"': "inputs is the text 'any'; give a table of losses",
    '[inputs]\nfocal = { p = "p > 0" }': "inputs['focal'] names no loss; write FILE::NAME, such as 'losses.py::focal'",
    '[inputs]\n"m.py::f" = "p > 0"': "inputs['m.py::f'] is the text 'p > 0'; give a table such as { target =",
    '[inputs]\n"m.py::f" = { p = 1 }': "inputs['m.py::f'].p is the number 1; give a text such as \"0 <= p <= 1\"",
    '[inputs]\n"m.py::f" = { p = "q > 0" }': (
        "inputs['m.py::f'].p: 'q > 0' is no range of 'p'; write one such as \"0 <= p <= 1\", \"p > 0\" or \"any\""
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("file", ["pyproject.toml", "nanguard.toml"])
def test_a_wrong_key_or_value_is_one_line_with_the_file_and_the_key(run: Run, file: str, text: str) -> None:
    configure(text, file)
    outcome = run("check", "loss.py")
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    prefix = "tool.nanguard." if file == "pyproject.toml" else ""
    assert line.startswith(f"nanguard: error: {file}: {prefix}{REFUSED[text]}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[tool.nanguard]\njobs = 2\nselect = [\n'NG1'\n", "pyproject.toml:4: does not parse as TOML: Unclosed array"),
        (
            b"[tool.nanguard]\njobs = 2\njobs = 3\n",
            "pyproject.toml:3: does not parse as TOML: Cannot overwrite a value",
        ),
        (b"[tool.nanguard]\njobs = \n", "pyproject.toml:2: does not parse as TOML: Invalid value"),
        (b"[tool.nanguard]\n# \xe9\n", "pyproject.toml:2: is not UTF-8"),
        (b"[tool]\nnanguard = 3\n", "pyproject.toml: tool.nanguard is no table; write [tool.nanguard]"),
    ],
)
def test_a_file_that_is_no_toml_is_one_line(run: Run, data: bytes, message: str) -> None:
    Path("pyproject.toml").write_bytes(data)
    outcome = run("check", "loss.py")
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"nanguard: error: {message}")
    assert run("check", "loss.py", "--isolated", "--static").status == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "gone.toml"], "gone.toml: no such file; give --config a TOML file"),
        (["--config", "bare/pyproject.toml"], "bare/pyproject.toml: has no table [tool.nanguard]"),
        (
            ["--config", "bare/pyproject.toml", "--isolated"],
            "--isolated reads no configuration, and --config names one",
        ),
        (
            ["--per-file-ignores", "tests"],
            "invalid value for '--per-file-ignores': 'tests' has not the form GLOB:RULES",
        ),
        (["--per-file-ignores", "tests:NG9"], "--per-file-ignores: no rule 'NG9'"),
        (["--fixable", "NG9"], "--fixable: no rule 'NG9'"),
        (["--extend-select", "NG9"], "--extend-select: no rule 'NG9'"),
        (["--shard", "3/2"], "invalid value for '--shard': '3/2' has not the form I/N"),
        (["--shard", "0/2"], "invalid value for '--shard'"),
        (["--shard", "two"], "invalid value for '--shard'"),
        (["--stdin-filename", "m.py"], "--stdin-filename names standard input; give - as the path"),
        (["-"], "standard input (-) is checked alone"),
        (["--eps", "1e-12"], "--eps 1e-12 has no effect in float32"),
    ],
)
def test_a_wrong_option_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    Path("bare").mkdir()
    Path("bare/pyproject.toml").write_text("[project]\n")
    outcome = run("check", "loss.py", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"nanguard: error: {message}")


# --- what the settings do --------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("src/gen/a.py", "src/b.py", "gen/c.py", "tests/d.py"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(LOSS)
    configure('exclude = ["src/gen"]\n[per-file-ignores]\n"tests/*" = ["ALL"]\n"loss.py" = ["NG1"]')

    def found(*arguments: str) -> list[str]:
        return [line.partition(":")[0] for line in check(run, *arguments).out.splitlines()]

    assert found(".") == ["gen/c.py", "src/b.py"]
    monkeypatch.chdir(folder / "src")
    assert found(".") == ["b.py"]
    assert found("..") == ["../gen/c.py", "../src/b.py"]
    assert found(".", "--exclude", "b.py") == ["gen/a.py"]  # in the place of the file's
    assert found(".", "--extend-exclude", "b.py") == []
    assert found(".", "--exclude", "./b.py", "--per-file-ignores", "gen/*:NG1") == []
    assert found("gen") == ["gen/a.py"]
    assert found("gen", "--force-exclude") == []


def test_the_cache_is_where_the_file_says(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure('cache-dir = "var/kept"')
    Path("inner").mkdir()
    monkeypatch.chdir("inner")
    assert origin(run, "cache-dir") == ("var/kept", f"{folder / 'pyproject.toml'}: tool.nanguard.cache-dir")
    run("check", "--static", "..")
    assert (folder / "var/kept/CACHEDIR.TAG").is_file()
    assert not (folder / ".nanguard_cache").exists()
    run("check", "--static", "--cache-dir", "other", "..")
    assert "Removed other (" in run("clean", "--cache-dir", "other").out
    assert (folder / "var/kept").is_dir()
    assert f"Removed {folder / 'var/kept'} (" in run("clean").out
    assert not (folder / "var/kept").exists()
    assert "No cache at " in run("clean", "--isolated").out


def test_rules_of_the_project_are_listed_explained_and_checked(run: Run, folder: Path) -> None:
    rule = (Path(__file__).parents[1] / "rules/NG101-log-sigmoid.toml").read_text()
    Path("rules").mkdir()
    Path("rules/ours.toml").write_text(rule.replace("NG101", "XY101").replace("log-sigmoid", "our-log-sigmoid"))
    configure('rules = ["rules/ours.toml"]\nselect = ["XY"]\nprefer = "clamp"\nstatic = true')
    codes = [row["code"] for row in json.loads(run("rules", "--format", "json").out)["rules"]]
    assert {"NG101", "XY101"} < set(codes)
    proofs = run("rules", "--prove", "--format", "json").out
    assert '"code": "XY101"' in proofs
    assert '"code": "NG101"' not in proofs
    assert run("explain", "XY101", "--static").out.startswith("# our-log-sigmoid (XY101)")
    assert check(run, "loss.py").out.startswith("loss.py:5:13: XY101 ")
    assert run("explain", "XY101", "--static", "--isolated").status == 2
    assert "clamp(" in run("rewrite", "loss.py::loss").out
    assert "logsigmoid(" in run("rewrite", "loss.py::loss", "--prefer", "stable").out


@pytest.mark.parametrize("pattern", ["a.py", "b", "b/", "!a.py"])
def test_a_pattern_without_a_folder_stays(pattern: str) -> None:
    assert rebased(pattern, "/x") == pattern


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("b/c.py", "/x/[y]/b/c.py"),
        ("/b", "/x/[y]/b"),
        ("./b/", "/x/[y]/b/"),
        ("../b/*", "/x/b/*"),
        ("!b/c", "!/x/[y]/b/c"),
    ],
)
def test_a_pattern_with_a_folder_becomes_absolute(pattern: str, expected: str) -> None:
    assert rebased(pattern, "/x/[y]") == expected.replace("[y]", "\\[y\\]")


@pytest.mark.parametrize("how", ["unfixable", "fixable"])
def test_what_is_not_fixable_keeps_its_replacement_and_gets_no_edit(run: Run, how: str) -> None:
    configure('unfixable = ["NG101"]' if how == "unfixable" else 'fixable = ["NG2"]')
    outcome = run("check", "loss.py", "--static")
    assert outcome.out.startswith("loss.py:5:13: NG101 log(")
    assert "logsigmoid(x)`" in outcome.out
    assert "fixable" not in outcome.err
    for options in (["--fix"], ["--fix", "--unsafe-fixes"], ["--diff"]):
        assert check(run, "loss.py", *options).status == (0 if options == ["--diff"] else 1)
        assert Path("loss.py").read_text() == LOSS
    assert check(run, "loss.py", "--fix", "--unfixable", "NG2", "--fixable", "ALL").status == 0
    assert Path("loss.py").read_text() != LOSS


@pytest.mark.parametrize("how", ['unfixable = ["NG002"]', 'unfixable = ["NG0"]', 'fixable = ["NG1"]'])
def test_a_comment_that_is_not_fixable_stays(run: Run, how: str) -> None:
    configure(how)
    text = "def f(x):\n    return x + 1  # nanguard: ignore[NG101]\n"
    Path("plain.py").write_text(text)
    outcome = check(run, "plain.py", "--fix", "--unsafe-fixes")
    assert outcome.status == 1
    assert "NG002" in outcome.out
    assert "fixable" not in outcome.err
    assert Path("plain.py").read_text() == text


def test_files_where_everything_is_ignored_are_not_run(run: Run) -> None:
    Path("m.py").write_text("open('touched', 'w').close()\n" + LOSS)
    outcome = run("check", "m.py", "--format", "concise", "--per-file-ignores", "m.py:ALL")
    assert (outcome.status, outcome.out) == (0, "")
    assert not Path("touched").exists()


def test_no_relevant_files_are_one_line_and_no_failure(run: Run) -> None:
    Path("empty").mkdir()
    for arguments in (["empty"], ["loss.py", "--exclude", "loss.py", "--force-exclude"]):
        outcome = check(run, *arguments)
        assert (outcome.status, outcome.out) == (0, "")
        (line,) = outcome.err.splitlines()
        assert line.startswith("No Python files to check")
        assert check(run, *arguments, "-q").err == ""


def test_the_shards_find_everything_once(run: Run) -> None:
    for number in range(8):
        Path(f"m{number}.py").write_text(LOSS)
    whole = check(run).out.splitlines()
    parts = [check(run, "--shard", f"{index}/3").out.splitlines() for index in (1, 2, 3)]
    assert sorted(line for part in parts for line in part) == sorted(whole)
    assert len(whole) == 9


def test_silent_says_nothing_but_the_status(run: Run) -> None:
    outcome = check(run, "-s", "loss.py", "missing.py")
    assert (outcome.status, outcome.out, outcome.err) == (2, "", "")
    outcome = check(run, "--silent", "loss.py", "-o", "report.txt")
    assert (outcome.status, outcome.out, outcome.err) == (1, "", "")
    assert Path("report.txt").read_text().startswith(FOUND)


@pytest.mark.parametrize(
    ("color", "environment", "coloured"),
    [
        ("auto", {}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour(
    run: Run, monkeypatch: pytest.MonkeyPatch, color: str, environment: dict[str, str], coloured: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = run("check", "loss.py", "--static", "--color", color)
    assert ("\x1b[" in outcome.out) is coloured
    configure(f'color = "{color}"')
    assert ("\x1b[" in run("check", "loss.py", "--static").out) is coloured


@pytest.mark.parametrize(
    ("capture", "reason", "strict", "said"),
    [
        ("trace", None, True, False),
        ("read", None, True, False),  # there was nothing to prove
        ("read", "needs a graph", True, True),
        ("none", None, True, True),
        ("read", "needs a graph", False, False),
    ],
)
def test_strict_fails_where_a_function_was_not_captured(
    capsys: pytest.CaptureFixture[str], capture: str, reason: str | None, strict: bool, said: bool
) -> None:
    target = Target("m.py", "C.f", Span("m.py", 3, 0, 4, 0), "method", capture, reason)
    assert uncaptured(Report(1, (target,), ()), Settings(strict=strict)) is said
    err = capsys.readouterr().err
    assert err.startswith("nanguard: error: m.py:3: C.f could not be captured (--strict)") is said
    assert (reason or "") in err or not said
    assert uncaptured(Report(1, (target,), ()), Settings(strict=strict, silent=True)) is said
    assert capsys.readouterr().err == ""


def test_strict_is_an_option(run: Run) -> None:
    assert check(run, "loss.py", "--ignore", "NG1,NG2", "--strict").status == 0


# --- standard input --------------------------------------------------------------------------------------


def test_standard_input_is_checked_under_its_name(run: Run, folder: Path) -> None:
    configure('[per-file-ignores]\n"tests/*" = ["NG1"]')
    assert check(run, "-", text=LOSS).out.startswith("-:5:13: NG101 [*] ")
    assert check(run, "-", "--stdin-filename", "src/m.py", text=LOSS).out.startswith("src/m.py:5:13: NG101 ")
    assert check(run, "--stdin-filename", "src/m.py", text=LOSS).status == 1
    assert check(run, "-", "--stdin-filename", "tests/m.py", text=LOSS).status == 0
    configure('ignore = ["NG1", "NG2"]', "inner/nanguard.toml")
    assert check(run, "-", "--stdin-filename", "inner/m.py", text=LOSS).status == 0
    outcome = check(run, "-", "--stdin-filename", "src/m.py", text="x = (\n")
    assert outcome.status == 2
    assert outcome.err.startswith("nanguard: error: src/m.py:1: does not parse")
    assert not Path("src").exists()


def test_the_lines_that_are_shown_are_those_of_standard_input(run: Run) -> None:
    outcome = run("check", "-", "--stdin-filename", "loss.py", "--static", text="# é\n" + LOSS)
    assert outcome.out.startswith("loss.py:6:13: NG101")
    assert "    return -torch.log(torch.sigmoid(x))\n" in outcome.out


def test_standard_input_follows_the_imports_of_its_name(run: Run) -> None:
    Path("pack").mkdir()
    Path("pack/__init__.py").touch()
    Path("pack/helper.py").write_text("import torch\n\n\ndef prob(x):\n    return torch.sigmoid(x)\n")
    text = "import torch\nfrom .helper import prob\n\n\ndef loss(x):\n    return -torch.log(prob(x))\n"
    assert check(run, "-", "--stdin-filename", "pack/m.py", text=text).out.startswith("pack/m.py:6:13: NG101")
    assert check(run, "-", text=text).status == 0


def test_fixed_standard_input_is_standard_output(run: Run) -> None:
    text = LOSS.replace("\n", "\r\n") + "\n\ndef other(y):\n    return torch.log(torch.relu(y))\n"
    outcome = check(run, "-", "--fix", "--stdin-filename", "loss.py", text=text)
    assert outcome.out == text.replace("torch.log(torch.sigmoid(x))", "torch.nn.functional.logsigmoid(x)")
    assert Path("loss.py").read_text() == LOSS
    left = check(run, "-", text=outcome.out)
    assert (left.status, left.out.replace("-:", "loss.py:")) == (outcome.status, outcome.err)
    clean = check(run, "-", "--fix", text="x = 1\n")
    assert (clean.status, clean.out) == (0, "x = 1\n")
    broken = check(run, "-", "--fix", text="x = (\n")
    assert (broken.status, broken.out) == (2, "x = (\n")
    diff = check(run, "-", "--diff", "--stdin-filename", "sub/m.py", text=LOSS)
    assert diff.status == 1
    assert diff.out.startswith("--- a/sub/m.py\n+++ b/sub/m.py\n")


# --- ranges ----------------------------------------------------------------------------------------------

INF = float("inf")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("any", Range()),
        ("0 <= p <= 1", Range(0, 1)),
        ("1 >= p >= 0", Range(0, 1)),
        ("0 < p < 1", Range(0, 1, low_open=True, high_open=True)),
        ("p > 0", Range(0, low_open=True)),
        ("0 < p", Range(0, low_open=True)),
        ("p >= 1e-3", Range(1e-3)),
        ("p <= -5", Range(high=-5)),
        ("p >= 0 and p <= 1 and p > 0", Range(0, 1, low_open=True)),
        ("p == 2", Range(2, 2)),
        ("-inf < p <= +3", Range(-INF, 3, low_open=True)),
    ],
)
def test_a_range_is_read(text: str, expected: Range) -> None:
    assert parse_range(text, "p") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p",
        "q > 0",
        "p > q",
        "p > True",
        "p != 0",
        "0 <= p <= 1 or p > 3",
        "1 <= p <= 0",
        "p >",
        "p > f(1)",
        "1 < 2",
    ],
)
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(NanguardError, match=r'is no range of \'p\'; write one such as "0 <= p <= 1"'):
        parse_range(text, "p")


@pytest.mark.parametrize("ends", [(1, 0), (float("nan"), 1), ("0", 1), (True, 2)])
def test_a_wrong_range_raises(ends: tuple[object, object]) -> None:
    with pytest.raises(NanguardError, match=r"Range\(.*(as in|write) Range\(0, 1\)"):
        Range(*ends)  # type: ignore[arg-type]


HEAD = (
    "import torch\nfrom typing import Annotated, Optional\nfrom torch import Tensor\nimport nanguard as ng\n"
    "from nanguard import Range\nHalf = Annotated[Tensor, Range(0, 0.5)]\n\n\n"
)
BODY = "    return -torch.log(1 - p)\n"
STATED = {
    "none": (f"def f(p):\n{BODY}", None),
    "half": (f"def f(p: Annotated[Tensor, ng.Range(0, 0.5)]):\n{BODY}", False),
    "whole": (f"def f(p: Annotated[Tensor, ng.Range(0, 1)]):\n{BODY}", True),
    "open": (f"def f(p: Annotated[Tensor, ng.Range(0, 1, high_open=True)]):\n{BODY}", False),
    "keyword": (f"def f(p: Annotated[Tensor, Range(high=1.0)]):\n{BODY}", True),
    "text": (f"def f(p: 'Annotated[Tensor, Range(low=-1, high=1)]'):\n{BODY}", True),
    "text, half": (f"def f(p: 'Annotated[Tensor, Range(low=-1, high=0.5)]'):\n{BODY}", False),
    "named": (f"def f(p: Half):\n{BODY}", False),
    "optional": (f"def f(x, p: Optional[Half] = None):\n    if p is None:\n        return x\n{BODY}", False),
    "union": (f"def f(x, p: Half | None = None):\n    if p is None:\n        return x\n{BODY}", False),
    "method": (f"class M(torch.nn.Module):\n    def forward(self, p: Half):\n    {BODY}", False),
    "called": (f"def f(x):\n    return g(x)\n\n\ndef g(p: Annotated[Tensor, Range(0, 0.5)]):\n{BODY}", False),
    "another library's": (f"def f(p: Annotated[Tensor, other.Range(0, 1)]):\n{BODY}", None),
}  # fmt: skip


@pytest.mark.parametrize("what", STATED)
def test_a_range_in_an_annotation_is_believed_by_reading(run: Run, what: str) -> None:
    text, found = STATED[what]
    Path("m.py").write_text(HEAD + text)
    outcome = check(run, "m.py")
    assert outcome.status == (1 if found else 0), outcome.out
    assert (": NG207 " in outcome.out) is bool(found)


def test_a_range_of_another_file_is_believed(run: Run) -> None:
    Path("kinds.py").write_text(HEAD)
    Path("m.py").write_text(f"import torch\nfrom kinds import Half\n\n\ndef f(p: Half):\n{BODY}")
    assert check(run, "m.py").status == 0
    Path("wider.py").write_text(HEAD.replace("0.5", "1"))
    Path("m.py").write_text(f"import torch\nimport wider\n\n\ndef f(p: wider.Half):\n{BODY}")
    assert check(run, "m.py").status == 1


@pytest.mark.parametrize("what", ["half", "whole", "open", "text", "named", "optional", "union"])
def test_a_range_in_an_annotation_is_believed_by_tracing(what: str) -> None:
    from nanguard.tracing.live import findings, names_of_torch
    from nanguard.tracing.trace import trace

    text, found = STATED[what]
    space: dict[str, object] = {"__name__": "m"}
    exec(compile(HEAD + text, "m.py", "exec"), space)
    arguments = {"x": None, "p": _half()} if "x" in text.partition(":")[0] else None
    traced = trace(space["f"], arguments=arguments, path="m.py", source=HEAD + text)  # type: ignore[arg-type]
    listed = [finding.code for finding in findings(traced, names_of_torch(space["f"]), Settings())]  # type: ignore[arg-type]
    assert listed == (["NG207"] if found else [])


def _half() -> object:
    import torch

    return torch.full((3,), 0.25)


@pytest.mark.parametrize(
    ("key", "ranges", "found"),
    [
        ("m.py::f", '{ p = "0 <= p <= 1" }', True),
        ("m.py::f", '{ p = "0 <= p <= 0.5" }', False),
        ("m.py::f", '{ p = "any" }', False),
        ("m.py::g", '{ p = "0 <= p <= 1" }', False),
        ("sub/m.py::f", '{ p = "0 <= p <= 1" }', False),
        ("./m.py::f", '{ p = "p >= 0 and p <= 1" }', True),
    ],
)
def test_ranges_of_the_configuration_are_believed(run: Run, key: str, ranges: str, found: bool) -> None:
    Path("m.py").write_text(HEAD + STATED["none"][0])
    configure(f'[inputs]\n"{key}" = {ranges}')
    assert check(run, "m.py").status == (1 if found else 0)


def test_the_configuration_wins_over_an_annotation(run: Run) -> None:
    Path("m.py").write_text(HEAD + STATED["whole"][0])
    configure('[inputs]\n"m.py::f" = { p = "0 <= p <= 0.5" }')
    assert check(run, "m.py").status == 0


# --- the table of keys -----------------------------------------------------------------------------------


def test_the_table_of_keys_is_about_the_settings() -> None:
    names = {field.name for field in fields(Settings)}
    for key in KEYS:
        assert key.field in names, key.name
        assert key.kind in KINDS, key.name
        assert bool(key.choices) == key.kind.startswith("choice"), key.name
    assert {key.kind for key in KEYS} == set(KINDS)
    assert len(BY_NAME) == len(KEYS)


def test_the_page_about_the_configuration_is_current() -> None:
    page = Path(__file__).parents[1] / "docs/configuration.md"
    assert pages.current(page.read_text()) == page.read_text(), "run `make docs`"
    for key in KEYS:
        assert f"| `{key.name}` |" in page.read_text()


def test_settings_are_plain_data() -> None:
    from nanguard.running.wire import decode, encode

    settings = Settings(shard=(1, 3), per_file_ignores={"a/*": ("NG1",)}, inputs={"m.py::f": {"p": "p > 0"}})
    assert decode(Settings, json.loads(json.dumps(encode(settings)))) == settings
