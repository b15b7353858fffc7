"""A worker that examines files in this process, which has torch loaded, and each text once."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nanguard.analyse import examine
from nanguard.finding import FileResult
from nanguard.running.wire import Answer
from nanguard.running.worker import Worker
from nanguard.settings import Settings

RunStatic = Callable[..., tuple[int, str, str]]

_known: dict[tuple[object, ...], FileResult] = {}


class Here(Worker):
    """Static checks only: nothing of the files is run."""

    def warm(self) -> None:
        """Nothing is to be started."""

    def ask(self, path: str, source: str, settings: Settings, names: tuple[str, ...] | None) -> int:
        """Examine a file at once; one whose imports may matter every time."""
        assert settings.static
        self._tickets += 1
        ast.parse(source)
        key = (path, source, repr(settings), names)
        result = _known.get(key) or examine(path, source, settings, names)
        if os.path.isabs(path):  # a relative one may mean another file by now
            _known[key] = result
        self._answers[self._tickets] = Answer(self._tickets, result, seen={})
        return self._tickets


@contextmanager
def in_process() -> Iterator[None]:
    """Checks and fixes without another process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanguard.repair.fixing.Worker", Here)
        patch.setattr("nanguard.running.worker.Worker", Here)
        yield
