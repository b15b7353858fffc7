"""Checking: from paths to a report.

Every file is read first, which needs no torch and runs nothing; where there are many, by several processes.  A file
in which reading finds a candidate goes to the worker for its proof, while the reading goes on.  What only a proof
needs is imported late: most files need none.
"""

from __future__ import annotations

import ast
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from nanguard.cache.stamps import stamp
from nanguard.errors import NanguardError
from nanguard.finding import FileResult, Finding, Note, Report, Target
from nanguard.lazy import torch_file
from nanguard.reading.discover import SourceError, SourceFile, check_names, load_source, parse, targets
from nanguard.reading.files import Files, find
from nanguard.running.progress import Progress
from nanguard.selection import Selection, every, selection, unedited
from nanguard.settings import Settings

if TYPE_CHECKING:
    from nanguard.analyse import Scan
    from nanguard.cache.store import Cache
    from nanguard.matching.rule import Rule
    from nanguard.running.wire import Answer, Failure
    from nanguard.running.worker import Worker

_MANY = 12  # files that are worth more than one process to read them
_AHEAD = 64  # files that may be looked up before others are read, or wait for their proof while others are
_BUG = "this is a bug in nanguard; run with -v for the traceback"


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading a file gave: the places that need a proof are counted, and looked for again where it is made."""

    result: FileResult
    candidates: int = 0
    kept: bool = False  # it comes from the cache, and is all there is to know
    seen: Mapping[str, str] | None = None  # the stamps of the files it depends on; None for a result to be lost
    names: tuple[str, ...] | None = None  # those of the names asked for that the file defines, None for all


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file with something to prove, and the ticket of the worker that proves it (None without torch)."""

    file: SourceFile
    source: str
    names: tuple[str, ...] | None
    read: FileResult
    seen: Mapping[str, str] | None
    ticket: int | None

    @property
    def path(self) -> str:
        """Of the file."""
        return self.file.path


def check_paths(
    paths: Sequence[str | SourceFile], settings: Settings, worker: Worker | None = None, cache: Cache | None = None,
    every_target: bool = True,
) -> Report:  # fmt: skip
    """Check what `paths` mean; raises `NanguardError` for settings that cannot be followed.

    A `worker` that is given goes on to live.  A `cache` answers for the files that it knows, and takes the results
    of the others.  Without `every_target` the report has those targets alone of which there is something to say, and
    its memory does not grow with files in which nothing is found.
    """
    chosen = selection(settings)
    files = Files(paths, settings)
    gathered = _Gathered(every_target, _in_baseline(settings))

    def idle() -> None:
        progress.tell(gathered.files, lambda: sum(1 for _ in Files(paths, settings)))

    with (
        Progress(not settings.quiet and not settings.verbose) as progress,
        cache or nullcontext(),
        _Prover(settings, idle, worker) as prover,
        closing(_readings(_looked_up(files, cache), settings, idle)) as readings,
    ):
        asked = (_asked(file, read, settings, prover, chosen, cache) for file, read in readings)
        for result in _finished(asked, settings, prover, cache):
            gathered.add(result)
            idle()
    notes = list(files.notes)
    if prover.broken:
        notes.append(_unprovable(prover.broken, prover.first, settings.static))
    report = _report(gathered, files, notes, chosen, settings)
    return replace(report, unprovable=prover.broken if settings.static else None)


def _in_baseline(settings: Settings) -> Callable[[str], bool]:
    """Whether a file has findings in the baseline, so that it matters what was seen of it."""
    if settings.baseline is None:
        return lambda path: False
    from nanguard.suppress.baseline import load

    baseline = load(settings.baseline)
    known = {baseline.file(entry) for entry in baseline.entries}
    return lambda path: os.path.realpath(path) in known


