"""Selection: which findings the settings ask for, file by file, and which of them may be fixed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nanguard.finding import Finding
from nanguard.reading.globs import Globs, globs
from nanguard.settings import UNUSED, Named, Settings, longest, selected


@dataclass(frozen=True, slots=True)
class Selection:
    """The rules that are asked for, those whose fixes are, and by patterns of files those that are left out there."""

    codes: frozenset[str]
    fixable: frozenset[str]
    left_out: tuple[tuple[Globs, frozenset[str]], ...]
    root: str

    def admitted(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings that are asked for; one that may not be fixed keeps its replacement, without the edits."""
        ignored: dict[str, frozenset[str]] = {}
        kept: list[Finding] = []
        for finding in findings:
            path = finding.span.path
            if path not in ignored:
                ignored[path] = self.ignored(path)
            if finding.code not in self.codes or finding.code in ignored[path]:
                continue
            kept.append(self.repairable(finding))
        return kept

    def repairable(self, finding: Finding) -> Finding:
        """The finding, without the edits if it may not be fixed."""
        return finding if finding.code in self.fixable else unedited(finding)

    def enabled(self, path: str) -> frozenset[str]:
        """The codes that are asked for in a file."""
        return self.codes - self.ignored(path)

    def ignored(self, path: str) -> frozenset[str]:
        """The codes that are left out in a file."""
        inside, root = os.path.relpath(path, self.root), self.root
        if inside.startswith(".."):  # outside of the project
            root, inside = os.path.split(os.path.abspath(path))
        found = (codes for patterns, codes in self.left_out if patterns.meets(inside.replace(os.sep, "/"), root))
        return frozenset().union(*found)


def unedited(finding: Finding) -> Finding:
    """The finding with its replacements, which nobody offers to make."""
    fix, clamp = (None if fix is None else replace(fix, edits=()) for fix in (finding.fix, finding.clamp))
    return replace(finding, fix=fix, clamp=clamp)


def selection(settings: Settings) -> Selection | None:
    """The selection that settings make; None for all rules everywhere, for which none has to be loaded.

    Raises `NanguardError` for a selector that fits no rule.
    """
    chosen = (settings.select, settings.fixable) != (("ALL",), ("ALL",)) or settings.ignore or settings.unfixable
    return every(settings) if chosen or settings.per_file_ignores or settings.rules else None


def every(settings: Settings) -> Selection:
    """The selection that settings make, whatever it is."""
    from nanguard.matching import rules

    known = (*rules.listed(settings.rules), UNUSED)
    return Selection(
        selected(settings, known),
        frozenset(rule.code for rule in known if _fixable(settings, rule)),
        tuple((globs([text]), _codes(chosen, known)) for text, chosen in settings.per_file_ignores.items()),
        os.path.abspath(settings.root),
    )


def _fixable(settings: Settings, rule: Named) -> bool:
    return longest(settings.fixable, rule) > longest(settings.unfixable, rule)


def _codes(selectors: Sequence[str], known: Sequence[Named]) -> frozenset[str]:
    return frozenset(rule.code for rule in known if longest(selectors, rule))
