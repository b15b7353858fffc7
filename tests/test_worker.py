"""Whatever a file does when it is run costs that file only, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from nanguard.finding import FileResult
from nanguard.running.wire import Answer, Failure
from nanguard.running.worker import Worker
from nanguard.settings import Settings

LOSS = "import torch\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"

# Run in the body of a class, which is a definition, and so is run whatever a file's other statements are.
HOSTILE = {
    "exit": "import sys; sys.exit(3)",
    "hard-exit": "import os; os._exit(0)",
    "abort": "import os; os.abort()",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "endless": "while True: pass",
    "stubborn": """
import signal
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
while True: pass""",
    "noise": "import os; print('noise ' * 10**6); os.write(1, b'noise'); os.write(2, b'noise')",
    "asks": "import sys; assert not sys.stdin.read(); input()",
    "forks": """
import os, time
for turn in range(3): os.fork()
time.sleep(100)""",
    "two-of-it": "import os; os.fork()",
    "daemon": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(100)
    os._exit(0)""",
    "program": "import subprocess; subprocess.Popen(['sleep', '100'], start_new_session=True)",
    "deep": "def again(): again()\nagain()",
    "very-deep": "import sys; sys.setrecursionlimit(10**9)\ndef again(): again()\nagain()",
    "greedy": "hoard = bytearray(1 << 40)",
    "closes": "import os; os.closerange(3, 1000)",
    "lies": """
import os
for number in range(3, 20):
    try: os.write(number, b'{}\\n')
    except OSError: pass""",
    "kills-group": "import os, signal; os.kill(0, signal.SIGKILL)",
    "raises": "raise BaseException('no')",
    "thread": "import threading, time; threading.Thread(target=time.sleep, args=(100,)).start()",
    "timer": """
import signal
signal.signal(signal.SIGALRM, lambda *event: 1 / 0)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)""",
    "builtins": "import builtins; builtins.isinstance = builtins.len = None",
    "exit-hook": "import atexit, os; atexit.register(os.abort)",
    "no-exit": "import os, sys; os._exit = sys.exit = print",
    "no-modules": "import sys; sys.modules.clear()",
    "no-streams": "import sys; sys.stdout = sys.stderr = sys.__stderr__ = None",
    "elsewhere": "import os; os.chdir('/')",
    "profiler": "import sys; sys.settrace(lambda *event: 1 / 0)",
    # Nearly the last one, since the process that runs files loads torch again; with one that nobody is left to end.
    "widow": """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    time.sleep(100)
os.kill(os.getppid(), signal.SIGKILL)""",
}

# What ends the process, by what is said of it.
FATAL = {
    "hard-exit": "ended with exit status 0 before it answered",
    "abort": "was ended by SIGABRT before it answered",
    "segfault": "was ended by SIGSEGV before it answered",
    "endless": "took longer than 2 s (--timeout)",
    "kills-group": "was ended by SIGKILL before it answered",
}


def hostile(code: str) -> str:
    body = textwrap.indent(code.strip(), "    ")
    return f"def misbehave():\n{body}\n\nclass Hostile:\n    misbehave()\n\n{LOSS}"


def hostile_when_built(code: str) -> str:
    body = textwrap.indent(code.strip(), " " * 8)
    built = f"class Hostile(torch.nn.Module):\n    def __init__(self):\n{body}\n"
    return f"{LOSS}\n{built}\n    def forward(self, x):\n        return x\n"


def left(mark: str) -> list[int]:
    """The processes that have the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def none_left(mark: str, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while left(mark) and time.monotonic() < end:
        time.sleep(0.05)
    return not left(mark)


@pytest.fixture
def mark() -> Iterator[str]:
    """A value for an environment variable by which a run's processes are known."""
    mark = uuid4().hex
    yield mark
    for pid in left(mark):
        os.kill(pid, signal.SIGKILL)


