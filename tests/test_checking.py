"""A run over many files: read side by side, in order, with flat memory, and a bar for whoever waits."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from nanguard.cli import main
from nanguard.running.checking import check_paths
from nanguard.running.readers import read_all
from nanguard.running.wire import Failure
from nanguard.running.worker import Worker
from nanguard.settings import Settings

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
    pairs = list(read_all(range(20), int, Said, say, jobs, lambda: None))
    assert [number for number, _ in pairs] == list(range(20))
    said = [answer for _, answer in pairs]
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
    said = read_all(range(1000), int, Said, lambda number: Said(number, os.getpid()), 2, lambda: None)
    readers = [next(said)[1], next(said)[1]]
    said.close()
    assert not any(isinstance(answer, Said) and alive(answer.reader) for answer in readers)


def test_a_reader_that_is_ahead_waits(tmp_path: Path) -> None:
    count = tmp_path / "count"

    def note(number: int) -> Failure:
        with count.open("a") as file:
            file.write(".")
        return Failure("x" * 10_000)

    said = read_all(range(1000), int, Failure, note, 1, lambda: None)
    next(said)
    time.sleep(0.3)
    assert len(count.read_text()) < 20
    said.close()


def test_what_is_known_already_is_handed_on_in_its_place() -> None:
    files: list[int | Said] = [0, Said(7, 7), 2, Said(8, 8)]
    said = list(read_all(files, int, Said, lambda number: Said(number, 1), 2, lambda: None))
    assert said == [(0, Said(0, 1)), (Said(7, 7), Said(7, 7)), (2, Said(2, 1)), (Said(8, 8), Said(8, 8))]


def test_files_are_looked_for_as_they_are_read() -> None:
    taken = []

    def files() -> Iterator[int]:
        for number in range(100_000):
            taken.append(number)
            yield number

    said = read_all(files(), int, Said, lambda number: Said(number, os.getpid()), 2, lambda: None)
    next(said)
    assert len(taken) < 200
    said.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def test_many_files_are_reported_alike_whatever_jobs_is(tmp_path: Path, worker: Worker) -> None:
    for number in range(30):
        (tmp_path / f"m{number:02}.py").write_text(LOSS if number % 10 == 0 else CLEAN)
    (tmp_path / "m13.py").write_text("def f(:\n")
    (tmp_path / "m14.py").write_text("x = 1\n\0")
    (tmp_path / "m15.py").write_text(LOSS + "\n\ndef more(x):\n    return x / torch.sqrt((x * x).sum())\n")
    alone, side_by_side = (check_paths([str(tmp_path)], Settings(jobs=jobs), worker) for jobs in (1, 4))
    assert alone == side_by_side
    failed = [(Path(note.path).name, note.line) for note in alone.notes if note.failed]
    assert failed == [("m13.py", 1), ("m14.py", 2)]
    assert alone.files == 30
    paths = [target.path for target in alone.targets]
    assert paths == sorted(paths)
    names = {Path(finding.span.path).name for finding in alone.findings}
    assert names >= {f"m{number:02}.py" for number in range(0, 30, 10)}


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a run writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    with monkeypatch.context() as patch, open(theirs, "w") as terminal:
        patch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit):
            main(["check", *arguments])
    said = b""
    try:
        while data := os.read(ours, 1 << 16):
            said += data
    except OSError:  # the end of a terminal
        pass
    os.close(ours)
    return said.decode()


def test_a_long_run_shows_how_far_it_is(tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanguard.running.checking.check_paths", partial(check_paths, worker=worker))
    folder = str(tmp_path)
    (tmp_path / "clean.py").write_text(CLEAN)
    assert "/1 files" not in on_a_terminal(monkeypatch, folder)
    monkeypatch.setattr("nanguard.running.progress._DELAY", 0.2)
    (tmp_path / "loss.py").write_text(f"class Hangs:\n    while True:\n        pass\n\n{LOSS}")
    said = on_a_terminal(monkeypatch, folder, "--timeout", "1")
    assert "] 1/2 files" in said
    bar, end, after = said.rpartition("] 1/2 files")
    assert after.startswith(f"\r{' ' * len(bar.rpartition(chr(13))[2] + end)}\r")
    assert "Found 1 problem" in after
    assert "/2 files" not in on_a_terminal(monkeypatch, folder, "--timeout", "1", "--quiet")


def test_files_without_findings_leave_nothing_but_their_number(tmp_path: Path, worker: Worker) -> None:
    for number in range(15):
        (tmp_path / f"m{number:02}.py").write_text(LOSS if number == 3 else CLEAN)
    whole = check_paths([str(tmp_path)], Settings(static=True), worker)
    brief = check_paths([str(tmp_path)], Settings(static=True), worker, every_target=False)
    assert brief.findings == whole.findings
    assert (len(whole.targets), whole.unlisted) == (15, 0)
    assert (brief.targets, brief.unlisted) == ((), 15)
    assert str(brief) == str(whole)
