"""Baseline: the findings of the day on which a project began with nanguard, which are not reported again.

A JSON file that is made to be kept under version control: sorted, a finding a group of lines, known by its
fingerprint, which edits elsewhere leave alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from dataclasses import replace as replaced
from typing import Any

from nanguard.errors import NanguardError
from nanguard.finding import FileResult, Finding, Report, Stale, Suppressed
from nanguard.fingerprint import fingerprints, normalised, relative
from nanguard.settings import Settings
from nanguard.suppress.settled import Outside, settled, whole
from nanguard.suppress.silence import IN_SOURCE
from nanguard.writing import replace

DEFAULT = "nanguard-baseline.json"
BASELINE = "baseline"
VERSION = 1


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A known finding; what is beside its fingerprint is for people, and tells whether it was looked for."""

    path: str  # from the folder of the baseline, with slashes
    target: str
    code: str
    expression: str
    severity: str
    dtype: str | None  # that of its witness
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """The file of known findings."""

    path: str
    entries: tuple[Entry, ...] = ()

    @property
    def folder(self) -> str:
        """Where the paths of the entries count from."""
        return os.path.dirname(os.path.realpath(self.path))

    def file(self, entry: Entry) -> str:
        """The real path of the file of an entry."""
        return os.path.realpath(os.path.join(self.folder, entry.path))

    def has(self, findings: Sequence[Finding]) -> list[bool]:
        """Of findings, whether each is known; all of their files are to be given, since equal ones are counted."""
        known = {entry.fingerprint for entry in self.entries}
        return [made in known for made in fingerprints(findings, self.folder)]


# --- what it does to a check ------------------------------------------------------------------------------


def without_known(
    report: Report, results: Sequence[FileResult], checked: Callable[[str], bool], settings: Settings,
    enabled: Callable[[str], frozenset[str]],
) -> Report:  # fmt: skip
    """A report without the findings of the baseline of the settings, and with what of that is no more.

    `results` are those of the files of the baseline, and others; `checked` says which files were checked at all.
    Raises `NanguardError` for a baseline that cannot be used.
    """
    assert settings.baseline is not None
    baseline = load(settings.baseline)
    every = (*report.findings, *(item.finding for item in report.suppressed))
    hidden = baseline.has(every)[: len(report.findings)]
    left = [finding for finding, known in zip(report.findings, hidden, strict=True) if not known]
    known = [Suppressed(finding, BASELINE) for finding, known in zip(report.findings, hidden, strict=True) if known]
    present = set(fingerprints(every, baseline.folder))
    gone = _stale(baseline, present, results, Outside(checked), settings, enabled)
    stale = (Stale(entry.path, entry.code, entry.target, entry.expression, entry.fingerprint) for entry in gone)
    return replaced(
        report, findings=tuple(left), suppressed=(*report.suppressed, *known), stale=(*report.stale, *stale)
    )


def _stale(
    baseline: Baseline, present: set[str], results: Sequence[FileResult], outside: Outside, settings: Settings,
    enabled: Callable[[str], frozenset[str]],
) -> list[Entry]:  # fmt: skip
    """The entries that are not found any more where they were looked for, as far as that goes."""
    missing = [entry for entry in baseline.entries if entry.fingerprint not in present]
    if not missing:
        return []
    by_path = {os.path.realpath(result.path): result for result in results}

    def looked_for(entry: Entry) -> bool:
        result = by_path.get(baseline.file(entry))
        if result is None or entry.code not in enabled(result.path):
            return False
        if (entry.severity == "info" and not settings.pedantic) or entry.dtype not in (None, *settings.dtypes):
            return False
        spans = [target.span for target in result.targets if target.name == entry.target]
        if (
            not spans and entry.target.replace(".", "").isidentifier() and whole(result)
        ):  # there is no such function any more
            return True
        lines = [(span.line, span.end_line) for span in spans] or [(0, 0)]
        return all(settled(result, *pair) for pair in lines) and not outside.imports(result.path)

    return list(filter(looked_for, missing))


# --- the file ---------------------------------------------------------------------------------------------


def rewritten(path: str, report: Report, pedantic: bool) -> Baseline:
    """The baseline that a check gives.

    `report` is that of a check with the baseline at `path`, where there is one.  Entries that were not looked for stay,
    those of files that are gone do not.
    """
    old = load(path) if os.path.lexists(path) else Baseline(path)
    every = (*report.findings, *(item.finding for item in report.suppressed))
    made = dict(zip(map(id, every), fingerprints(every, old.folder), strict=True))
    commented = {made[id(item.finding)] for item in report.suppressed if item.kind == IN_SOURCE}
    gone = {entry.fingerprint for entry in report.stale} | commented
    kept = [entry for entry in old.entries if entry.fingerprint not in gone and os.path.exists(old.file(entry))]
    found = report.findings if pedantic else report.shown
    new = [_entry(finding, made[id(finding)], old.folder) for finding in found]
    unique = {entry.fingerprint: entry for entry in (*kept, *new)}
    return Baseline(path, tuple(sorted(unique.values(), key=_order)))


def _order(entry: Entry) -> tuple[str, ...]:
    return entry.path, entry.target, entry.code, entry.expression, entry.fingerprint


def _entry(finding: Finding, made: str, folder: str) -> Entry:
    path, expression = relative(finding.span.path, folder), normalised(finding.expression)
    dtype = finding.witness.dtype if finding.witness else None
    return Entry(path, finding.target, finding.code, expression, finding.severity, dtype, made)


def load(path: str) -> Baseline:
    """The baseline in a file; raises `NanguardError`."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        raise NanguardError(f"{path}: no such baseline; write it with --write-baseline, or leave it out") from None
    except OSError as error:
        raise NanguardError(f"{path}: the baseline cannot be read ({error.strerror}); change its permissions") from None
    except json.JSONDecodeError as error:
        raise _damaged(path, f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise NanguardError(f"{path}: version {version} of a baseline is that of a newer nanguard; update nanguard")
    if version != VERSION or not isinstance(data.get("findings"), list):
        raise _damaged(path, "'version' and 'findings' are missing or wrong")
    return Baseline(path, tuple(_read(path, number, item) for number, item in enumerate(data["findings"], 1)))


def _read(path: str, number: int, item: Any) -> Entry:
    given: dict[str, Any] = {}
    if isinstance(item, dict):
        given = {field.name: item.get(field.name) for field in fields(Entry)}
    texts = [value for name, value in given.items() if name != "dtype" or value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        raise _damaged(path, f"finding {number} is not whole")
    return Entry(**given)


def _damaged(path: str, why: str) -> NanguardError:
    advice = "restore it, or delete it and write it anew with --write-baseline"
    return NanguardError(f"{path}: this is no baseline of nanguard ({why}); {advice}")


def save(baseline: Baseline) -> None:
    """Write a baseline, at once or not at all; raises `NanguardError`."""
    document = {"version": VERSION, "findings": list(map(asdict, baseline.entries))}
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a name of a file that is no text
        text = json.dumps(document, indent=2).encode()
    try:
        replace(baseline.path, text + b"\n")
    except OSError as error:
        why = error.strerror or str(error)
        raise NanguardError(f"{baseline.path}: the baseline cannot be written ({why}); name another file") from None
