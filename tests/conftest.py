"""What all tests share: torch loaded once, without its remark about numpy, on one thread; and a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