class _Gathered:
    """What the results of a run leave: those with something to report, the targets to list, how many there were."""

    def __init__(self, every_target: bool, known: Callable[[str], bool]) -> None:
        """`known` says of which files the baseline has findings."""
        self._every_target, self._known = every_target, known
        self.results: list[FileResult] = []
        self.targets: list[Target] = []
        self.files = 0
        self.unlisted = 0  # targets

    def add(self, result: FileResult) -> None:
        """Take the result of a file."""
        self.files += 1
        if result.findings or result.notes or result.comments or self._known(result.path):
            self.results.append(result)
        listed = result.targets if self._every_target else tuple(filter(_remarkable, result.targets))
        self.targets.extend(listed)
        self.unlisted += len(result.targets) - len(listed)


def _remarkable(target: Target) -> bool:
    """Whether there is something to say of a target: why it was not seen."""
    return target.capture == "none" or target.reason is not None


def single(given: str) -> tuple[str, str]:
    """The file and the name that ``FILE::NAME`` means; raises `NanguardError` if the file lacks it."""
    files, notes = find([given])
    if not notes and not files:
        raise NanguardError(f"{given}: no Python files in this folder; write FILE::NAME")
    if not notes:
        path, names = files[0].path, files[0].names
        tree = parse(path, load_source(path))
        if not names:
            some = ", ".join(target.name for target in targets(path, tree)[:5])
            raise NanguardError(f"{path}: which loss? write FILE::NAME; this file has {some or 'no function'}")
        notes = check_names(path, tree, names)
        if not notes:
            return path, names[0]
    raise NanguardError(f"{notes[0].path}: {notes[0].message}")


def _finished(
    asked: Iterable[FileResult | _Candidate], settings: Settings, prover: _Prover, cache: Cache | None
) -> Iterator[FileResult]:  # fmt: skip
    """The results in the order of the files; those behind a file that waits for its proof wait with it."""
    waiting: deque[FileResult | _Candidate] = deque()
    unproved = 0
    for item in asked:
        waiting.append(item)
        unproved += isinstance(item, _Candidate)
        while waiting and (isinstance(waiting[0], FileResult) or unproved > _AHEAD):
            unproved -= isinstance(waiting[0], _Candidate)
            yield _finish(waiting.popleft(), settings, prover, cache)
    for item in waiting:
        yield _finish(item, settings, prover, cache)


# --- before the proof ------------------------------------------------------------------------------------


def _looked_up(
    files: Iterable[SourceFile], cache: Cache | None
) -> Iterator[SourceFile | _Read]:  # fmt: skip
    """Each file, or what the cache knows of it."""
    for file in files:
        known = cache.find(file) if cache else None
        yield file if known is None else _Read(known, kept=True)


def _readings(
    listed: Iterator[SourceFile | _Read], settings: Settings, idle: Callable[[], None]
) -> Generator[tuple[SourceFile | _Read, _Read], None, None]:
    """What reading each file gives, in order: by several processes once there are many to read."""
    unread = 0
    while ahead := list(islice(listed, _AHEAD)):
        unread += sum(isinstance(item, SourceFile) for item in ahead)
        jobs = _readers(unread, settings)
        if jobs > 1:
            yield from _side_by_side(chain(ahead, listed), settings, jobs, idle)
            return
        for item in ahead:
            yield item, item if isinstance(item, _Read) else _reading(item, settings)


def _side_by_side(
    listed: Iterable[SourceFile | _Read], settings: Settings, jobs: int, idle: Callable[[], None]
) -> Generator[tuple[SourceFile | _Read, _Read], None, None]:
    from nanguard.running.readers import read_all

    said = read_all(listed, SourceFile, _Read, partial(_reading, settings=settings), jobs, idle)
    with closing(said):
        for item, read in said:
            if isinstance(read, _Read):
                yield item, read
            elif isinstance(item, SourceFile):
                yield item, _Read(FileResult(item.path, (), (), (_fault(item.path, read),)))


def _readers(files: int, settings: Settings) -> int:
    """How many processes read; 1 is this one alone."""
    if files < _MANY or not hasattr(os, "fork"):
        return 1
    from nanguard.running.processes import processors

    return settings.jobs or processors()


