"""The files that `pytest --nanguard` checks, by their configurations."""

from __future__ import annotations

import os
from dataclasses import replace

from nanguard.config.effective import effective
from nanguard.config.load import configuration_for
from nanguard.finding import Report
from nanguard.reading.folders import Excluded
from nanguard.report.text import render, summary
from nanguard.report.view import failing
from nanguard.settings import Settings


class Checks:
    """The checks of all files that have one configuration: made at once, when the first of them is asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._excluded = Excluded(settings.exclude, os.path.abspath(settings.root))
        self._reports: dict[str, Report | None] = {}

    def add(self, path: str) -> bool:
        """Take a file, unless it is excluded."""
        if self._excluded.covers(path):
            return False
        self._reports.setdefault(path)
        return True

    def failure(self, path: str) -> str:
        """What is wrong with a file, as it is printed; empty where nothing is."""
        report = self._report(path)
        findings = failing(report.findings, self._settings)
        found = f"{render(report, findings)}{summary(report, findings)}\n" if findings else ""
        return "".join([found, *(f"{note.message}\n" for note in report.notes)]).rstrip()

    def _report(self, path: str) -> Report:
        from nanguard.running.checking import check_paths

        known = self._reports[path]
        if known is not None:
            return known
        whole = check_paths(list(self._reports), self._settings)
        for own in self._reports:
            findings = tuple(finding for finding in whole.findings if finding.span.path == own)
            notes = tuple(note for note in whole.notes if note.path in (own, "") and note.failed)
            targets = tuple(target for target in whole.targets if target.path == own)
            self._reports[own] = Report(1, targets, findings, notes)
        return self._report(path)


def checks_for(folder: str, known: dict[str, Checks]) -> Checks:
    """The checks for the files of a folder; `known` are those of other folders, some with the same configuration.

    Raises `NanguardError` for a configuration that is wrong.
    """
    if folder not in known:
        configuration = configuration_for([folder])
        file = os.path.abspath(configuration.file) if configuration is not None else ""
        if file not in known:
            known[file] = Checks(replace(effective({}, configuration).settings, quiet=True))
        known[folder] = known[file]
    return known[folder]
