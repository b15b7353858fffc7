"""Analyse one file: read it, match it, and, where torch is there, trace it and prove what was matched.

`scan` needs no torch and says whether there is anything to prove; `examine` proves it.
"""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nanguard import collector, harmless, ops
from nanguard.finding import FileResult, Finding, Note, Span, Target
from nanguard.once import Settled, done_by_called, goes_on, lines_of, one_for_each, outermost_first, spread_out
from nanguard.reading import precision
from nanguard.reading.discover import targets as discover_targets
from nanguard.reading.read import Reading, modules, read, span
from nanguard.reading.recording import Place
from nanguard.reading.uses import Uses, UseTable
from nanguard.settings import Settings, selected
from nanguard.site import Site
from nanguard.term import Term, walk
from nanguard.tracing.deadline import worked

if TYPE_CHECKING:  # what a file in which nothing is risky does not need
    from nanguard.matching.match import Match, Matcher
    from nanguard.stated import Range

_PROVING = 0.3  # part of the time limit of a file in which what reading suspects is proved, before it is traced
_STATIC = 0.7  # the same where it is not traced: the rest is for what is under way then
_LAST = 0.8  # part of it by the clock on the wall, after which no proof is begun: the process is ended at 1
_ATTEMPTS = 3  # terms of one expression (one for each path) that are put to the proof


@dataclass(frozen=True, slots=True)
class Suspect:
    """A match at a place of the file, before its proof."""

    match: Match
    place: Place
    uses: Uses
    around: tuple[Term, ...]  # what the value goes into, from the inside out
    behind: bool = False  # a selection is on the way, which must be shown to take the value where it goes wrong