def _reading(file: SourceFile, settings: Settings) -> _Read:
    """Read a file."""
    own = os.path.abspath(file.path)
    stamped = stamp(own)
    try:
        source = load_source(file.path, file.data)
        tree = parse(file.path, source)
    except SourceError as error:
        return _Read(FileResult(file.path, (), (), (error.note,)))
    names, missing = _known(file, tree)
    if names == ():
        return _Read(FileResult(file.path, (), (), missing), seen={own: stamped})
    try:
        scan = _scan(file.path, source, tree, settings, names)
    except Exception as error:
        return _Read(FileResult(file.path, (), (), (*missing, _internal(file.path, error, settings))))
    from nanguard.suppress.quiet import seen_comments

    comments, bad = seen_comments(file.path, source, settings, _suspected(scan), scan.candidates > 0)
    notes = (*missing, *scan.result.notes, *bad)
    result = replace(scan.result, notes=notes, comments=comments, whole=file.whole, answered=not scan.candidates)
    seen = {own: stamped, **scan.reading.seen}
    return _Read(result, scan.candidates, seen=seen, names=names)


def _suspected(scan: Scan) -> Iterator[tuple[int, Rule]]:
    """The lines and the rules of what reading suspects."""
    return ((suspect.place.node.lineno, suspect.match.rule) for suspect in scan.suspects)


def _asked(
    file: SourceFile | _Read, read: _Read, settings: Settings, prover: _Prover, chosen: Selection | None,
    cache: Cache | None,
) -> FileResult | _Candidate:  # fmt: skip
    """Hand a file to the worker where there is something to prove, and where it is not ignored altogether."""
    if isinstance(file, _Read):
        return read.result
    if not read.candidates or (chosen is not None and chosen.codes <= chosen.ignored(file.path)):
        if cache and read.seen and not read.candidates:
            cache.keep(file, read.result, read.seen, proved=False)
        return read.result
    try:
        source = load_source(file.path, file.data)
    except SourceError as error:  # it has been changed since
        return FileResult(file.path, (), (), (error.note,))
    ticket = prover.ask(file.path, source, settings, read.names)
    return _Candidate(file, source, read.names, read.result, read.seen, ticket)


def _scan(path: str, source: str, tree: ast.Module, settings: Settings, names: tuple[str, ...] | None) -> Scan:
    from nanguard.analyse import scan

    return scan(path, source, tree, settings, names)


def _known(file: SourceFile, tree: ast.Module) -> tuple[tuple[str, ...] | None, tuple[Note, ...]]:
    """The names to check, None for all, and a note for each name asked for that the file does not define."""
    missing = check_names(file.path, tree, file.names)
    unknown = {note.path for note in missing}
    known = tuple(name for name in file.names if f"{file.path}::{name}" not in unknown)
    return None if file.whole else known, tuple(missing)


def _internal(path: str, error: Exception, settings: Settings) -> Note:
    if isinstance(error, RecursionError):
        message = "is nested too deeply to be read; split its expressions or leave it out"
        return Note("NG001", path, 1, message, failed=True)
    if settings.verbose:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    return Note("NG001", path, 0, f"internal error {type(error).__name__}: {error}; {_BUG}", failed=True)


class _Prover:
    """The worker, loaded and started with the first file that needs it; not asked where torch is missing."""

    def __init__(self, settings: Settings, idle: Callable[[], None], given: Worker | None) -> None:
        self._settings, self._idle, self._given = settings, idle, given
        self._worker: Worker | None = None
        self._no_torch = False
        self.first = ""  # file that needs a proof

    def __enter__(self) -> _Prover:
        return self

    def __exit__(self, *error: object) -> None:
        if self._worker is not None and self._given is None:
            self._worker.close()

    def ask(self, path: str, source: str, settings: Settings, names: tuple[str, ...] | None) -> int | None:
        """Hand a file over for its proof; None says that there will be none."""
        self.first = self.first or path
        if self._worker is None:
            self._no_torch = self._no_torch or not has_torch()
            if self._no_torch:
                return None
            from nanguard.running.worker import Worker

            self._worker = self._given or Worker(self._settings.jobs, self._settings.verbose)
        return self._worker.ask(path, source, settings, names)

    def answer(self, ticket: int | None) -> Answer | None:
        """What became of a file, None if it was not handed over."""
        if ticket is None or self._worker is None:
            return None
        return self._worker.answer(ticket, self._idle)

    @property
    def broken(self) -> str | None:
        """Why nothing at all can be proved."""
        if self._no_torch:
            return "torch is not installed here (pip install 'nanguard[torch]')"
        return self._worker.broken if self._worker is not None else None


