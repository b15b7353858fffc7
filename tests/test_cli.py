"""The command line as a user meets it: what it prints where, and its exit status."""

from __future__ import annotations

import json
import linecache
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

import nanguard
from nanguard.cache.store import Cache
from nanguard.cli import main
from nanguard.cli.check import check
from nanguard.finding import Report
from nanguard.running.checking import check_paths
from nanguard.running.worker import Worker
from nanguard.settings import Settings

LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
CLEAN = "import torch\n\n\ndef add(x, y):\n    return x + y\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[int, Worker]]:
    """The workers of all runs here by their number of jobs: starting one takes seconds."""
    workers: dict[int, Worker] = {}
    yield workers
    for worker in workers.values():
        worker.close()


@pytest.fixture(autouse=True)
def folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the same for all tests, since the workers are in it."""
    for entry in place.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    monkeypatch.chdir(place)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    Path("loss.py").write_text(LOSS)
    Path("clean.py").write_text(CLEAN)
    linecache.clearcache()  # text from standard input may have been called loss.py
    return place


class Outcome:
    """What a run printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, workers: dict[int, Worker]):
    def check(
        paths: Sequence[str],
        settings: Settings,
        worker: Worker | None = None,
        cache: Cache | None = None,
        every_target: bool = True,
    ) -> Report:
        worker = workers.setdefault(settings.jobs, Worker(settings.jobs))
        return check_paths(paths, settings, worker, cache, every_target)

    monkeypatch.setattr("nanguard.running.checking.check_paths", check)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Outcome(caught.value.code, captured.out, captured.err)

    return run


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


# --- check -----------------------------------------------------------------------------------------------


def test_a_loss_is_found_proved_and_repaired(run) -> None:
    outcome = run("check", "loss.py")
    assert outcome.status == 1
    first, *rest = outcome.out.splitlines()
    assert first.startswith("loss.py:5:13: NG101 [*] ")  # and no colour
    text = "\n".join(rest)
    assert "    return -torch.log(torch.sigmoid(x))" in text
    assert "witness: x = " in text
    assert "logsigmoid(x)`" in first
    assert outcome.err.startswith("Found 1 problem ([*] 1 fixable) in 1 file; 1 function checked")


def test_formats(run) -> None:
    concise = run("check", "loss.py", "--format", "concise")
    assert concise.status == 1
    assert concise.err == ""
    (line,) = concise.out.splitlines()
    assert line.startswith("loss.py:5:13: NG101 [*] ")
    outcome = run("check", "loss.py", "--output-format", "json")
    (finding,) = json.loads(outcome.out)["findings"]
    assert (finding["path"], finding["line"], finding["column"]) == ("loss.py", 5, 13)
    assert finding["confirmed"] is True
    assert outcome.err == ""


def test_a_clean_file_is_clean(run) -> None:
    outcome = run("check", "clean.py")
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err == "Found no problems in 1 file; 1 function checked\n"
    assert run("check", "clean.py", "-q").err == ""


@pytest.mark.parametrize("text", ["", "# nothing\n", "x = 1\n", '"""Text."""\n', "import nowhere\n"])
def test_an_empty_or_irrelevant_file_is_no_failure(run, text: str) -> None:
    Path("m.py").write_text(text)
    outcome = run("check", "m.py")
    assert (outcome.status, outcome.out) == (0, "")
    assert "error" not in outcome.err


def test_without_paths_this_folder_is_checked(run) -> None:
    document = json.loads(run("check", "--format", "json").out)
    assert document["summary"]["files"] == 2
    assert [target["path"] for target in document["targets"]] == ["clean.py", "loss.py"]


def test_the_order_does_not_depend_on_jobs(run) -> None:
    for number in range(6):
        Path(f"m{number}.py").write_text(LOSS * (number % 3 + 1))
    alone = run("check", "--format", "json", "--jobs", "1")
    assert alone.status == 1
    assert run("check", "--format", "json", "--jobs", "6").out == alone.out
    places = [(found["path"], found["line"]) for found in json.loads(alone.out)["findings"]]
    assert places == sorted(places)


