"""Subject: what the code of a finding is, read again from its file: its match, where it is cut, and its derivation.

A finding of a trace stands where reading sees nothing; what can be said of it is then what its rule's example says.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nanguard import analyse
from nanguard.errors import NanguardError
from nanguard.finding import Finding, Number, Span, Witness
from nanguard.matching.match import Match, Matcher
from nanguard.matching.rules import load
from nanguard.proof import prove
from nanguard.proof.confirm import confirm
from nanguard.proof.leaves import Cut, cuts
from nanguard.proof.points import Point, Values, at, fitting
from nanguard.proof.witness import plain
from nanguard.reading import discover
from nanguard.reading.read import span
from nanguard.report.html.sample import Pair
from nanguard.report.place import source_text
from nanguard.settings import Settings
from nanguard.term import Term

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Subject:
    """The code of a finding as a match, with the names that its terms have there."""

    match: Match
    matcher: Matcher
    names: Mapping[Term, str]
    own: bool = True  # not: the example of the finding's rule stands in for it


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a subject is cut and run: what its witness gives there, and by the stable form."""

    pair: Pair
    witness: Values
    stable: Number | None = None  # what the stable form gives at the witness
    slope: Number | None = None  # the entry of its gradient there, of which the witness has the one as written


@dataclass(slots=True)
class Subjects:
    """Reads each file once for each dtype, and each rule's example once.

    Of a file only the functions `names` are read, where they are given; all of it where a finding is in none of these.
    Only what stands at `spans` is matched, where these are given.
    """

    settings: Settings
    names: tuple[str, ...] | None = None
    spans: frozenset[Span] | None = None
    examples: dict[tuple[str, str], Subject | None] = field(default_factory=dict)
    scans: dict[tuple[str, str, tuple[str, ...] | None], analyse.Scan | None] = field(default_factory=dict)

    def of(self, finding: Finding) -> Subject | None:
        """The subject of a finding."""
        dtype = finding.witness.dtype if finding.witness else self.settings.dtypes[0]
        for names in dict.fromkeys((self.names, None)):
            scanned = self.scan(finding.span.path, dtype, names)
            for suspect in scanned.suspects if scanned is not None else ():
                same = span(suspect.place.path, suspect.place.node) == finding.span
                if same and suspect.match.rule.code == finding.code and scanned is not None and scanned.matcher:
                    found = scanned.reading.site(suspect.place, suspect.uses.masked).names
                    return Subject(suspect.match, scanned.matcher, found)
        return self.example(finding.code, dtype)

    def scan(self, path: str, dtype: str, names: tuple[str, ...] | None = None) -> analyse.Scan | None:
        """A file as it is read in a dtype; None where it cannot be read (any more)."""
        key = (path, dtype, names)
        if key not in self.scans:
            try:
                source = source_text(path)
                settings = replace(self.settings, dtypes=(dtype,), static=True, select=("ALL",), ignore=())
                self.scans[key] = analyse.scan(path, source, discover.parse(path, source), settings, names, self.spans)
            except NanguardError:
                self.scans[key] = None
        return self.scans[key]

    def example(self, code: str, dtype: str = "float32") -> Subject | None:
        """The first bad example of a rule that is found in a dtype."""
        if (code, dtype) not in self.examples:
            self.examples[code, dtype] = next(self._examples(code, dtype), None)
        return self.examples[code, dtype]

    def _examples(self, code: str, dtype: str) -> Iterator[Subject]:
        rule = load(self.settings.rules).find(code)
        settings = replace(self.settings, dtypes=(dtype,), static=True, select=(code,), ignore=())
        for example in rule.examples if rule is not None else ():
            if example.bad is None:
                continue
            source = prove.program(example.bad)
            scanned = analyse.scan("example.py", source, ast.parse(source), settings, None)
            for suspect in scanned.suspects:
                if scanned.matcher is not None:
                    names = scanned.reading.site(suspect.place, suspect.uses.masked).names
                    yield Subject(suspect.match, scanned.matcher, names, own=False)


def proved(subject: Subject) -> Witness | None:
    """A witness of a subject that has none of a finding."""
    proof = confirm(subject.match, subject.matcher, subject.names.get)
    return proof.witness if proof is not None else None


def shown(subject: Subject, witness: Witness | None) -> Shown | None:
    """Where to run a subject: at the cut at which its witness gives what it says, else at the first that runs."""
    match, matcher = subject.match, subject.matcher
    meant = match.variant.exact or match.variant.stable
    reference = match.replacement(meant) if meant is not None else match.root
    stable = match.replacement(match.variant.stable) if match.variant.stable is not None else None
    found = list(cuts(match, matcher, reference))
    dtype = matcher.ranges.dtype
    for cut in found if witness is not None else ():
        given = _given(cut, witness.inputs) if witness is not None else None
        point = at(cut, *given, dtype) if given is not None else None
        if point is not None and witness is not None and _alike(point.output, witness.computed):
            pair = _pair(cut, stable, point.shape)
            return _at_witness(pair, point, witness, dtype)
    for cut in found:
        try:
            shape = () if cut.elementwise else fitting(cut, matcher)
        except NanguardError:
            continue
        ones = tuple((1.0,) * math.prod(shape) for _ in cut.free)
        if at(cut, ones, shape, dtype) is not None:
            return Shown(_pair(cut, stable, shape), ones)
    return None


def _pair(cut: Cut, stable: Term | None, shape: tuple[int, ...]) -> Pair:
    return Pair(cut, replace(cut, root=stable) if stable is not None else None, () if cut.elementwise else shape)


def _at_witness(pair: Pair, point: Point, witness: Witness, dtype: str) -> Shown:
    """A pair with what its replacement gives at the witness."""
    after = at(pair.after, point.values, point.shape, dtype) if pair.after is not None else None
    if after is None:
        return Shown(pair, point.values)
    slope = None
    for before, part in zip(point.gradients, after.gradients, strict=True):
        listed = [] if before is None else [plain(value) for value in before.flatten().tolist()]
        if part is not None and witness.gradient in listed:
            slope = plain(part.flatten().tolist()[listed.index(witness.gradient)])
            break
    return Shown(pair, point.values, _numbers(after.output.tolist()), slope)


def _numbers(value: Any) -> Number:
    if isinstance(value, list):
        listed = [_numbers(part) for part in value]
        return listed[0] if len(listed) == 1 and not isinstance(listed[0], list) else listed
    return plain(value)


def _given(cut: Cut, inputs: Mapping[str, Number]) -> tuple[Values, tuple[int, ...]] | None:
    """The inputs of a witness as the values of the free leaves of a cut and their shape; None if they are others."""
    listed = list(inputs.values())[: len(cut.free)]
    shapes = {_shape(value) for value in listed}
    if len(listed) < len(cut.free) or len(shapes) != 1:
        return None
    return tuple(tuple(_flat(value)) for value in listed), shapes.pop()


def _shape(value: Number) -> tuple[int, ...]:
    return (len(value), *(_shape(value[0]) if value else ())) if isinstance(value, list) else ()


def _flat(value: Number) -> Iterator[float]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    else:
        yield float(value)


def _alike(output: Tensor, computed: Number) -> bool:
    wanted = [plain(value) for value in _flat(computed)]
    return [plain(value) for value in output.flatten().tolist()] == wanted