def has_torch() -> bool:
    """Whether torch is installed; it is not loaded for that."""
    return torch_file() is not None


# --- after the proof -------------------------------------------------------------------------------------


def _finish(
    item: FileResult | _Candidate, settings: Settings, prover: _Prover, cache: Cache | None
) -> FileResult:  # fmt: skip
    """The result of a file, with what reading it said of its comments."""
    if isinstance(item, FileResult):
        return item
    answer = prover.answer(item.ticket)
    result = replace(_proved(item, answer, settings), comments=item.read.comments, whole=item.read.whole)
    if cache and item.seen and answer is not None:
        late = answer.failure is not None and answer.failure.blame == "time"
        if late or (answer.failure is None and answer.seen is not None):
            seen = {**(answer.seen or {}), **item.seen}  # where it is not said, nothing of the file has been run
            cache.keep(item.file, result, seen, proved=True, hurried=late or answer.hurried)
    return result


def _proved(item: _Candidate, answer: Answer | None, settings: Settings) -> FileResult:
    """What was proved by running a file, else by reading it, else what reading suspects."""
    if answer is None:
        return replace(item.read, findings=_unproved(item, settings))
    if answer.result is not None and answer.failure is None:
        return replace(answer.result, notes=tuple(dict.fromkeys((*item.read.notes, *answer.result.notes))))
    failure = answer.failure or _silence()
    notes = (*item.read.notes, _failure(item.path, failure, settings))
    if answer.result is None:
        return FileResult(item.path, _unseen(item.read.targets, failure), _unproved(item, settings), notes)
    return FileResult(item.path, _unseen(answer.result.targets, failure), _single(answer.result.findings), notes)


def _unseen(targets: Iterable[Target], failure: Failure) -> tuple[Target, ...]:
    """Targets with the reason why some were not traced: their own, or that of the whole file."""
    return tuple(
        replace(target, reason=failure.reason) if target.capture == "read" and target.reason is None else target
        for target in targets
    )


