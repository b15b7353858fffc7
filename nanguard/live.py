"""Live: the findings of a callable that is there as an object, from its trace."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Mapping
from types import ModuleType
from typing import Any

from torch import nn

from nanguard import match as matching
from nanguard import rules
from nanguard.analyse import harmless
from nanguard.confirm import confirm
from nanguard.diagnose import finding
from nanguard.finding import Finding, Report, Span, Target
from nanguard.match import Match
from nanguard.settings import Settings, selected
from nanguard.site import Site
from nanguard.term import Term, walk
from nanguard.trace import Trace, trace
from nanguard.uses import Uses, UseTable


def traced_report(loss: Callable[..., Any] | nn.Module) -> Report:
    """The report about one callable; raises `TraceError` where it cannot be traced."""
    traced = trace(loss)
    path, _, line = traced.home.rpartition(":")
    span = Span(path, int(line), 0, int(line), 0) if line.isdigit() else Span(traced.home, 1, 0, 1, 0)
    kind = "module" if isinstance(loss, nn.Module) else "function"
    target = Target(span.path, traced.name, span, kind, "trace")
    return Report(1, (target,), tuple(findings(traced, names_of_torch(loss), Settings())))


def findings(
    traced: Trace, modules: Mapping[str, str], settings: Settings, dtype: str = "float32",
    known: Container[Span] = (),
) -> Iterator[Finding]:  # fmt: skip
    """The proved findings of a trace, outermost first; `modules` is what the program calls torch's modules.

    Places in `known` have a finding already.
    """
    ruleset = rules.load()
    matcher = matching.matcher(ruleset, dtype)
    codes = selected(settings, ruleset.rules)
    uses = UseTable(list(traced.terms.values()))
    inside: set[Term] = set()
    for site, match in sorted(_matches(traced, matcher), key=lambda pair: -_size(pair[1].root)):
        if match.rule.code not in codes or match.root in inside or _harmless(match, uses.of(match.root)):
            continue
        if site.span in known:
            inside.update(_inside(match))
            continue
        proof = confirm(match, matcher, site.names)
        if proof is not None:
            inside.update(_inside(match))
        if proof is not None or settings.pedantic:
            yield finding(match, site, modules, proof, dtype, settings.eps)


def _matches(traced: Trace, matcher: matching.Matcher) -> Iterator[tuple[Site, Match]]:
    for site in traced.sites:
        for match in matcher.matches(site.term):
            yield site, match


def _harmless(match: Match, uses: Uses) -> bool:
    return harmless(match.variant.hazard, match.variant.stable is not None, uses)


def _size(term: Term) -> int:
    return sum(1 for _ in walk(term))


def _inside(match: Match) -> Iterator[Term]:
    """The root of a match and what lies between it and its variables."""
    bound = {*match.bindings.values(), *match.rest}
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
