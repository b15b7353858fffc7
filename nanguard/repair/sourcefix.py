"""Sourcefix: a function, method or class of a file as it is with every fix in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nanguard.errors import NanguardError
from nanguard.finding import Target
from nanguard.reading.discover import load_source, parse, targets
from nanguard.repair.fixing import fix_paths
from nanguard.repair.sourcetext import SourceText
from nanguard.settings import Settings


def rewritten(path: str, name: str, settings: Settings) -> str:
    """The source of a function, method or class with each finding in it replaced by what the rule offers.

    Gives the stable form, or the clamped one where the settings prefer that and the rule has one.  Raises
    `NanguardError` if the target is not in the file.
    """
    outcome = fix_paths([f"{path}::{name}"], settings, unsafe=True)
    failed = [note for note in outcome.report.notes if note.failed]
    if failed:
        raise NanguardError(f"{path}: {failed[0].message}")
    source = SourceText.decoded(outcome.files[0].after).source if outcome.files else load_source(path)
    span = _target(path, name, targets(path, parse(path, source))).span
    lines = source.split("\n")[span.line - 1 : span.end_line]
    return "\n".join(lines).rstrip("\n") + "\n"


def _target(path: str, name: str, known: Sequence[Target]) -> Target:
    """The span of a name: that of the function, or from the first to the last function of a class."""
    exact = [target for target in known if target.name == name]
    if exact:
        return exact[0]
    inner = [target for target in known if target.name.startswith(name + ".")]
    if not inner:
        raise NanguardError(f"{path}: has no {name!r}; name a function, a class or Class.method")
    first, last = inner[0].span, inner[-1].span
    return replace(inner[0], name=name, span=replace(first, end_line=max(last.end_line, first.end_line)))
