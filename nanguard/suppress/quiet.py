"""Quiet: what of the findings of a run is reported, after the comments of their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nanguard.finding import Comment, Directive, FileResult, Finding, Note, Suppressed
from nanguard.reading.discover import SourceError, load_source
from nanguard.settings import UNUSED, Named, Settings, fits
from nanguard.suppress.comments import FILE, comments_of, expecting, mentioned, names_codes
from nanguard.suppress.settled import Outside, settled, target_at
from nanguard.suppress.silence import Silenced, silenced, unused


def seen_comments(
    path: str, source: str, settings: Settings, suspected: Iterable[tuple[int, Named]], candidates: bool
) -> tuple[tuple[Comment, ...] | None, tuple[Note, ...]]:
    """The comments of a file that is read, and notes about them; None where they may not matter.

    `suspected` are the lines and the rules of what reading suspects in it; `candidates` says whether there are any.
    """
    if settings.ignore_suppressions or not mentioned(source):
        return (), ()
    if not candidates and not names_codes(source):
        return None, ()
    comments, notes = comments_of(path, source, _rules(settings))
    return expecting(comments, suspected), notes


def _rules(settings: Settings) -> tuple[Named, ...]:
    """The rules that comments may mean; most files need none of what knows them."""
    from nanguard.matching import rules

    return rules.listed(settings.rules)


@dataclass(slots=True)
class Comments:
    """The comments of files by real path; those of files that were not read so far are looked for when asked for."""

    settings: Settings
    _known: dict[str, Sequence[Comment]] = field(default_factory=dict)
    _real: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[FileResult], settings: Settings) -> Comments:
        """Those that a check has found."""
        found = cls(settings)
        for result in results:
            if result.comments is not None:
                found._known[os.path.realpath(result.path)] = result.comments
        return found

    def __call__(self, path: str) -> Sequence[Comment]:
        """The comments of a file."""
        real = self._real.get(path) or self._real.setdefault(path, os.path.realpath(path))
        if real not in self._known:
            self._known[real] = self._read(real)
        return self._known[real]

    def _read(self, path: str) -> Sequence[Comment]:
        try:
            source = load_source(path)
        except SourceError:
            return ()
        return in_text(path, source, self.settings)


def in_text(path: str, source: str, settings: Settings) -> Sequence[Comment]:
    """The comments of a text that suppress findings."""
    if settings.ignore_suppressions or not mentioned(source):
        return ()
    return comments_of(path, source, _rules(settings))[0]


class Quiet:
    """What comments and the baseline leave of the findings of one file, while it is being changed."""

    def __init__(self, settings: Settings) -> None:
        """Raises `NanguardError` for a baseline that cannot be used."""
        from nanguard.suppress.baseline import load

        self._settings = settings
        self._baseline = load(settings.baseline) if settings.baseline is not None else None

    def parted(self, path: str, source: str, findings: Sequence[Finding]) -> tuple[list[Finding], list[Suppressed]]:
        """The findings of a text that are left, and those that are suppressed."""
        comments = in_text(path, source, self._settings)
        found = silenced(findings, lambda _: comments)
        if self._baseline is None:
            return found.left, found.suppressed
        from nanguard.suppress.baseline import BASELINE

        every = (*found.left, *(item.finding for item in found.suppressed))
        known = self._baseline.has(every)[: len(found.left)]
        hidden = [Suppressed(finding, BASELINE) for finding, hide in zip(found.left, known, strict=True) if hide]
        left = [finding for finding, hide in zip(found.left, known, strict=True) if not hide]
        return left, [*found.suppressed, *hidden]


def quieted(
    findings: Sequence[Finding], results: Sequence[FileResult], checked: Callable[[str], bool], settings: Settings,
    enabled: Callable[[str], frozenset[str]],
) -> Silenced:  # fmt: skip
    """What comments leave of the findings of a check, with those about comments that suppress nothing.

    `results` are those with findings, comments or notes, `checked` says which files were checked at all, and `enabled`
    which codes are asked for in a file.
    """
    if settings.ignore_suppressions:
        return Silenced(list(findings))
    comments = Comments.of(results, settings)
    parted = silenced(findings, comments)
    about = silenced(list(_unused(results, parted, Outside(checked), settings, enabled)), comments)
    return Silenced([*parted.left, *about.left], [*parted.suppressed, *about.suppressed], parted.used)


def _unused(
    results: Sequence[FileResult], parted: Silenced, outside: Outside, settings: Settings,
    enabled: Callable[[str], frozenset[str]],
) -> Iterator[Finding]:  # fmt: skip
    for result in results:
        codes = enabled(result.path) if result.comments else frozenset()
        if UNUSED.code not in codes:
            continue

        def judged(directive: Directive, code: str, result: FileResult = result, codes: frozenset[str] = codes) -> bool:
            meant = {rule.code for rule in _rules(settings) if fits(code, rule)}
            lines = (0, 0) if directive.kind == FILE else (directive.first, directive.last)
            return meant <= codes and settled(result, *lines) and not outside.imports(result.path)

        for comment in result.comments or ():
            line = comment.span.line
            if found := unused(comment, parted.used, target_at(result.targets, line, line), judged):
                yield found
