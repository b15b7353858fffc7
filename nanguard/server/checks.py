"""Checks: saved files, checked one after another in a thread of their own, so that the editor never waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from nanguard.errors import NanguardError
from nanguard.finding import Finding, Note
from nanguard.reading.discover import load_source
from nanguard.running.checking import check_paths
from nanguard.running.wire import Answer
from nanguard.running.worker import Worker
from nanguard.settings import Settings

_PATIENCE = 10.0  # seconds for the check that is running when the server is to end
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """What is to be shown of a file, and the text that it had then; `rules` are the files of the user's own rules."""

    path: str
    source: str
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]
    rules: tuple[str, ...] = ()


class _Outdated(Exception):
    """The file has been saved anew, or nobody waits for its check any more."""


class _Worker(Worker):
    """One process that has torch loaded, for all checks; it gives up a file when its check is outdated."""

    def __init__(self, outdated: Callable[[], bool]) -> None:
        super().__init__(jobs=1, fresh=True)
        self._outdated = outdated

    def answer(self, ticket: int, idle: Callable[[], None] = lambda: None) -> Answer:
        """Wait for what became of a file; raises `_Outdated`."""

        def look() -> None:
            if self._outdated():
                self.drop(ticket)
                raise _Outdated
            idle()

        return super().answer(ticket, look)


class Checks:
    """Checks files as they are asked for; of those that wait, the one that was asked for last comes first."""

    def __init__(self, settings: Callable[[str], Settings], done: Callable[[Checked], None]) -> None:
        """`settings` gives those of a path, `done` takes each result; both are called in the thread of the checks."""
        self._settings, self._done = settings, done
        self._waiting: dict[str, None] = {}
        self._running: str | None = None
        self._stale = self._closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="nanguard checks", daemon=True)
        self._thread.start()

    def ask(self, path: str) -> None:
        """Check a file, instead of any earlier check of it that is not done."""
        with self._news:
            self._waiting.pop(path, None)
            self._waiting[path] = None
            self._stale = self._stale or self._running == path
            self._news.notify()

    def forget(self, path: str) -> None:
        """Do not check a file any more."""
        with self._news:
            self._waiting.pop(path, None)
            self._stale = self._stale or self._running == path

    def close(self) -> None:
        """End the checks, and the process that runs files."""
        with self._news:
            self._closed = self._stale = True
            self._news.notify()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        with _Worker(lambda: self._stale) as worker:
            while (path := self._next()) is not None:
                try:
                    checked = self._check(path, worker)
                except _Outdated:
                    continue
                if not self._stale:
                    self._done(checked)

    def _next(self) -> str | None:
        """The file to check next, None at the end."""
        with self._news:
            self._running = None
            self._news.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._running, _ = self._waiting.popitem()
            self._stale = False
            return self._running

    def _check(self, path: str, worker: Worker) -> Checked:
        source = ""
        try:
            source = load_source(path)
            settings = self._settings(path)
            report = check_paths([path], settings, worker)
            if load_source(path) != source:  # it was saved meanwhile: the editor may not tell
                self.ask(path)
                raise _Outdated
        except NanguardError as error:
            return Checked(path, source, (), (Note("NG001", "", 0, str(error), failed=True),))
        except _Outdated:
            raise
        except Exception as error:
            _log.exception("the check of %s failed", path)
            message = f"internal error {type(error).__name__}: {error}; this is a bug in nanguard"
            return Checked(path, source, (), (Note("NG001", path, 0, message, failed=True),))
        findings = report.findings if settings.pedantic else report.shown
        own = tuple(finding for finding in findings if finding.span.path == path)
        return Checked(path, source, own, report.notes, settings.rules)
