"""Traced: the findings of a file's targets from their traces, beside those from reading."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import ModuleType

import torch

from nanguard.analyse import Stage
from nanguard.errors import NanguardError
from nanguard.finding import FileResult, Finding, Note, Span, Target
from nanguard.proof.reach import reach
from nanguard.reading.discover import load_source
from nanguard.settings import Settings
from nanguard.site import Site
from nanguard.stated import Range, ranges_for
from nanguard.tracing.deadline import OutOfTime, within, worked
from nanguard.tracing.imported import looked_for, watch_imports
from nanguard.tracing.live import Proving, findings, names_in
from nanguard.tracing.load import load_module, named_like, place
from nanguard.tracing.places import Sources
from nanguard.tracing.trace import Captures, TraceError, captures_of

# Parts of the time limit of a file in work, after which no more is traced and proved, and run; the rest is for what is
# under way then, and for what other processes take.
_PROVING, _REACHING = 0.5, 0.6
_LAST = 0.8  # part of the time limit by the clock on the wall, after which nothing is begun
_REACH = 0.8  # seconds for one target
_LONGEST = 4.0  # seconds for tracing one target, whatever it does


@dataclass(frozen=True, slots=True)
class _Budget:
    """The time for a file: `began` is one of `worked`, `last` one of `time.monotonic`."""

    timeout: float
    began: float
    last: float

    def end(self, part: float) -> float:
        """The time of `worked` at which a part of the time limit is used up."""
        return self.began + part * self.timeout

    def over(self, part: float) -> bool:
        """Whether a part of the time limit is used up, or so much that nothing more should be begun."""
        return worked() > self.end(part) or time.monotonic() > self.last


def traced(
    path: str, source: str, targets: Sequence[Target], settings: Settings,
    known: Container[Span] = (), read: Sequence[Finding] = (), began: float | None = None,
    tell: Callable[[Mapping[str, str]], None] | None = None,
) -> Iterator[Stage]:  # fmt: skip
    """Run the definitions of a file and trace its targets.

    Gives what each target adds, as soon as it is known: the target with how far it was seen, and the findings of its
    traces beside those of reading, at places that are not `known`.  The last result is that of the whole file: all
    findings, with witnesses for whole functions where some are reached, all targets, and a note where the file cannot
    be loaded.  `began` is when the time limit began, a time of `time.monotonic()`: now, if it is not given.  `tell` is
    told of what imports look for.
    """
    if not targets:
        yield Stage(FileResult(path, (), tuple(read), ()), last=True, seen={})
        return
    last = (time.monotonic() if began is None else began) + settings.timeout * _LAST
    watch_imports(place(path)[1].partition(".")[0], tell)
    try:
        module = _module(path, source)
    except NanguardError as error:
        unseen = tuple(replace(target, reason=str(error)) for target in targets)
        yield Stage(FileResult(path, unseen, tuple(read), (_not_loaded(path, error),)), last=True, seen=looked_for())
        return
    yield Stage(FileResult(path, (), (), ()), last=False, seen=looked_for())
    budget = _Budget(settings.timeout, worked(), last)
    told: dict[Span, list[str]] = {}
    for finding in read:
        if finding.confirmed:
            told.setdefault(finding.span, []).append(finding.code)
    proving = Proving(budget.end(_PROVING), told)
    names = names_in(vars(module))
    seen: list[Target] = []
    found = list(read)
    captured: dict[str, Captures] = {}
    for target in targets:
        captures, result = _captured(module, target, budget, ranges_for(settings, path, target.name))
        added: list[Finding] = []
        if captures is not None:
            captured[target.name] = captures
            added = list(beside(read, _proved(captures, path, source, names, settings, known, proving)))
        found.extend(added)
        seen.append(result)
        yield Stage(FileResult(path, (result,), tuple(added), ()), last=False)
    notes: list[Note] = []
    named = {target.name: target for target in targets}
    for name, captures in captured.items():
        ended = _reach(found, name, captures, Sources({path: source}), budget)
        if ended is not None:
            notes.append(_not_reached(named[name], ended))
    hurried = time.monotonic() > last  # what a busy machine left out, another run may have
    whole = FileResult(path, tuple(seen), tuple(found), tuple(notes))
    yield Stage(whole, last=True, seen=looked_for(), hurried=hurried)


def _module(path: str, source: str) -> ModuleType:
    """The module of a file; raises `NanguardError` for one that cannot be loaded."""
    scripting = torch.jit._state._enabled
    try:
        scripting.enabled = False  # a compiled function hides from a trace what it does
        return _loaded(path, source) or load_module(path, source)
    finally:
        scripting.enabled = True


def _proved(
    captures: Captures, path: str, source: str, names: Mapping[str, str], settings: Settings,
    known: Container[Span], proving: Proving,
) -> list[Finding]:  # fmt: skip
    """The findings of the traces of a target."""
    found: list[Finding] = []
    for recording in captures.recordings:
        near = (_as_given(site, path) for site in recording.sites if _near(site.span.path, path))
        own = replace(recording, sites=tuple(near))
        for dtype in settings.dtypes:
            with suppress(Exception):  # a class of the program may raise anything when it is asked anything
                found.extend(findings(own, names, settings, dtype, known, {path: source}, proving))
    return found


def _captured(
    module: ModuleType, target: Target, budget: _Budget, ranges: Mapping[str, Range]
) -> tuple[Captures | None, Target]:
    """The captures of a target, and the target with how far it was seen."""
    if budget.over(_PROVING):
        return None, replace(target, reason="not traced: the time limit of the file was near")
    try:
        with within(_LONGEST):
            return captures_of(module, target, ranges=ranges), replace(target, capture="trace", reason=None)
    except TraceError as error:
        return None, replace(target, reason=str(error))
    except OutOfTime:
        return None, replace(target, reason=f"{target.path}:{target.span.line}: takes too long on small inputs")
    except Exception as error:  # the program runs here: it may raise anything
        words = f"{type(error).__name__}: {error}"
        return None, replace(target, reason=f"{target.path}:{target.span.line}: {words}")


def _in_float32(finding: Finding) -> bool:
    return finding.witness is not None and finding.witness.dtype == "float32"


def _reach(
    found: list[Finding], name: str, captures: Captures, sources: Sources, budget: _Budget
) -> BaseException | None:  # fmt: skip
    """Give the findings of a target witnesses for the whole function, where some are reached.

    What ended the search before its time is returned: the program runs there, and may raise anything.
    """
    places = [index for index, finding in enumerate(found) if finding.target == name and _in_float32(finding)]
    if not places or budget.over(_REACHING):
        return None
    limit = min(budget.end(_REACHING), worked() + _REACH)
    try:
        with within(2 * _REACH):
            given = captures.inputs(limit)
            asked = [found[index] for index in places]
            for index, way in reach(captures.subject, given, asked, sources, limit):
                finding = found[places[index]]
                assert finding.witness is not None
                witness = replace(
                    finding.witness, level="function", arguments=way.arguments, call=way.call, outcome=way.outcome
                )
                found[places[index]] = replace(finding, witness=witness)
    except (Exception, OutOfTime) as error:
        return error
    return None


def _not_reached(target: Target, error: BaseException) -> Note:
    """A note about a function for the whole of which no failing inputs could be looked for to the end."""
    words = "it takes too long" if isinstance(error, OutOfTime) else f"{type(error).__name__}: {error}".splitlines()[0]
    message = f"{target.name}: the search for inputs of the whole function that fail was broken off: {words}"
    return Note("NG001", target.path, target.span.line, message, failed=False)


def _as_given(site: Site, path: str) -> Site:
    """A place under the kind of name that the checked file was given; what torch has loaded goes by absolute ones."""
    return replace(site, span=replace(site.span, path=named_like(site.span.path, path)))


def _near(path: str, checked: str) -> bool:
    """Whether a file is of the same package as the one that is checked, or in its folder."""
    folder, name = place(checked)
    top = os.path.join(folder, name.split(".")[0]) if "." in name else folder
    return os.path.abspath(path).startswith(top)


def _loaded(path: str, source: str) -> ModuleType | None:
    """The module of a file that is loaded already, None where it is to be loaded from the text to check.

    A package that is imported for all its files has the modules as they are on disk; a part of torch does not bear to
    be run twice.  Raises `NanguardError` for a part of torch with another text.
    """
    name = place(path)[1]
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None or not os.path.samefile(file, path):
        return None
    with suppress(NanguardError):
        if load_source(path) == source:
            return module
    if name.partition(".")[0] == "torch":
        raise NanguardError(f"{path}:1: is loaded with another text, and torch does not bear to be loaded twice")
    return None


def _not_loaded(path: str, error: NanguardError) -> Note:
    """A note about a file that cannot be loaded: the user's to mend where the file itself raises.

    What another file raises, or an import that is missing, costs the traces alone: the file was read all the same.
    """
    where, _, rest = str(error).partition(": ")
    file, _, line = where.rpartition(":")
    torchs = place(path)[1].partition(".")[0] == "torch"  # some of it loads once, or in torch's own order alone
    own = file == path and line.isdigit() and not rest.startswith(("ImportError", "ModuleNotFoundError"))
    if not own or torchs:
        return Note("NG001", path, 1, f"not traced, only read: {error}", failed=False)
    advice = "it was read only; mend the line, or check with --static"
    return Note("NG001", path, int(line), f"cannot be imported, {rest}; {advice}", failed=True)


def beside(read: Sequence[Finding], traces: Sequence[Finding]) -> Iterator[Finding]:
    """The findings from traces that reading has not got: not those at, around or inside of a place it has."""
    for finding in traces:
        spans = [other.span for other in read if other.confirmed or not finding.confirmed]
        if not any(span.covers(finding.span) or finding.span.covers(span) for span in spans):
            yield finding