def test_a_name_limits_what_is_checked(run) -> None:
    Path("m.py").write_text(LOSS + LOSS.replace("loss", "other"))
    document = json.loads(run("check", "m.py::other", "--format", "json").out)
    assert [target["name"] for target in document["targets"]] == ["other"]
    assert [finding["target"] for finding in document["findings"]] == ["other"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--select", "NG2,log-sigmoid"), 1),
        (("--select", "NG4"), 0),
        (("--ignore", "NG1,NG2"), 0),
        (("--exit-zero",), 0),
        (("-e",), 0),
        (("--no-cache", "--timeout", "30", "--dtype", "float32", "--dtype", "float16"), 1),
    ],
)
def test_options_that_change_the_status(run, options: tuple[str, ...], status: int) -> None:
    assert run("check", "loss.py", "--format", "concise", *options).status == status


def test_static_never_runs_the_file(run) -> None:
    Path("m.py").write_text("class Touch:\n    open('touched', 'w').close()\n\n" + LOSS)
    outcome = run("check", "m.py", "--static", "--format", "json")
    assert not Path("touched").exists()
    document = json.loads(outcome.out)
    assert {target["capture"] for target in document["targets"]} == {"read"}
    assert [finding["confirmed"] for finding in document["findings"]] == [True]


def test_output_goes_to_a_file(run) -> None:
    outcome = run("check", "loss.py", "--format", "json", "-o", "report.json")
    assert (outcome.status, outcome.out) == (1, "")
    assert json.loads(Path("report.json").read_text())["summary"]["findings"] == 1


