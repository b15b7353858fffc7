"""A run over many files: read side by side, in order, with flat memory, and a bar for whoever waits."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanguard.running.readers import read_all
from nanguard.running.wire import Failure

LOSS = "import torch\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
CLEAN = "def add(x, y):\n    return x + y\n"


@dataclass(frozen=True, slots=True)
class Said:
    """What reading a number gives."""

    number: int
    reader: int


def say(number: int) -> Said:
    if number % 7 == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return Said(number, os.getpid())


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_a_file_that_ends_its_reader_costs_itself_only(jobs: int) -> None:
    said = list(read_all(range(20), Said, say, jobs, lambda: None))
    for number, answer in enumerate(said):
        if number % 7 == 3:
            assert answer == Failure("the process that read it was ended by SIGKILL", "nanguard")
        else:
            assert isinstance(answer, Said)
            assert answer.number == number
    readers = {answer.reader for answer in said if isinstance(answer, Said)}
    assert os.getpid() not in readers
    assert len(readers) >= jobs
    assert not any(alive(reader) for reader in readers)


def test_readers_end_with_their_generator() -> None:
    said = read_all(range(1000), Said, lambda number: Said(number, os.getpid()), 2, lambda: None)
    readers = [next(said), next(said)]
    said.close()
    assert not any(isinstance(answer, Said) and alive(answer.reader) for answer in readers)


def test_a_reader_that_is_ahead_waits(tmp_path: Path) -> None:
    count = tmp_path / "count"

    def note(number: int) -> Failure:
        with count.open("a") as file:
            file.write(".")
        return Failure("x" * 10_000)

    said = read_all(range(1000), Failure, note, 1, lambda: None)
    next(said)
    time.sleep(0.3)
    assert len(count.read_text()) < 20
    said.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def check(folder: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nanguard", "check", *arguments]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_many_files_are_reported_alike_whatever_jobs_is(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"m{number:02}.py").write_text(LOSS if number % 10 == 0 else CLEAN)
    (tmp_path / "m13.py").write_text("def f(:\n")
    (tmp_path / "m14.py").write_text("x = 1\n\0")
    (tmp_path / "m15.py").write_text(LOSS + "\n\ndef more(x):\n    return x / torch.sqrt((x * x).sum())\n")
    runs = [check(tmp_path, ".", "-v", "--format", "json", "--jobs", jobs, capture_output=True) for jobs in "14"]
    assert runs[0].returncode == runs[1].returncode == 2
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stderr == runs[1].stderr
    assert "m13.py:1: does not parse" in runs[0].stderr
    report = json.loads(runs[0].stdout)
    assert report["summary"]["files"] == 30
    paths = [target["path"] for target in report["targets"]]
    assert paths == sorted(paths)
    assert {finding["path"] for finding in report["findings"]} >= {f"m{number:02}.py" for number in range(0, 30, 10)}


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a run writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    check(folder, *arguments, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 1 << 16):
            said += data
    except OSError:  # the end of a terminal
        pass
    os.close(ours)
    return said.decode()


def test_a_long_run_shows_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "clean.py").write_text(CLEAN)
    assert "/1 files" not in on_a_terminal(tmp_path, ".")
    (tmp_path / "loss.py").write_text(f"class Hangs:\n    while True:\n        pass\n\n{LOSS}")
    said = on_a_terminal(tmp_path, ".", "--timeout", "4")
    assert "] 1/2 files" in said
    bar, end, after = said.rpartition("] 1/2 files")
    assert after.startswith(f"\r{' ' * len(bar.rpartition(chr(13))[2] + end)}\rFound 1 problem")
    assert "/2 files" not in on_a_terminal(tmp_path, ".", "--timeout", "4", "--quiet")