@dataclass(frozen=True, slots=True)
class Converted:
    """The suspects in what a program converts to another dtype."""

    matcher: Matcher
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading a file without torch gives: its targets, and how many places need a proof."""

    result: FileResult
    candidates: int
    suspects: tuple[Suspect, ...]
    reading: Reading
    matcher: Matcher | None  # none was needed where nothing is risky
    converted: tuple[Converted, ...] = ()

    @property
    def unproved(self) -> tuple[Finding, ...]:
        """The suspects as findings that are merely possible, one for each expression, for a run without torch."""
        settled = Settled()
        found: list[Finding] = []
        converted = [(part.matcher.ranges.dtype, part.suspects) for part in self.converted]
        for dtype, listed in (("float32", self.suspects), *converted):
            for suspect in outermost_first(listed):
                if not suspect.behind and not settled.covers(suspect):
                    settled.add(suspect)
                    found.append(_finding(suspect, self.reading, dtype, None))
        return tuple(one_for_each(found))


def scan(
    path: str, source: str, tree: ast.Module, settings: Settings, names: Sequence[str] | None,
    spans: Container[Span] | None = None,
) -> Scan:  # fmt: skip
    """Read a file and match it.

    `names` restricts it to some targets (and what is inside of them), and `spans` to expressions that stand there.
    """
    with collector.paused():
        return _scan(path, source, tree, settings, names, spans)


def _scan(
    path: str, source: str, tree: ast.Module, settings: Settings, names: Sequence[str] | None,
    spans: Container[Span] | None,
) -> Scan:  # fmt: skip
    targets = [target for target in discover_targets(path, tree) if _asked(target.name, names)]
    plain = settings.dtypes == ("float32",) and not settings.rules
    reading = read(path, source, tree, targets, not plain, _ranges(settings))
    result = FileResult(path, _read_targets(targets, reading), (), ())
    concerned = _standing(reading, spans) if spans is not None else _risky(reading) if plain else None
    if concerned is not None and not concerned:
        return Scan(result, 0, (), reading, None)
    wide: set[Term] = set()
    if concerned is not None and plain:
        wide = concerned & precision.in_double([place.term for place in reading.places])
        concerned = concerned - wide
    matcher = _matcher(settings.dtypes[0], settings)
    found = list(suspects(reading, matcher, _codes(settings), names, concerned))
    converted = tuple(_converted(reading, settings, names, wide))
    count = len(found) + sum(len(part.suspects) for part in converted)
    return Scan(result, count, tuple(found), reading, matcher, converted)


def _converted(
    reading: Reading, settings: Settings, names: Sequence[str] | None, wide: set[Term]
) -> Iterator[Converted]:  # fmt: skip
    """What goes wrong in the dtypes that a program converts to by itself.

    A half dtype does not hold its constants; `wide` is what it works out in float64, where less goes wrong.
    """
    terms = [place.term for place in reading.places]
    if wide:
        matcher = _matcher("float64", settings)
        yield Converted(matcher, tuple(suspects(reading, matcher, _codes(settings), names, wide)))
    for dtype in sorted(precision.converts(terms).difference(settings.dtypes)):
        concerned = precision.rounded_away(terms, dtype)
        if concerned:
            matcher = _matcher(dtype, settings)
            yield Converted(matcher, tuple(suspects(reading, matcher, _codes(settings), names, concerned)))


def _ranges(settings: Settings) -> Callable[[str, str], Mapping[str, Range]] | None:
    """What the settings say of parameters, by the path and the name of their function."""
    if not settings.inputs:
        return None
    from nanguard.stated import ranges_for

    return partial(ranges_for, settings)


def _risky(reading: Reading) -> set[Term]:
    """The terms of a file in which there is an operation that some rule may be about."""
    found: set[Term] = set()
    for term in walk(*(place.term for place in reading.places)):
        if ops.risky(term) or not found.isdisjoint(term.args):
            found.add(term)
    return found


def _standing(reading: Reading, spans: Container[Span]) -> set[Term]:
    """The terms of the expressions that stand at some spans."""
    return {place.term for place in reading.places if span(place.path, place.node) in spans}


def _matcher(dtype: str, settings: Settings) -> Matcher:
    """A matcher of its own for a file, so that what it remembers goes with the file."""
    from nanguard.matching import rules
    from nanguard.matching.match import matcher

    return matcher(rules.load(settings.rules), dtype)


def _codes(settings: Settings) -> frozenset[str]:
    from nanguard.matching import rules

    return selected(settings, rules.load(settings.rules).rules)


def _asked(name: str, names: Sequence[str] | None) -> bool:
    return names is None or any(name == wanted or name.startswith(wanted + ".") for wanted in names)


def _read_targets(targets: Iterable[Target], reading: Reading) -> tuple[Target, ...]:
    return tuple(replace(target, capture="read", reason=reading.failed.get(target.name)) for target in targets)


def suspects(
    reading: Reading, matcher: Matcher, codes: frozenset[str], names: Sequence[str] | None,
    concerned: Container[Term] | None = None,
) -> Iterator[Suspect]:  # fmt: skip
    """The matches of a file, at most a few for each expression; `concerned` are the terms that can have any."""
    places = [place for place in reading.places if _asked(place.target, names)]
    places.sort(key=lambda place: place.depth > 0)
    table: UseTable | None = None
    going_on: set[ast.expr] = set()
    counts: dict[tuple[ast.expr, str, bool], int] = {}
    for place in places:
        if concerned is not None and place.term not in concerned:
            continue
        if harmless.only_detaches(place):
            continue
        if place.depth > 0 and place.target.endswith(".__init__"):  # it was read on its own, with what it is given
            continue
        for match in _matches(place.term, matcher):
            key = (place.node, match.rule.code, bool(match.variant.untaken) and match.variant.stable is not None)
            if match.rule.code not in codes or counts.get(key, 0) >= _ATTEMPTS:
                continue
            if table is None:
                table = UseTable(
                    [place.term for place in reading.places], reading.returned, reading.shown, reading.handed
                )
                going_on.update(harmless.begun(places))
            uses = table.of(place.term)
            silent = harmless.silent(match, place)
            if silent and match.variant.hazard in harmless.OF_GRADIENTS:
                continue
            if silent or uses.detached:
                match = harmless.forward(match)
            repairable = match.variant.stable is not None and not silent
            behind = harmless.unmet(match.variant.hazard, repairable, uses)
            if behind and harmless.unmet(match.variant.hazard, repairable, replace(uses, masked=False)):
                continue
            if place.node in going_on and harmless.rounds(match):
                continue
            if harmless.only_compared(place, uses) or not harmless.of_data(match.root):
                continue
            counts[key] = counts.get(key, 0) + 1
            yield Suspect(match, place, uses, table.around(place.term), behind)


def _matches(term: Term, matcher: Matcher) -> list[Match]:
    """The matches of a term; where no gradient comes back from it, those that fail forward."""
    if term.op != "detach":
        return matcher.matches(term)
    return [
        replace(match, rule=replace(match.rule, also=()))
        for match in matcher.matches(term.args[0], "forward-nonfinite")
        if not match.guards
    ]


def _finding(suspect: Suspect, reading: Reading, dtype: str, eps: float | None) -> Finding:
    from nanguard.repair.diagnose import Context, finding
    from nanguard.repair.ground import ground

    site = reading.site(suspect.place, suspect.uses.caught)
    text = ground(reading.text(suspect.place.path))
    return finding(suspect.match, site, None, Context(modules(suspect.place), dtype, eps, ground=text))


def examine(path: str, source: str, settings: Settings, names: tuple[str, ...] | None) -> FileResult:
    """Prove the suspects of a file with torch, and, unless the settings say static, trace its targets.

    Raises nothing for what the file holds: a target that cannot be traced has its reason.
    """
    *_, last = stages(path, source, settings, names)
    return last.result


@dataclass(frozen=True, slots=True)
class Stage:
    """What is known of a file so far: what a stage adds to those before it, or, at last, all of it."""

    result: FileResult
    last: bool
    seen: Mapping[str, str] | None = None  # files that were imported or looked for so far
    hurried: bool = False  # something was left out for want of time


def stages(
    path: str, source: str, settings: Settings, names: tuple[str, ...] | None,
    tell: Callable[[Mapping[str, str]], None] | None = None,
) -> Iterator[Stage]:  # fmt: skip
    """What `examine` knows of a file before it runs anything of it and, unless it is static, with each target.

    `tell` is told of the files that an import of the file's looks for, with their stamps, before that import goes on.
    """
    began = time.monotonic()
    share = _STATIC if settings.static else _PROVING
    time_left = ProofTime(worked() + settings.timeout * share, began + settings.timeout * _LAST)
    tree = ast.parse(source)
    scanned = scan(path, source, tree, settings, names)
    found: list[Finding] = []
    if scanned.matcher is not None:
        found.extend(prove(scanned.reading, scanned.suspects, scanned.matcher, settings, time_left))
    for part in scanned.converted:
        found.extend(prove(scanned.reading, part.suspects, part.matcher, settings, time_left))
    for dtype in settings.dtypes[1:]:
        matcher = _matcher(dtype, settings)
        listed = tuple(suspects(scanned.reading, matcher, _codes(settings), names))
        found.extend(prove(scanned.reading, listed, matcher, settings, time_left))
    result = replace(scanned.result, findings=tuple(one_for_each(found)), notes=tuple(time_left.notes(path)))
    yield Stage(result, settings.static, {}, hurried=time_left.left > 0)
    if not settings.static:
        from nanguard.tracing.traced import traced

        seen = understood(scanned.reading)
        for stage in traced(path, source, scanned.result.targets, settings, seen, found, began, tell):
            notes = (*(result.notes if stage.last else ()), *stage.result.notes)
            single = replace(stage.result, findings=tuple(one_for_each(stage.result.findings)), notes=notes)
            yield replace(stage, result=single, hurried=stage.hurried or time_left.left > 0)


def understood(reading: Reading) -> set[Span]:
    """The places that reading has seen through to their leaves.

    It knows what conditions on the way exclude there, which a trace does not: the trace adds what lies elsewhere.
    """
    return {
        span(place.path, place.node)
        for place in reading.places
        if not any(node.op in ("opaque", "either") for node in walk(place.term))
    }


@dataclass(slots=True)
class ProofTime:
    """The time for the proofs of a file: `until` is one of `worked`, `last` one of `time.monotonic`.

    `left` counts what was not put to the proof.
    """

    until: float = math.inf
    last: float = math.inf
    left: int = 0

    def over(self) -> bool:
        """Whether the time is up for what is to be proved next, which is counted then."""
        if worked() <= self.until and time.monotonic() <= self.last:
            return False
        self.left += 1
        return True

    def notes(self, path: str) -> Iterator[Note]:
        """What is to be said of what was left out."""
        if self.left:
            places = "1 place was" if self.left == 1 else f"{self.left} places were"
            message = f"{places} suspected and not put to the proof for want of time (--timeout)"
            yield Note("NG001", path, 0, message, failed=False)


def prove(
    reading: Reading, suspected: Sequence[Suspect], matcher: Matcher, settings: Settings, time_left: ProofTime
) -> Iterator[Finding]:  # fmt: skip
    """The findings of a reading in the dtype of the matcher, outermost first; what lies inside of one is not looked at.

    What a function does by itself comes before what it does where it is called: that is the more general claim.  What
    is left when the time for it is up is possible, not proved.
    """
    from nanguard.proof.confirm import confirm
    from nanguard.proof.outside import seen_from_outside, taken
    from nanguard.repair.diagnose import Context, accepted, finding
    from nanguard.repair.ground import ground
    from nanguard.repair.paths import Paths

    paths = Paths(reading, matcher)
    dtype = matcher.ranges.dtype
    settled = Settled()
    ordered = outermost_first(suspected)
    spread = spread_out(ordered)
    suspicious = {suspect.place.node for suspect in ordered}
    called: dict[Term, list[Place]] = {}
    for place in reading.places if ordered else ():
        if place.depth > 0 and place.node in suspicious:
            called.setdefault(place.term, []).append(place)
    roots = {(suspect.match.rule.code, suspect.match.root): suspect.place.node.lineno for suspect in ordered}
    ordered.sort(
        key=lambda suspect: (
            id(suspect) in spread
            or done_by_called(suspect, called, suspicious)
            or goes_on(suspect.match, roots, lines_of(suspect.place.node))
        )
    )
    for suspect in ordered:
        if settled.covers(suspect) or any(part.place.node in settled.nodes for part in spread.get(id(suspect), ())):
            continue
        if done_by_called(suspect, called, settled.nodes):
            continue
        if goes_on(suspect.match, settled.roots, lines_of(suspect.place.node)):
            continue
        site: Site = reading.site(suspect.place, suspect.uses.caught)
        called_there = paths.caller(site, suspect.match, suspect.place)
        proof = None if time_left.over() else confirm(suspect.match, matcher, called_there)
        if proof is None and (suspect.behind or not settings.pedantic):
            continue
        if (
            proof is not None
            and suspect.behind
            and not taken(proof, suspect.match, matcher, suspect.place.term, suspect.around)
        ):
            continue
        if proof is not None and harmless.outweighed(proof.hazard, suspect.uses):
            continue
        if proof is not None:
            settled.add(suspect)
            proof = seen_from_outside(proof, suspect.around, dtype)
        text = ground(reading.text(suspect.place.path))
        around = modules(suspect.place)
        context = Context(
            around, dtype, settings.eps, settings.prefer, text, paths.agree(suspect.match, suspect.place),
            matcher.ranges, paths.moves(suspect.match, suspect.place), paths.operands(suspect.match, suspect.place),
            paths.settings(suspect.match, suspect.place), paths.tensors(suspect.place),
            paths.expressions(suspect.match, suspect.place), paths.constants(suspect.match, suspect.place),
        )  # fmt: skip
        site = replace(site, names=paths.words(site.names, suspect.place))
        made = finding(suspect.match, site, proof, context)
        if not accepted(suspect.match, made.hazard, settings.prefer):
            yield made