def test_colour_is_for_terminals_and_those_who_ask(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("check", "loss.py").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("check", "loss.py").out


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m nanguard check loss.py | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


# --- bad input -------------------------------------------------------------------------------------------


def bad_file(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


BAD_FILES = {
    "a missing file": (lambda: "missing.py", "missing.py: no such file or folder"),
    "a missing name": (
        lambda: "loss.py::los",
        "loss.py::los: no function or class of this name; did you mean 'loss'",
    ),
    "a syntax error": (lambda: bad_file("m.py", b"x = 1\ndef f(:\n"), "m.py:2: does not parse"),
    "not UTF-8": (lambda: bad_file("m.py", b"x = 1\ny = '\xe9'\n"), "m.py:2: is not UTF-8; save it as UTF-8"),
    "a null byte": (lambda: bad_file("m.py", b"x = 1\n\0\n"), "m.py:2: has a null byte"),
    "too deep": (lambda: bad_file("m.py", b"x = " + b"-" * 200_000 + b"1\n"), "m.py:1: is nested too deeply"),
    "raises at import": (
        lambda: bad_file("m.py", LOSS.encode() + b"\nclass Broken:\n    raise ValueError('no')\n"),
        "m.py:8: ",
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_one_line_and_the_others_are_checked(run, what: str) -> None:
    make, message = BAD_FILES[what]
    outcome = run("check", make(), "clean.py", "--format", "json", "--exit-zero")
    assert outcome.status == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"nanguard: error: {message}")
    assert ";" in line  # what to do about it
    assert "clean.py" in {target["path"] for target in json.loads(outcome.out)["targets"]}


def test_bad_files_do_not_hide_findings(run) -> None:
    bad = [make() for make, _ in BAD_FILES.values()]
    outcome = run("check", *bad, "loss.py", "--format", "concise")
    assert outcome.status == 2
    assert "loss.py:5:13: NG101" in outcome.out
    assert "Traceback" not in outcome.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_one_line(run) -> None:
    Path("loss.py").chmod(0)
    outcome = run("check", "loss.py", "clean.py", "-q")
    assert outcome.status == 2
    assert outcome.err.startswith("nanguard: error: loss.py: cannot be read (Permission denied)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "--select", "NG1O1"), "--select: no rule 'NG1O1'; did you mean 'NG101'?"),
        (("check", "--select", "NG101,NG9"), "--select: no rule 'NG9'"),
        (("check", "--ignore", "log-sigmod"), "--ignore: no rule 'log-sigmod'; did you mean 'log-sigmoid'?"),
        (("check", "--select", ""), "--select: no rule ''"),
        (("check", "--formt", "json"), "no such option '--formt'"),
        (("check", "--format", "xml"), "invalid value for '--format'"),
        (("check", "--dtype", "float8"), "invalid value for '--dtype'"),
        (("check", "--timeout", "0"), "invalid value for '--timeout'"),
        (("check", "--jobs", "0"), "invalid value for '-j'"),
        (("check", "clean.py", "-o", "no/such/file"), "no/such/file: cannot be written"),
        (("chek",), "no such command 'chek'"),
        (("explain", "NG1O1"), "explain: no rule 'NG1O1'; did you mean 'NG101'?"),
        (("explain",), "missing argument 'CODE'"),
        (("rules", "extra"), "got unexpected extra argument (extra)"),
        (("rewrite", "loss.py"), "loss.py: which loss? write FILE::NAME; this file has loss"),
        (
            ("rewrite", "loss.py::los"),
            "loss.py::los: no function or class of this name; did you mean 'loss'?",
        ),
        (("rewrite", "gone.py::loss"), "gone.py: no such file or folder"),
        (("rewrite", "."), ".: no Python files"),
        (("rewrite", "loss.py::loss", "--prefer", "exact"), "invalid value for '--prefer'"),
        (("rewrite", "loss.py::loss", "--eps", "0.9"), "invalid value for '--eps'"),
    ],
)
def test_a_wrong_argument_is_one_line(run, arguments: tuple[str, ...], message: str) -> None:
    if arguments == ("rewrite", "."):
        Path("loss.py").unlink()
        Path("clean.py").unlink()
    outcome = run(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"nanguard: error: {message}")


def test_a_path_that_the_terminal_cannot_show(run) -> None:
    name = os.fsdecode(b"l\xf6ss.py")
    Path(name).write_text(LOSS)
    done = process("-m", "nanguard", "check", name, "--format", "concise", PYTHONIOENCODING="utf-8")
    assert done.returncode == 1
    assert done.stdout.startswith("l\\udcf6ss.py:5:13: NG101 ")


def test_without_torch_one_line_says_so() -> None:
    hide = (
        "import sys, importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'torch' else real(name, package)\n"
        "from nanguard.cli import main\n"
        "main(['check', '--format', 'concise', *sys.argv[1:]])\n"
    )
    done = process("-c", hide, "loss.py", "clean.py")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("nanguard: error: torch is not installed here")
    assert process("-c", hide, "clean.py").returncode == 0
    static = process("-c", hide, "loss.py", "--static")
    assert static.returncode == 0  # what is merely possible fails a run with --pedantic
    assert static.stdout.startswith("loss.py:5:13: NG101 ")
    assert process("-c", hide, "loss.py", "--static", "--pedantic").returncode == 1
    (line,) = static.stderr.splitlines()
    assert line.endswith("what is found is possible, not proved")


# --- rules, explain, rewrite -----------------------------------------------------------------------------


def test_rules_are_a_table_and_data(run) -> None:
    table = run("rules")
    assert table.status == 0
    assert table.out.split("\n")[0].split() == ["code", "name", "hazard", "summary"]
    rows = json.loads(run("rules", "--format", "json").out)["rules"]
    assert {"code", "name", "hazard", "summary"} == rows[0].keys()
    assert [row["code"] for row in rows] == sorted(row["code"] for row in rows)
    for row in rows:
        assert row["code"] in table.out
        assert row["name"] in table.out


@pytest.mark.parametrize("given", ["NG101", "ng101", "log-sigmoid"])
@pytest.mark.parametrize("command", ["explain", "rule"])
def test_a_rule_is_explained_by_code_and_name(run, command: str, given: str) -> None:
    outcome = run(command, given)
    assert outcome.status == 0
    assert outcome.out.startswith("# log-sigmoid (NG101)\n\nSeverity: error (forward-nonfinite).")
    for part in ("Example", "Use instead", "logsigmoid(x)"):
        assert part in outcome.out
    data = json.loads(run(command, given, "--format", "json").out)
    assert data["code"] == "NG101"
    assert data["replacements"][0]["stable"] == "logsigmoid(x)"


def test_every_rule_is_explained(run) -> None:
    text = run("explain", "--all").out
    for row in json.loads(run("rules", "--format", "json").out)["rules"]:
        assert f"# {row['name']} ({row['code']})\n" in text


def test_rewrite_prints_python(run) -> None:
    outcome = run("rewrite", "loss.py::loss")
    assert outcome.status == 0, outcome.err
    assert "logsigmoid(x)" in outcome.out
    compile(outcome.out, "rewritten", "exec")
    clamped = run("rewrite", "loss.py::loss", "--prefer", "clamp", "--eps", "1e-4")
    assert "clamp" in clamped.out
    compile(clamped.out, "rewritten", "exec")


def test_help_names_every_option_with_its_default(run) -> None:
    text = " ".join(run("check", "--help").out.split())
    for option in (
        "--select",
        "--ignore",
        "--format",
        "-o, --output-file",
        "--static",
        "--pedantic",
        "--dtype",
    ):
        assert option in text
    for option in (
        "-e, --exit-zero",
        "--no-cache",
        "--timeout",
        "-j, --jobs",
        "-q, --quiet",
        "-v, --verbose",
    ):
        assert option in text
    for option in check.params:
        assert not isinstance(option, click.Option) or "[default: " in (option.help or ""), option.name
    assert run("--version").out == f"nanguard {nanguard.__version__}\n"
    assert run("--help").status == 0
    assert run().status == 2


# --- our own faults --------------------------------------------------------------------------------------


def test_a_fault_of_our_own_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanguard.matching.rules.load", lambda files: 1 / 0)
    outcome = run("rules")
    assert outcome.status == 2
    assert outcome.err == (
        "nanguard: error: internal error ZeroDivisionError: division by zero; "
        "this is a bug in nanguard; run with -v for the traceback\n"
    )
    with pytest.raises(ZeroDivisionError):
        main(["rules", "-v"])


# --- torch is not imported -------------------------------------------------------------------------------

WITHOUT_TORCH = [
    ("--help",),
    ("--version",),
    ("rules",),
    ("explain", "NG101", "--static"),
    ("explain", "--all"),
    ("check", "clean.py"),
    ("check", "clean.py", "--format", "json"),
]


def imports_torch(*arguments: str) -> bool:
    """Whether nanguard, or a process it starts, imports torch."""
    done = process("-X", "importtime", "-m", "nanguard", *arguments)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "nanguard.cli" in modules, done.stderr
    return "torch" in modules


@pytest.mark.parametrize("arguments", WITHOUT_TORCH, ids=" ".join)
def test_torch_is_not_imported(arguments: tuple[str, ...]) -> None:
    assert not imports_torch(*arguments)


def test_an_import_of_torch_would_be_seen() -> None:
    assert imports_torch("check", "loss.py", "-v")  # -v shows what the other process writes


IN_THIS_PROCESS = (
    "import sys\nfrom nanguard.cli import main\n"
    "try: main(sys.argv[1:])\n"
    "except SystemExit: sys.exit('torch' in sys.modules)\n"
)


@pytest.mark.parametrize("arguments", [*WITHOUT_TORCH, ("check", "loss.py")], ids=" ".join)
def test_torch_stays_out_of_this_process(arguments: tuple[str, ...]) -> None:
    assert process("-c", IN_THIS_PROCESS, *arguments).returncode == 0


def test_torch_in_this_process_would_be_seen() -> None:
    assert process("-c", "import torch\n" + IN_THIS_PROCESS, "--help").returncode == 1


# --- the package -----------------------------------------------------------------------------------------


def test_public_names_are_not_shadowed_by_modules() -> None:
    done = process(
        "-c",
        "import importlib, pkgutil, nanguard\n"
        "for module in pkgutil.iter_modules(nanguard.__path__):\n"
        "    if module.name != '__main__': importlib.import_module('nanguard.' + module.name)\n"
        "assert callable(nanguard.check) and callable(nanguard.rewrite)\n"
        "assert issubclass(nanguard.NanguardError, Exception)\n"
        "assert {'check', 'rewrite', 'NanguardError'} <= set(dir(nanguard))\n",
    )
    assert done.returncode == 0, done.stderr


def test_importing_nanguard_imports_next_to_nothing() -> None:
    done = process("-c", "import sys, nanguard; sys.exit(any(m in sys.modules for m in ('torch', 'click', 'flint')))")
    assert done.returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nanguard.nothing  # noqa: B018
