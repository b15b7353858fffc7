"""Fixing: the fixes of findings put into files, checked again, and taken back where they do not hold."""

from __future__ import annotations

import ast
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nanguard.errors import NanguardError
from nanguard.finding import Edit, Finding, Note, Report, Suppressed
from nanguard.reading.discover import SourceFile, parse, targets, wanted
from nanguard.reading.files import Files
from nanguard.repair.ground import ground, names_in
from nanguard.repair.sourcetext import SourceText, overlapping, read, write
from nanguard.repair.unused import read_by, unused
from nanguard.running.checking import check_paths
from nanguard.running.worker import Worker
from nanguard.selection import Selection, selection
from nanguard.settings import Settings
from nanguard.suppress.quiet import Quiet

_ROUNDS = 10
_AGAIN = 3  # times that what is left in the place of a fix is fixed in its turn: each branch of a where, and deeper

Range = tuple[int, int]
Rounds = Generator[SourceText, list[Finding] | None, None]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A file with fixes in it: what it held and is to hold, and the findings that were fixed."""

    path: str
    before: bytes
    after: bytes
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The files with fixes, and what a check finds once they are written."""

    files: tuple[Fixed, ...]
    report: Report
    bugs: tuple[Note, ...] = ()  # fixes that had to be taken back

    @property
    def fixed(self) -> tuple[Finding, ...]:
        """The findings that were fixed, file by file."""
        return tuple(finding for file in self.files for finding in file.findings)


def fix_paths(paths: Sequence[str | SourceFile], settings: Settings, unsafe: bool) -> Outcome:
    """Fix what can be fixed in the files that `paths` mean, without writing any; see `save`.

    Safe fixes alone, unless `unsafe`.  What a fix leaves behind is checked again, and fixed too, until nothing
    changes.  A fix after which its finding is still there is taken back, with a note.
    """
    files = [(file, _digest(data)) for file in Files(paths, settings) if (data := _current(file)) is not None]
    chosen = selection(settings)
    with Worker(settings.jobs, settings.verbose) as worker:
        report = check_paths(paths, settings, worker)
        quiet = Quiet(settings)
        work = []
        moved: list[Note] = []
        found = _by_file(report.findings)
        for file, digest in files:
            own: list[Finding] | None = found.get(os.path.realpath(file.path), [])
            if not any(_offered(finding, unsafe) for finding in own or ()):
                continue
            data = _current(file)
            if data is not None and _digest(data) != digest:  # another run may have fixed it
                own, data = _rechecked(file, settings, unsafe, worker), _current(file)
            if own is not None and data is not None:
                work.append(_Work(file, settings, unsafe, data, own))
            else:
                message = f"{file.path}: not fixed, since it has been changed meanwhile; run again"
                moved.append(Note("NG001", "", 0, message, failed=True))
        _together(work, worker, quiet, chosen)
    fixed = [Fixed(item.file.path, item.before, item.text.encoded(), tuple(item.fixed)) for item in work if item.fixed]
    report = replace(report, notes=(*report.notes, *moved))
    for item in work:
        report = _with(report, item)
    return Outcome(tuple(fixed), report, tuple(bug for item in work for bug in item.bugs))


def _together(work: Sequence[_Work], worker: Worker, quiet: Quiet, chosen: Selection | None) -> None:
    """Do the rounds of several files, so that none waits for another one's check."""
    waiting: deque[tuple[_Work, Rounds, str, int]] = deque()

    def go_on(item: _Work, rounds: Rounds, found: list[Finding] | None) -> None:
        try:
            text = rounds.send(found)
        except StopIteration:
            return
        names = None if item.file.whole else item.file.names
        ticket = worker.ask(item.file.path, text.source, item.settings, names)
        waiting.append((item, rounds, text.source, ticket))

    for item in work:
        go_on(item, item.rounds(), None)
    while waiting:
        item, rounds, source, ticket = waiting.popleft()
        result = worker.answer(ticket).result
        path = item.file.path
        if result is None:
            go_on(item, rounds, None)
            continue
        own = [found for found in result.findings if _same(found.span.path, path)]
        own = own if chosen is None else chosen.admitted(own)
        left, item.suppressed = quiet.parted(path, source, own)
        go_on(item, rounds, left)


def save(outcome: Outcome) -> Outcome:
    """Write the files; one that cannot be written is left as it was, with a note."""
    written: list[Fixed] = []
    notes: list[Note] = []
    for file in outcome.files:
        try:
            write(file.path, file.before, file.after)
        except NanguardError as error:
            notes.append(Note("NG001", "", 0, str(error), failed=True))
        else:
            written.append(file)
    return replace(outcome, files=tuple(written), report=replace(outcome.report, notes=(*outcome.report.notes, *notes)))


