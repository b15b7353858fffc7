"""Live: the findings of a callable that is there as an object, from its trace."""

from __future__ import annotations

import inspect
import linecache
import math
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import nn

from nanguard.finding import Finding, Report, Span, Target
from nanguard.harmless import outweighed, unmet
from nanguard.matching import match as matching
from nanguard.matching import rules
from nanguard.matching.match import Match
from nanguard.once import goes_on, one_for_each
from nanguard.proof.confirm import confirm
from nanguard.reading.uses import Uses
from nanguard.repair.diagnose import Context, accepted, finding
from nanguard.repair.ground import Ground, ground
from nanguard.settings import Settings, selected
from nanguard.site import Site
from nanguard.stated import Range
from nanguard.term import Term, walk
from nanguard.tracing.deadline import worked
from nanguard.tracing.trace import Recording, trace

_DEPTH = 3  # operations that a value a program has looked at may be away from one that a match is about


@dataclass(slots=True)
class Proving:
    """What the proofs for several traces of a file share: matchers, what was looked at, and how far `worked` may go.

    `told` are the places of findings that there are already, with the codes: what goes wrong there goes on in what
    takes the value.
    """

    until: float = math.inf
    told: Mapping[Span, Collection[str]] = field(default_factory=dict)
    seen: set[tuple[Span, Term, str]] = field(default_factory=set)
    matchers: dict[str, matching.Matcher] = field(default_factory=dict)

    def matcher(self, ruleset: rules.RuleSet, dtype: str) -> matching.Matcher:
        """The matcher for a dtype."""
        if dtype not in self.matchers:
            self.matchers[dtype] = matching.matcher(ruleset, dtype)
        return self.matchers[dtype]


def traced_report(loss: Callable[..., Any] | nn.Module, settings: Settings, ranges: Mapping[str, Range]) -> Report:
    """The report about one callable, whose parameters have some `ranges`; raises `TraceError` where it has no trace."""
    traced = trace(loss, ranges=ranges)
    path, _, line = traced.home.rpartition(":")
    span = Span(path, int(line), 0, int(line), 0) if line.isdigit() else Span(traced.home, 1, 0, 1, 0)
    kind = "module" if isinstance(loss, nn.Module) else "function"
    target = Target(span.path, traced.name, span, kind, "trace")
    names, proving = names_of_torch(loss), Proving()
    found = [
        finding for dtype in settings.dtypes for finding in findings(traced, names, settings, dtype, proving=proving)
    ]
    return Report(1, (target,), tuple(one_for_each(found)))


def findings(
    traced: Recording, modules: Mapping[str, str], settings: Settings, dtype: str = "float32",
    known: Container[Span] = (), sources: Mapping[str, str] | None = None, proving: Proving | None = None,
) -> Iterator[Finding]:  # fmt: skip
    """The proved findings of a trace, outermost first; `modules` is what the program calls torch's modules.

    Places in `known` are not looked at.  `sources` are the texts of files that may differ from those on disk.
    """
    ruleset = rules.load(settings.rules)
    proving = proving or Proving()
    matcher = proving.matcher(ruleset, dtype)
    codes = selected(settings, ruleset.rules)
    inside: set[Term] = set()
    told = {(code, site.term): site.span.line for site in traced.sites for code in proving.told.get(site.span, ())}
    sites: list[Site] = []
    for site in traced.sites:
        key = (site.span, site.term, dtype)
        if key not in proving.seen and site.span not in known:
            proving.seen.add(key)
            sites.append(site)
    for site, match in sorted(_matches(sites, matcher), key=lambda pair: -pair[1].root.size):
        if worked() > proving.until:
            return
        uses = traced.uses.of(match.root)
        if match.rule.code not in codes or match.root in inside or uses.compared or _harmless(match, uses):
            continue
        if not site.doubtful.isdisjoint(_about(match)):
            continue
        if told and goes_on(match, told, range(site.span.line, site.span.end_line + 1)):
            continue
        proof = confirm(match, matcher, site.names.get)
        if proof is not None and outweighed(proof.hazard, uses):
            continue
        if proof is not None and uses.detached and proof.hazard != "forward-nonfinite":
            continue  # no gradient comes back here
        if proof is not None:
            inside.update(_inside(match))
        if proof is not None or settings.pedantic:
            text = _ground(site.span.path, sources or {})
            context = Context(modules, dtype, settings.eps, settings.prefer, text, ranges=matcher.ranges)
            made = finding(match, site, proof, context)
            if not accepted(match, made.hazard, settings.prefer):
                yield made


def _ground(path: str, sources: Mapping[str, str]) -> Ground | None:
    return ground(sources[path] if path in sources else "".join(linecache.getlines(path)))


def _matches(sites: Sequence[Site], matcher: matching.Matcher) -> Iterator[tuple[Site, Match]]:
    for site in sites:
        for match in matcher.matches(site.term):
            yield site, match


def _harmless(match: Match, uses: Uses) -> bool:
    return unmet(match.variant.hazard, match.variant.stable is not None, uses)


def _about(match: Match) -> Iterator[Term]:
    """What a match says something about: its own terms, what its variables stand for, and what these are made of."""
    yield from _inside(match)
    waiting = [(term, _DEPTH) for term in (*match.bindings.values(), *match.rest)]
    while waiting:
        term, depth = waiting.pop()
        yield term
        waiting.extend((arg, depth - 1) for arg in term.args if depth)


def _inside(match: Match) -> Iterator[Term]:
    """The root of a match and what lies between it and its variables."""
    bound = set(walk(*match.bindings.values(), *match.rest))
    waiting = [match.root]
    while waiting:
        term = waiting.pop()
        yield term
        waiting.extend(arg for arg in term.args if arg not in bound)


def names_of_torch(loss: Callable[..., Any] | nn.Module) -> dict[str, str]:
    """What the module of a callable calls torch and the modules of torch."""
    function = type(loss).forward if isinstance(loss, nn.Module) else loss
    return names_in(getattr(inspect.unwrap(getattr(function, "__func__", function)), "__globals__", {}))


def names_in(names: Mapping[str, Any]) -> dict[str, str]:
    """What some names of a module call torch and the modules of torch."""
    return {
        value.__name__: name
        for name, value in names.items()
        if isinstance(value, ModuleType) and value.__name__.split(".")[0] == "torch"
    }