def start(folder: Path, mark: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [sys.executable, "-m", "nanguard", "check", "--no-cache", *arguments],
        cwd=folder,
        env={**environment, "NANGUARD_TEST_MARK": mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_a_hostile_file_costs_itself_only(tmp_path: Path, mark: str) -> None:
    files = {name: hostile(code) for name, code in HOSTILE.items()}
    files |= {f"built-{name}": hostile_when_built(HOSTILE[name]) for name in FATAL}
    files |= {"good": LOSS, "zoo": LOSS}
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source)
    run = start(tmp_path, mark, ".", "--format", "json", "--timeout", "2", "-v")
    out, err = run.communicate(timeout=120)
    report = json.loads(out)  # and nothing a file printed
    assert none_left(mark)
    assert "noise noise" not in err
    assert "internal error" not in err
    assert run.returncode in (1, 2), err
    captured = {target["path"]: target["capture"] for target in report["targets"] if target["name"] == "loss"}
    assert captured.keys() == {f"{name}.py" for name in files}
    assert captured["good.py"] == captured["zoo.py"] == "trace"
    proved = {finding["path"] for finding in report["findings"] if finding["confirmed"]}
    assert proved == captured.keys()  # what could not be run was proved as it was read
    for name, reason in FATAL.items():
        assert captured[f"{name}.py"] == "read"
        assert captured[f"built-{name}.py"] == "trace"  # it comes before the class that does it
        for path in (f"{name}.py", f"built-{name}.py"):
            assert f"note: {path}: not run: {reason}" in err
    assert {entry.name for entry in tmp_path.iterdir()} == {f"{name}.py" for name in files}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_nanguard_stops_everything(tmp_path: Path, mark: str, number: int) -> None:
    (tmp_path / "m.py").write_text(hostile("import subprocess; subprocess.run(['sleep', '100'])"))
    run = start(tmp_path, mark, "m.py", "--timeout", "100")
    end = time.monotonic() + 30
    while len(left(mark)) < 5:  # nanguard, its keeper, its server, the file's process and the sleep
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end, "the file was not run"
        time.sleep(0.05)
    begin = time.monotonic()
    run.send_signal(number)
    out, err = run.communicate(timeout=10)
    assert time.monotonic() - begin < 2
    assert none_left(mark)
    assert out == ""
    assert err.strip() == ("nanguard: error: interrupted" if number == signal.SIGINT else "")


def test_interrupting_while_torch_loads_stops_at_once(tmp_path: Path, mark: str) -> None:
    (tmp_path / "m.py").write_text(LOSS)
    run = start(tmp_path, mark, "m.py")
    end = time.monotonic() + 30
    while len(left(mark)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=2)
    assert run.returncode == 130
    assert none_left(mark)


# --- the interface ---------------------------------------------------------------------------------------


def examined(worker: Worker, paths: list[Path], settings: Settings | None = None) -> list[Answer]:
    asked = [worker.ask(str(path), path.read_text(), settings or Settings(), None) for path in paths]
    return [worker.answer(ticket) for ticket in asked]


def test_answers_belong_to_their_questions(worker: Worker) -> None:
    names = [f"loss{number}" for number in range(7)]
    tickets = [worker.ask(f"{name}.py", LOSS.replace("loss", name), Settings(), None) for name in names]
    answers = [worker.answer(ticket) for ticket in reversed(tickets)]
    for name, answer in zip(reversed(names), answers, strict=True):
        assert answer.failure is None
        assert isinstance(answer.result, FileResult), answer
        assert answer.result.path == f"{name}.py"
        assert [target.name for target in answer.result.targets] == [name]
        assert [finding.code for finding in answer.result.findings] == ["NG101"]


def test_a_question_larger_than_a_pipe_is_asked(worker: Worker) -> None:
    source = LOSS + ("#" * 79 + "\n") * 5000
    tickets = [worker.ask("m.py", source, Settings(), None) for _ in range(2)]
    assert all(worker.answer(ticket).failure is None for ticket in tickets)


def test_time_is_limited(worker: Worker) -> None:
    hanging = worker.ask("m.py", hostile(HOSTILE["stubborn"]), Settings(timeout=1.0), None)
    quick = worker.ask("n.py", LOSS, Settings(), None)
    begin = time.monotonic()
    assert worker.answer(hanging).failure == Failure("took longer than 1 s (--timeout)", "time")
    assert worker.answer(quick).failure is None
    assert time.monotonic() - begin < 15


def test_the_time_limit_costs_only_what_is_left(worker: Worker) -> None:
    names = "def named(x, f=dict(f=torch.log)):\n    return f['f'](torch.sigmoid(x))\n"  # what only a trace sees
    endless = "def endless(x):\n    while True: pass\n\ndef later(x):\n    return x\n"
    answer = worker.answer(worker.ask("m.py", f"{LOSS}\n{names}\n{endless}", Settings(timeout=2.0), None))
    assert answer.failure == Failure("took longer than 2 s (--timeout)", "time")
    assert answer.result is not None
    captures = {target.name: target.capture for target in answer.result.targets}
    assert captures == {"loss": "trace", "named": "trace", "endless": "read", "later": "read"}
    assert [finding.target for finding in answer.result.findings] == ["loss", "named"]


def test_a_worker_that_is_not_asked_starts_nothing() -> None:
    with Worker() as worker:
        pass
    assert worker.broken is None


def test_running_a_file_leaves_no_bytecode(tmp_path: Path, worker: Worker) -> None:
    (tmp_path / "beside.py").write_text("scale = 2.0\n")
    path = tmp_path / "m.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom beside import scale\n{LOSS}")
    examined(worker, [path])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["beside.py", "m.py"]