def _current(file: SourceFile) -> bytes | None:
    """What a file holds now, None where it cannot be read; the check says so."""
    try:
        return read(file.path) if file.data is None else file.data
    except NanguardError:
        return None


def _rechecked(file: SourceFile, settings: Settings, unsafe: bool, worker: Worker) -> list[Finding] | None:
    """What is found in a file that has changed; None where there is something to fix, which is not for this run."""
    report = check_paths([file.path], settings, worker)
    if any(note.failed for note in report.notes) or any(_offered(finding, unsafe) for finding in report.findings):
        return None
    return list(report.findings)


def _digest(data: bytes) -> bytes:
    """What tells a text from another one: the texts of all files would take the memory."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _by_file(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings by the real path of their file."""
    real: dict[str, str] = {}
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        path = finding.span.path
        found.setdefault(real.get(path) or real.setdefault(path, os.path.realpath(path)), []).append(finding)
    return found


def _same(first: str, second: str) -> bool:
    return first == second or os.path.realpath(first) == os.path.realpath(second)


def _offered(finding: Finding, unsafe: bool) -> bool:
    fix = finding.fix
    return fix is not None and bool(fix.edits) and (fix.safe or unsafe) and finding.severity != "info"


def _with(report: Report, item: _Work) -> Report:
    """The report with what is left in a file in the place of what was found in it."""
    path = item.file.path
    others = [finding for finding in report.findings if not _same(finding.span.path, path)]
    found = sorted((*others, *item.found), key=lambda finding: (finding.span, finding.code))
    suppressed = report.suppressed
    if item.suppressed is not None:
        kept = (one for one in suppressed if not _same(one.finding.span.path, path))
        suppressed = (*kept, *item.suppressed)
    return replace(report, findings=tuple(found), suppressed=suppressed)


@dataclass(slots=True)
class _Work:
    """One file while it is fixed: its text and what is found in it, what was fixed, and what had to be taken back."""

    file: SourceFile
    settings: Settings
    unsafe: bool
    before: bytes
    found: list[Finding]
    text: SourceText = field(init=False)
    fixed: list[Finding] = field(default_factory=list)
    bugs: list[Note] = field(default_factory=list)
    suppressed: list[Suppressed] | None = None  # as of the last check after a fix
    refused: set[tuple[str, str, str]] = field(default_factory=set)
    again: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.text = SourceText.decoded(self.before)

    def rounds(self) -> Rounds:
        """Fix, check again, and so on until nothing is left to fix.

        Yields each text that is to be checked, and is sent what is found in it, None where that failed.
        """
        for _ in range(_ROUNDS):
            chosen = self.chosen(self.text, self.found)
            while chosen:
                failed = yield from self.tried(chosen)
                if not failed:
                    break
                self.refused |= {_key(finding) for finding in failed}
                chosen = [finding for finding in chosen if _key(finding) not in self.refused]
            if not chosen:
                return
            self.fixed.extend(chosen)

    def chosen(self, text: SourceText, found: Sequence[Finding]) -> list[Finding]:
        """The findings to fix in this round: of fixes that overlap the outer one."""
        inside = self.asked(text)
        offered = [
            finding
            for finding in found
            if _offered(finding, self.unsafe) and _key(finding) not in self.refused and inside(finding)
        ]
        offered.sort(key=lambda finding: -_length(text, finding))
        chosen: list[Finding] = []
        taken: list[Range] = []
        for finding in offered:
            ranges = [text.range(edit) for edit in _edits([finding])]
            if not overlapping(ranges, taken):
                taken += ranges
                chosen.append(finding)
        return chosen

    def asked(self, text: SourceText) -> Callable[[Finding], bool]:
        """Whether a finding lies in what was asked for: the whole file, or functions of it."""
        if self.file.whole:
            return lambda finding: True
        known = targets(self.file.path, parse(self.file.path, text.source))
        spans = [target.span for target in known if wanted(target.name, self.file.names)]
        lines = [range(span.line, span.end_line + 1) for span in spans]
        return lambda finding: any(finding.span.line in area for area in lines)

    def tried(self, chosen: Sequence[Finding]) -> Generator[SourceText, list[Finding] | None, list[Finding]]:
        """Put fixes into the text; gives those that do not hold, and then leaves the text as it was."""
        now, places = self.text.edited(_edits(chosen))
        if ground(now.source) is None or not _encodable(now):
            return self.bad(chosen, "the file does not parse with it")
        left = yield now
        if left is None:
            return self.bad(chosen, "the file could not be checked with it")
        remaining = {_key(finding): _remaining(finding, now, places, left) for finding in chosen}
        bad = [finding for finding in chosen if self.fails(finding, remaining[_key(finding)])]
        if bad:
            return self.bad(bad, "the finding is still there with it")
        self.again.update(_kind(finding) for finding in chosen if remaining[_key(finding)])
        shorter = self.tidied(now, places, chosen)
        if shorter.text != now.text:
            again = yield shorter
            now, left = (shorter, again) if again is not None else (now, left)
        self.text, self.found = now, left
        return []

    def fails(self, finding: Finding, remaining: Sequence[Finding]) -> bool:
        """Whether a fix has mended nothing; what goes wrong for other inputs is fixed in its turn, a few times."""
        often = self.again[_kind(finding)] == _AGAIN
        return any(often or _inputs(other) == _inputs(finding) for other in remaining)

    def bad(self, findings: Sequence[Finding], why: str) -> list[Finding]:
        """Take back fixes, and say so."""
        for finding in findings:
            message = f"the fix of {finding.code} is a bug in nanguard and was taken back: {why}; please report it"
            self.bugs.append(Note("NG001", finding.span.path, finding.span.line, message, failed=False))
        return list(findings)

    def tidied(self, text: SourceText, places: dict[Edit, Range], chosen: Sequence[Finding]) -> SourceText:
        """The text without the assignments that the fixes left without a use."""
        names = [
            (_line(text, places[edit][0]), name)
            for finding in chosen
            for edit in finding.fix.edits[-1:]  # type: ignore[union-attr]
            for name in _dropped(self.text, edit)
        ]
        while names:
            tree = ground(text.source)
            assert tree is not None
            edits = list(unused(self.file.path, tree, names))[:1]
            if not edits:
                break
            names = [
                *((line - _height(edits[0]) * (line > edits[0].span.line), name) for line, name in names),
                *read_by(tree, edits[0]),
            ]
            text, _ = text.edited(edits)
        return text