def _single(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    from nanguard.once import one_for_each

    return tuple(one_for_each(findings))


def _silence() -> Failure:
    from nanguard.running.wire import Failure

    return Failure("it was not answered")


def _unproved(item: _Candidate, settings: Settings) -> tuple[Finding, ...]:
    """What reading suspects; read once more, since keeping every reading would take the memory."""
    return _scan(item.path, item.source, parse(item.path, item.source), settings, item.names).unproved


def _failure(path: str, failure: Failure, settings: Settings) -> Note:
    if settings.verbose and failure.detail:
        print(failure.detail, end="", file=sys.stderr)
    if failure.blame == "nanguard":
        return _fault(path, failure)
    message = f"not run: {failure.reason}; its findings are those of reading it"
    return Note("NG001", path, 0, message, failed=False)


def _fault(path: str, failure: Failure) -> Note:
    return Note("NG001", path, 0, f"internal error {failure.reason}; {_BUG}", failed=True)


def _unprovable(reason: str, path: str, static: bool) -> Note:
    """What stands in the way of every proof; `path` is the first file that needs one.

    A static run goes on without proofs, and says so.
    """
    if static:
        return Note("NG001", "", 0, f"{reason}: what is found is possible, not proved", failed=False, warning=True)
    way = "mend that, or use --static to see what is possible"
    message = f"{reason}, and findings (as in {path}) are proved with it; {way}"
    return Note("NG001", "", 0, message, failed=True)


def _report(
    gathered: _Gathered, files: Files, notes: Iterable[Note], chosen: Selection | None, settings: Settings
) -> Report:
    results = gathered.results
    findings = [finding for result in results for finding in result.findings]
    findings = findings if chosen is None else chosen.admitted(findings)
    report = Report(
        files=gathered.files,
        targets=tuple(gathered.targets),
        findings=tuple(sorted(_once(findings, files), key=_order)),
        notes=(*notes, *(note for result in results for note in result.notes)),
        unlisted=gathered.unlisted,
    )
    if not report.findings and not any(result.comments for result in results) and settings.baseline is None:
        return report
    return _quiet(report, results, files, chosen, settings)


def _quiet(
    report: Report, results: Sequence[FileResult], files: Files, chosen: Selection | None, settings: Settings
) -> Report:
    """A report without what comments and the baseline suppress."""
    from nanguard.suppress.quiet import quieted

    def enabled(path: str) -> frozenset[str]:
        return (chosen or every(settings)).enabled(path)

    report = replace(report, findings=tuple(_within(report.findings, files)))
    parted = quieted(report.findings, results, files.has, settings, enabled)
    if chosen is not None:  # those about comments, too
        parted = replace(parted, left=[chosen.repairable(finding) for finding in parted.left])
    suppressed = sorted(parted.suppressed, key=lambda item: _order(item.finding))
    left = replace(report, findings=tuple(sorted(parted.left, key=_order)), suppressed=tuple(suppressed))
    if settings.baseline is None:
        return left
    from nanguard.suppress.baseline import without_known

    return without_known(left, results, files.has, settings, enabled)


def _within(findings: Iterable[Finding], files: Files) -> Iterator[Finding]:
    """The findings, without edits of files that were not asked for: a helper that a checked file imports."""
    for finding in findings:
        fixes = (fix for fix in (finding.fix, finding.clamp) if fix is not None)
        paths = {edit.span.path for fix in fixes for edit in fix.edits}
        yield finding if all(files.shown(path) or files.has(path) for path in paths) else unedited(finding)


def _once(findings: Sequence[Finding], files: Files) -> Iterable[Finding]:
    """Each place once: what is wrong in a helper is found from every file that calls it.

    The first proof stands, and that of the file itself, under the path that was asked for, comes before those of its
    callers' files.  One cause is one finding: a part of a line that is found as a whole is told of for a better repair
    alone.
    """
    from nanguard.once import one_for_each

    real = {path: os.path.realpath(path) for path in {finding.span.path for finding in findings}}
    best: dict[tuple[object, str], Finding] = {}
    for finding in findings:
        key = (replace(finding.span, path=real[finding.span.path]), finding.code)
        known = best.get(key)
        if known is None or _rank(finding, files) > _rank(known, files):
            best[key] = finding
    lines: dict[tuple[str, int], list[Finding]] = {}
    for finding in one_for_each(best.values()):
        lines.setdefault((finding.span.path, finding.span.line), []).append(finding)
    return [one for beside in lines.values() for one in beside if not any(_repeats(one, other) for other in beside)]


def _repeats(inner: Finding, outer: Finding) -> bool:
    """Whether a finding is a part of one that was proved and can be repaired, on the same line.

    It has no repair itself, or is the same hazard with the same kind of repair.
    """
    within = outer.span.column <= inner.span.column and inner.span.end_column <= outer.span.end_column
    one_line = inner.span.line == inner.span.end_line == outer.span.line == outer.span.end_line
    if inner.span == outer.span or not (within and one_line and outer.confirmed) or outer.fix is None:
        return False
    return inner.fix is None or (inner.hazard == outer.hazard and inner.fix.kind == outer.fix.kind)


def _rank(finding: Finding, files: Files) -> tuple[bool, bool]:
    return finding.confirmed, files.shown(finding.span.path)


def _order(finding: Finding) -> tuple[str, int, int, str]:
    return finding.span.path, finding.span.line, finding.span.column, finding.code
