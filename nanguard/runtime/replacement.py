"""Replacement: what a rewritten loss tells of each expression that was replaced in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanguard.finding import Span
from nanguard.repair.source import Unprintable, Words, source_of
from nanguard.runtime.rewriting import Plan
from nanguard.site import Site
from nanguard.term import Term
from nanguard.tracing.places import SPAN


@dataclass(frozen=True, slots=True)
class Replacement:
    """An expression that was replaced: where it stands (line and column from 1), and by what."""

    code: str
    name: str
    path: str
    line: int
    column: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.name}: {self.before} -> {self.after}"


def replacement_of(plan: Plan, places: Mapping[tuple[Term, Span], Site]) -> Replacement:
    """A replacement in the words of the program, where it has some."""
    span = plan.root.meta.get(SPAN)
    site = places.get((plan.match.root, span)) if span is not None else None
    if site is None:
        return replacement_at(None, plan)
    try:
        after = source_of(plan.term, Words(site.names, {"torch": "torch", "torch.nn.functional": "F"}))
    except Unprintable:
        after = plan.form
    return replacement_at(span, plan, site.text, after)


def replacement_at(span: Span | None, plan: Plan, before: str = "", after: str = "") -> Replacement:
    """A replacement at a place, in the words of the program or, without them, of the rule."""
    before, after = before or plan.pattern, after or plan.form
    rule = plan.match.rule
    if span is None:
        return Replacement(rule.code, rule.name, "", 0, 0, before, after)
    return Replacement(rule.code, rule.name, span.path, span.line, span.column + 1, before, after)