# --- packages --------------------------------------------------------------------------------------------


def package_of(folder: Path, init: str, files: int) -> list[Path]:
    """A package with some files that have the same loss."""
    folder.mkdir()
    (folder / "__init__.py").write_text(init)
    paths = [folder / f"m{number}.py" for number in range(files)]
    for path in paths:
        path.write_text("from . import scale\n" + LOSS.replace("(x))", "(scale * x))"))
    return paths


@pytest.mark.skipif(sys.platform != "linux", reason="a package is kept warm on Linux only")
def test_a_package_is_imported_once_for_most_of_its_files(tmp_path: Path, worker: Worker) -> None:
    count = tmp_path / "count"
    init = f"with open({str(count)!r}, 'a') as file: file.write('x')\nscale = 2.0\n"
    answers = examined(worker, package_of(tmp_path / "counted", init, 5))
    assert len(count.read_text()) == 2  # the first file alone, and the others together
    for answer in answers:
        assert answer.failure is None
        assert answer.result is not None
        assert [target.capture for target in answer.result.targets] == ["trace"]
        assert [finding.code for finding in answer.result.findings] == ["NG101"]
    assert sorted(entry.name for entry in (tmp_path / "counted").iterdir()) == sorted(
        ["__init__.py", *(f"m{number}.py" for number in range(5))]
    )


def test_files_of_a_package_do_not_meet(tmp_path: Path, worker: Worker) -> None:
    paths = package_of(tmp_path / "shared", "scale = 2.0\nseen = []\n", 4)
    for path in paths:
        path.write_text("from . import seen\n\nclass Once:\n    seen.append(1 / (not seen))\n\n" + path.read_text())
    paths[2].write_text("class Ends:\n    import os; os._exit(3)\n\n" + paths[2].read_text())
    answers = examined(worker, paths)
    failures = [answer.failure for answer in answers]
    assert failures == [None, None, Failure("ended with exit status 3 before it answered"), None]
    captures = [target.capture for answer in answers if answer.result for target in answer.result.targets]
    assert captures == ["trace", "trace", "read", "trace"]


INITS = {
    "raises": "scale = 2.0\nraise ValueError('no')",
    "ends": "import os; os._exit(3)",
    "hangs": "while True: pass",
    "threads": "import threading, time; threading.Thread(target=time.sleep, args=(100,)).start(); scale = 2.0",
    "forks": "import os, time; scale = 2.0\nif os.fork() == 0: time.sleep(100)",
    "forges": """
import os
for number in range(3, 20):
    try: os.write(number, b'r' + bytes(8))
    except OSError: pass
scale = 2.0""",
}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_a_package_that_cannot_be_kept_costs_no_reading(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("NANGUARD_TEST_MARK", mark)
    paths = [path for name, init in INITS.items() for path in package_of(tmp_path / name, init, 3)]
    with Worker(jobs=3) as worker:
        answers = examined(worker, paths, Settings(timeout=1.5))
    assert none_left(mark)
    for path, answer in zip(paths, answers, strict=True):
        assert answer.result is not None, path
        assert [finding.code for finding in answer.result.findings] == ["NG101"]


def test_a_package_that_is_kept_is_named_as_it_was_given(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    paths = package_of(tmp_path / "pack", "scale = 2.0\nfrom . import m0, m1, m2\n", 3)
    for number in range(3):  # what only a trace sees
        function = "def more(x, names=dict(f=torch.log)):\n    return names['f'](torch.sigmoid(x))\n"
        paths[number].write_text(paths[number].read_text() + function)
    run = start(tmp_path, mark, "pack", "--format", "json")
    report = json.loads(run.communicate(timeout=60)[0])
    assert {target["capture"] for target in report["targets"]} == {"trace"}
    places = [(finding["path"], finding["line"]) for finding in report["findings"]]
    assert places == [(f"pack/m{number}.py", line) for number in range(3) for line in (5, 7)]


def test_a_module_that_its_package_imports_is_checked_with_the_text_that_is_given(
    tmp_path: Path, worker: Worker
) -> None:  # fmt: skip
    paths = package_of(tmp_path / "pack", "scale = 2.0\nfrom . import m0, m1\n", 2)
    examined(worker, paths)
    fixed = paths[0].read_text().replace("torch.log(torch.sigmoid(scale * x))", "torch.nn.functional.logsigmoid(x)")
    answer = worker.answer(worker.ask(str(paths[0]), fixed, Settings(), None))
    assert answer.result is not None
    assert [target.capture for target in answer.result.targets] == ["trace"]
    assert answer.result.findings == ()
