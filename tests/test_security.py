"""What check runs and what it does not, what it writes, and what it hands on of a file it cannot trust."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import in_process

import nanguard
from nanguard.cli import main

PACKAGE = Path(nanguard.__file__).resolve().parent
LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"

# --- what is run -----------------------------------------------------------------------------------------

# In every Python process of the run: what it opens to write, executes, starts and calls on the network.
WITNESS = """
import os, sys
log = os.open(os.environ["AUDITED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, given):
    if event == "open" and isinstance(given[0], str) and (
        any(mark in (given[1] or "") for mark in "wax+") or given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        said = "write " + os.path.abspath(given[0])
    elif event == "exec":
        said = "exec " + given[0].co_filename
    elif event == "subprocess.Popen":
        said = "start " + " ".join(map(str, given[1]))
    elif event.split(".")[0] in ("socket", "urllib", "http", "ftplib", "smtplib", "webbrowser"):
        said = event + " " + (str(given[1:2]) if event == "socket.__new__" else "")
    elif event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "os.startfile", "marshal.loads",
                   "pickle.find_class", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"):
        said = event + " " + str(given[0])[:100]
    else:
        return
    os.write(log, (said.replace(chr(10), " ")[:300] + chr(10)).encode("utf-8", "replace"))
sys.addaudithook(hook)
"""

# Every file of the project says so when it is run; some have the names of what nanguard itself imports.
TRAP = "open({!r}, 'a').close()\n"
TRAPS = ("conftest.py", "setup.py", "click.py", "tabulate.py", "flint.py", "torch.py", "tomllib.py", "sitecustomize.py",
         "nanguard_rules.py", "losses/__init__.py", "losses/helper.py", "losses/hard.py")  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package whose every file would leave a mark if it were run."""
    project = tmp_path / "project"
    (project / "losses").mkdir(parents=True)
    for name in TRAPS:
        (project / name).write_text(TRAP.format(str(tmp_path / "was-run")) + LOSS)
    hard = project / "losses" / "hard.py"
    hard.write_text("from .helper import loss as inner\n" + hard.read_text() + "\nVALUE = inner(torch.ones(1))\n")
    (project / "nanguard.toml").write_text('select = ["NG1"]\nrules = ["ours.toml"]\nbaseline = "known.json"\n')
    (project / "ours.toml").write_text(
        'code = "XX001"\nname = "x"\nhazard = "forward-nonfinite"\nsummary = "s"\nmatch = ["log(x) + exp(x)"]\n'
    )
    (project / "known.json").write_text('{"version": 1, "findings": []}\n')
    return project


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """A digest of all that is below a folder, with the times of writing."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }


def audited(project: Path, *arguments: str) -> tuple[int, list[str]]:
    """The exit status of a check of the project, and what all its processes did."""
    tools, log = project.parent / "tools", project.parent / "log"
    tools.mkdir()
    (tools / "sitecustomize.py").write_text(WITNESS)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(tools), str(PACKAGE.parent)])
    run = subprocess.run(
        [sys.executable, "-m", "nanguard", "check", "--format", "json", *arguments, "."],
        cwd=project,
        env={**environment, "PYTHONPATH": path, "AUDITED": str(log)},
        capture_output=True,
        timeout=120,
    )
    assert b"Traceback" not in run.stderr, run.stderr.decode()
    return run.returncode, log.read_text().splitlines()


def of_the_project(events: list[str], project: Path) -> list[str]:
    return [event for event in events if str(project) in event]


def test_static_runs_nothing_of_the_project(project: Path) -> None:
    before = tree(project)
    status, events = audited(project, "--static", "--no-cache")
    assert status == 1
    assert tree(project) == before
    assert not (project.parent / "was-run").exists()
    assert of_the_project(events, project) == []
    ours = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(PACKAGE),
            os.path.dirname(os.__file__), str(project.parent / "tools"), "<", sys.base_prefix)  # fmt: skip
    ran = {event.removeprefix("exec ") for event in events if event.startswith("exec ")}
    assert {name for name in ran if not name.startswith(ours)} == set()
    assert len(ran) > 100  # the hook does see what is run
    started = [event for event in events if event.startswith("start ")]
    assert [event.split()[1] for event in started] == [sys.executable] * len(started)
    assert all("from nanguard.running.server import main" in event for event in started)
    assert len(started) == 1
    assert outside(events) == []


def outside(events: list[str]) -> list[str]:
    """What goes to the network, or starts a program by another way."""
    kinds = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.", "urllib", "http", "socket.connect",
             "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")  # fmt: skip
    return [event for event in events if event.startswith(kinds)]


def test_a_check_that_runs_files_writes_nothing_and_calls_nobody(project: Path) -> None:
    """The files are run, as the README says, and their package with them; nothing is left of it in the project."""
    (project / "losses" / "hard.py").write_text("from .helper import loss as inner\n" + LOSS)
    before = tree(project)
    status, events = audited(project, "--no-cache")
    assert status == 1
    assert tree(project) == before
    ran = {event for event in of_the_project(events, project) if event.startswith("exec ")}
    assert f"exec {project / 'losses' / 'hard.py'}" in ran or "exec losses/hard.py" in {*events, *ran}
    assert not any(event.endswith((f"{project}/setup.py.pyc", "__pycache__")) for event in events)
    assert [event for event in of_the_project(events, project) if event.startswith("write ")] == []
    assert outside(events) == []


# What could run code that comes as data, by file and name: each with the reason why it may stand there.
ALLOWED = {
    ("tracing/load.py", "exec"): "runs the definitions of the file that is traced, in its own process",
    ("tracing/load.py", "compile"): "the same",
    ("tracing/load.py", "import_module"): "what the traced file imports",
    ("tracing/stub.py", "import_module"): "submodules of what the traced file imports",
    ("tracing/subject.py", "eval"): "annotations of a function that is traced, as typing.get_type_hints does",
    ("tracing/traced.py", "load_module"): "nanguard's own function that does what load.py says",
    ("running/warm.py", "import_module"): "the package of the traced file",
    ("running/server.py", "import_module"): "nanguard's own modules",
    ("__init__.py", "import_module"): "nanguard's own modules",
}  # fmt: skip
RISKY = {"eval", "exec", "compile", "__import__", "import_module", "run_path", "run_module", "execfile",
         "exec_module", "load_module", "system", "popen", "posix_spawn", "find_class"}  # fmt: skip
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "runpy", "code", "codeop",
           "http", "urllib.request", "requests", "aiohttp",
           "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser", "joblib"}  # fmt: skip


def called(node: ast.Call) -> str:
    """The last name of what is called; that of ``re.compile`` and ``torch.compile`` is no function that runs text."""
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="re" | "torch"), attr="compile"):
            return ""
        case ast.Attribute(attr="eval"):  # a module's
            return ""
        case ast.Attribute(attr=name):
            return name
    return ""


def reachable() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and called(node) in RISKY:
                yield name, called(node)
            elif isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names if alias.name in MODULES)
            elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
                yield name, str(node.module)
            elif isinstance(node, ast.Attribute) and node.attr in ("load", "save") and _is_torch(node.value):
                yield name, f"torch.{node.attr}"


def _is_torch(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "torch"


def test_no_data_becomes_code() -> None:
    """Rules, settings, baselines and the cache are data: nothing that reads them can run anything."""
    assert set(reachable()) == set(ALLOWED)


# --- what is handed on -----------------------------------------------------------------------------------

# A file whose name, code and comment try to steer a terminal, to close a tag, and to give commands to a CI.
EVIL = "\x1b]0;owned\x07</script><script>alert(1)</script>%0A::error::owned"
NAME = "a\n::stop-commands::x\x1b[31m<img src=x onerror=alert(1)>&\"'.py"
SOURCE = f"import torch\ndef loss(x):\n    return torch.log(torch.sigmoid(scaled(x, '{EVIL}')))  # \x1b[2J{EVIL}\n"


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_text(SOURCE)

    def reported(form: str) -> tuple[str, str]:
        with in_process(), pytest.raises(SystemExit) as caught:
            main(["check", "--static", "--no-cache", "--color", "never", "--format", form, "."])
        assert caught.value.code == 1
        printed = capsys.readouterr()
        return printed.out, printed.err

    return reported


FORMS = ("text", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit", "html")


@pytest.mark.parametrize("form", FORMS)
def test_nothing_steers_a_terminal(form: str, reported) -> None:  # type: ignore[no-untyped-def]
    for text in reported(form):
        assert not {char for char in text if not char.isprintable()} - {"\n", "\t"}


@pytest.mark.parametrize("form", FORMS)
def test_what_machines_read_stays_whole(form: str, reported) -> None:  # type: ignore[no-untyped-def]
    out, err = reported(form)
    match form:
        case "json" | "sarif" | "gitlab":
            json.loads(out)
        case "json-lines":
            assert [json.loads(line)["code"] for line in out.splitlines()] == ["NG101"]
        case "github":
            commands = [line for line in (*out.splitlines(), *err.splitlines()) if line.startswith("::")]
            assert [command.split(" ")[0].rstrip(":") for command in commands if "group" not in command] == ["::error"]
            assert "::stop-commands::x\x1b" not in out
        case "junit":
            import xml.etree.ElementTree as tree

            assert tree.fromstring(out.encode()).tag in ("testsuites", "testsuite")
        case "html":
            assert "<script>alert" not in out
            assert "<img src=x" not in out
        case _:
            assert len([line for line in out.splitlines() if "NG101" in line]) == 1
