"""What all tests share: torch loaded once, without its remark about numpy, on one thread; and a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from inprocess import RunStatic, in_process

from nanguard.cli import main
from nanguard.lazy import load_torch
from nanguard.running.worker import Worker

load_torch().set_num_threads(1)


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """A worker for files with absolute paths; starting one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        with Worker(jobs=3) as worker:
            worker.warm()
            yield worker


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, where static checks and fixes start no process."""
    monkeypatch.chdir(tmp_path)
    with in_process():
        yield tmp_path


@pytest.fixture
def run_static(capfd: pytest.CaptureFixture[str]) -> RunStatic:
    """`nanguard check --static` with some arguments: the exit status, and what it printed on both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["check", "--static", *arguments])
        printed = capfd.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run
