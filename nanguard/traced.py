"""Traced: the findings of a file's targets from their traces, beside those from reading."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from types import ModuleType

from nanguard.errors import NanguardError
from nanguard.finding import Finding, Note, Span, Target
from nanguard.live import findings, names_in
from nanguard.load import load_module, place
from nanguard.settings import Settings
from nanguard.trace import TraceError, trace_target

_SHARE = 0.6  # of the time limit of a file that its traces may take; the rest is for what is under way then


def traced(
    path: str, source: str, targets: Sequence[Target], settings: Settings, known: Container[Span] = ()
) -> tuple[list[Finding], tuple[Target, ...], tuple[Note, ...]]:
    """Run the definitions of a file and trace its targets.

    Gives the proved findings beside those at the places `known`, the targets with how far each was seen, and a note
    where the file cannot be loaded.
    """
    if not targets:
        return [], (), ()
    try:
        module = _loaded(path) or load_module(path, source)
    except NanguardError as error:
        return [], tuple(replace(target, reason=str(error)) for target in targets), (_not_loaded(path, error),)
    found: list[Finding] = []
    seen: list[Target] = []
    end = time.monotonic() + settings.timeout * _SHARE
    names = names_in(vars(module))
    for target in targets:
        if time.monotonic() > end:
            seen.append(replace(target, reason="not traced: the time limit of the file was near"))
            continue
        try:
            capture = trace_target(module, target)
            for dtype in settings.dtypes:
                found.extend(findings(capture, names, settings, dtype, known))
        except TraceError as error:
            seen.append(replace(target, reason=str(error)))
        except Exception as error:  # the program runs here: it may raise anything
            seen.append(replace(target, reason=f"{path}:{target.span.line}: {type(error).__name__}: {error}"))
        else:
            seen.append(replace(target, capture="trace", reason=None))
    return found, tuple(seen), ()


def _loaded(path: str) -> ModuleType | None:
    """The module of a file that is loaded already: a part of torch, which does not bear to be run twice."""
    module = sys.modules.get(place(path)[1])
    file = getattr(module, "__file__", None)
    return module if file is not None and os.path.samefile(file, path) else None


def _not_loaded(path: str, error: NanguardError) -> Note:
    """A note about a file that cannot be loaded: the user's to mend where the file itself raises.

    What another file raises, or an import that is missing, costs the traces alone: the file was read all the same.
    """
    place, _, rest = str(error).partition(": ")
    file, _, line = place.rpartition(":")
    own = file == path and line.isdigit() and not rest.startswith(("ImportError", "ModuleNotFoundError"))
    if not own:
        return Note("NG001", path, 1, f"not traced, only read: {error}", failed=False)
    advice = "it was read only; mend the line, or check with --static"
    return Note("NG001", path, int(line), f"cannot be imported, {rest}; {advice}", failed=True)


def beside(read: Sequence[Finding], traces: Sequence[Finding]) -> Iterator[Finding]:
    """The findings from traces that reading has not got: not those at, around or inside of a place it has."""
    for finding in traces:
        spans = [other.span for other in read if other.confirmed or not finding.confirmed]
        if not any(span.covers(finding.span) or finding.span.covers(span) for span in spans):
            yield finding