def _key(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.target, finding.expression


def _kind(finding: Finding) -> tuple[str, str]:
    return finding.code, finding.target


def _edits(findings: Sequence[Finding]) -> list[Edit]:
    return list(dict.fromkeys(edit for finding in findings if finding.fix for edit in finding.fix.edits))


def _length(text: SourceText, finding: Finding) -> int:
    start, end = text.range(Edit(finding.span, ""))
    return end - start


def _height(edit: Edit) -> int:
    return edit.span.end_line - edit.span.line


def _line(text: SourceText, offset: int) -> int:
    return sum(start <= offset for start, _, _ in text.rows)


def _encodable(text: SourceText) -> bool:
    try:
        text.encoded()
    except ValueError:
        return False
    return True


def _inputs(finding: Finding) -> Mapping[str, object]:
    return finding.witness.inputs if finding.witness is not None else {}


def _remaining(
    finding: Finding, text: SourceText, places: dict[Edit, Range], left: Sequence[Finding]
) -> list[Finding]:  # fmt: skip
    """What is still found where the fix of a finding was put, of its kind and not further inside."""
    assert finding.fix is not None
    put = [places[edit] for edit in finding.fix.edits[-1:]]
    found = []
    for other in left:
        at = text.range(Edit(other.span, ""))
        if not other.confirmed or not overlapping(put, [at]):
            continue
        inside = any(start <= at[0] and at[1] <= end and (start, end) != at for start, end in put)
        if inside and other.expression in finding.expression:  # a part that was there before
            continue
        if (other.code, other.hazard) != (finding.code, finding.hazard):
            continue
        if other.fix is not None or _inputs(other) == _inputs(finding):
            found.append(other)  # else something further inside goes wrong for other inputs, for which there is no form
    return found


def _dropped(text: SourceText, edit: Edit) -> set[str]:
    """The names that an expression has and its replacement has not."""
    tree = ground(text.source)
    node = tree.node(edit.span) if tree is not None else None
    new = ground(f"({edit.text}\n)") or ground(edit.text)
    if node is None or new is None:
        return set()
    bound = (part.targets for part in new.tree.body if isinstance(part, ast.Assign))
    return names_in([node]) - (names_in([new.tree]) - names_in([target for targets in bound for target in targets]))
