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
from nanguard.settings import Settings
from nanguard.wire import Failure
from nanguard.worker import Worker

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
    "kills-parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "kills-group": "import os, signal; os.kill(0, signal.SIGKILL)",
    "raises": "raise BaseException('no')",
}


def hostile(code: str) -> str:
    body = textwrap.indent(code.strip(), "    ")
    return f"def misbehave():\n{body}\n\nclass Hostile:\n    misbehave()\n\n{LOSS}"


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
    return subprocess.Popen(
        [sys.executable, "-m", "nanguard", "check", *arguments],
        cwd=folder,
        env={**os.environ, "NANGUARD_TEST_MARK": mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_a_hostile_file_costs_itself_only(tmp_path: Path, mark: str) -> None:
    for name, code in HOSTILE.items():
        (tmp_path / f"{name}.py").write_text(hostile(code))
    (tmp_path / "good.py").write_text(LOSS)
    (tmp_path / "zoo.py").write_text(LOSS)
    run = start(tmp_path, mark, ".", "--format", "json", "--timeout", "3", "-v")
    out, err = run.communicate(timeout=120)
    report = json.loads(out)  # and nothing a file printed
    assert none_left(mark)
    assert "noise noise" not in err
    assert run.returncode in (1, 2), err
    captured = {target["path"]: target["capture"] for target in report["targets"] if target["name"] == "loss"}
    assert captured.keys() == {f"{name}.py" for name in (*HOSTILE, "good", "zoo")}
    assert captured["good.py"] == captured["zoo.py"] == "trace"
    proved = {finding["path"] for finding in report["findings"] if finding["confirmed"]}
    assert proved == captured.keys()  # what could not be run was proved as it was read


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_nanguard_stops_everything(tmp_path: Path, mark: str, number: int) -> None:
    (tmp_path / "m.py").write_text(hostile("import subprocess; subprocess.run(['sleep', '100'])"))
    run = start(tmp_path, mark, "m.py", "--timeout", "100")
    end = time.monotonic() + 30
    while len(left(mark)) < 4:  # nanguard, its server, the file's process and the sleep
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


def test_answers_belong_to_their_questions() -> None:
    names = [f"loss{number}" for number in range(12)]
    with Worker(jobs=3) as worker:
        tickets = [worker.ask(f"{name}.py", LOSS.replace("loss", name), Settings(), None) for name in names]
        outcomes = [worker.answer(ticket) for ticket in reversed(tickets)]
    for name, outcome in zip(reversed(names), outcomes, strict=True):
        assert isinstance(outcome, FileResult), outcome
        assert outcome.path == f"{name}.py"
        assert [target.name for target in outcome.targets] == [name]
        assert [finding.code for finding in outcome.findings] == ["NG101"]


def test_a_question_larger_than_a_pipe_is_asked() -> None:
    source = LOSS + ("#" * 79 + "\n") * 5000
    with Worker(jobs=1) as worker:
        tickets = [worker.ask("m.py", source, Settings(), None) for _ in range(2)]
        assert all(isinstance(worker.answer(ticket), FileResult) for ticket in tickets)


def test_time_is_limited() -> None:
    begin = time.monotonic()
    with Worker(jobs=2) as worker:
        hanging = worker.ask("m.py", hostile(HOSTILE["stubborn"]), Settings(timeout=1.0), None)
        quick = worker.ask("n.py", LOSS, Settings(), None)
        assert worker.answer(hanging) == Failure("took longer than 1 s (--timeout)")
        assert isinstance(worker.answer(quick), FileResult)
    assert time.monotonic() - begin < 15


def test_a_worker_that_is_not_asked_starts_nothing() -> None:
    with Worker() as worker:
        pass
    assert worker.broken is None


def test_running_a_file_leaves_no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "beside.py").write_text("scale = 2.0\n")
    path = tmp_path / "m.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom beside import scale\n{LOSS}")
    with Worker(jobs=1) as worker:
        worker.answer(worker.ask(str(path), path.read_text(), Settings(), None))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["beside.py", "m.py"]
