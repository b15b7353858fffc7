"""Diagnose: a match, its place and its proof to a finding, in words and with what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanguard.finding import SEVERITY, Finding, Fix, Number
from nanguard.floats import FORMATS
from nanguard.matching.match import Match
from nanguard.matching.ranges import RangeTable
from nanguard.repair.edits import placed, visible
from nanguard.repair.ground import Ground, names_of
from nanguard.repair.source import Move, Unprintable, Words, inwards, source_of
from nanguard.site import Site
from nanguard.term import Attr, Term, const, show, walk

if TYPE_CHECKING:
    from nanguard.proof.confirm import Proof

_GUARDED = {
    "dead-gradient": "the guard {guard} keeps the value finite and takes the gradient away",
    "accuracy-loss": "the guard {guard} takes the place of the value that it guards",
    "ineffective-guard": "the guard {guard} does not guard here",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a finding is made in: the file around its place, what is known there, and what is asked for.

    `sure` says that every path to the place was seen, and that each computes what was matched.
    """

    modules: Mapping[str, str]
    dtype: str
    eps: float | None = None
    prefer: str = "stable"
    ground: Ground | None = None
    sure: bool = False
    ranges: RangeTable | None = None
    moves: Mapping[Move, tuple[str, str]] = field(default_factory=dict)
    operands: Mapping[Term, str] = field(default_factory=dict)  # what earlier statements call them
    settings: Mapping[tuple[str, Attr], str] = field(default_factory=dict)


def finding(match: Match, site: Site, proof: Proof | None, context: Context) -> Finding:
    """The finding of a match at a place; without a proof it is merely possible."""
    hazard = proof.hazard if proof is not None else match.variant.hazard
    stable = fix(match, site, "stable", match.variant.stable, proof, context)
    clamp = fix(match, site, "clamp", match.variant.clamp, proof, context)
    first, second = (clamp, None) if context.prefer == "clamp" and clamp is not None else (stable or clamp, clamp)
    return Finding(
        code=match.rule.code,
        name=match.rule.name,
        hazard=hazard,
        severity=SEVERITY[hazard] if proof is not None else "info",
        span=site.span,
        target=site.target,
        expression=site.text,
        message=message(match, site, hazard, proof, context.dtype, first),
        confirmed=proof is not None,
        witness=proof.witness if proof is not None else None,
        thresholds=proof.thresholds if proof is not None else {},
        fix=first,
        clamp=second if stable is not None else None,
    )


def accepted(match: Match, hazard: str, prefer: str) -> bool:
    """Whether a finding is what somebody who prefers clamps has asked for: the value is bounded, the gradient gone."""
    if prefer != "clamp" or hazard not in ("dead-gradient", "accuracy-loss"):
        return False
    return any(node.op == "clamp" for node in (*match.guards, *match.root.args))


def default_eps(dtype: str) -> float:
    """The epsilon of a clamped form: the known 1e-4 where 1 - 1e-4 is not 1, else the spacing above 1."""
    form = FORMATS[dtype]
    return 1e-4 if form.round(1 - 1e-4) < 1 else form.eps


def fix(
    match: Match, site: Site, kind: str, template: Term | None, proof: Proof | None, context: Context
) -> Fix | None:
    """A replacement as source; None where the rule has none, the place has no words for it, or it does not mend."""
    if template is None:
        return None
    extra = {"eps": const(context.eps if context.eps is not None else default_eps(context.dtype))}
    term = match.replacement(template, extra)
    ground = context.ground
    modules = context.modules if ground is None else visible(context.modules, site.span, ground)
    written = spelled(term, Words(site.names, modules, settings=context.settings))
    names = frozenset(name for text in context.settings.values() for name in names_of(text) if text not in site.text)
    known = context.sure and written is not None and not names
    if written is None:
        earlier = {**_attributes(term), **context.operands}
        written = spelled(term, Words({**earlier, **site.names}, modules, context.moves, context.settings))
        texts = [*earlier.values(), *(f"_{behind}" for _, behind in context.moves.values())]
        names |= frozenset(name for text in texts for name in names_of(text))
    if written is None:
        return None
    text, moved = written
    if ground is None:
        return Fix(kind, text, False)
    put = placed(site.span, ground, text, modules.values(), known, names, given(template, extra))
    if put is None:
        return None
    # a replacement that is computed before a mask selects from it meets entries that the original never saw
    selected = moved and any(node.op == "masked_select" for node in match.moved)
    safe = kind == "stable" and match.variant.safe and not match.guards and not selected and put.safe
    if proof is not None:
        part = term if proof.cut.root is match.root else replace(match, rest=()).replacement(template, extra)
        mended, alike = measured(proof, part, context)
        if mended is False:
            return None
        safe = safe and mended is True and alike
    if match.variant.hazard == "misuse":  # it computes something else, as it is meant to: not for a tool to do
        return Fix(kind, one_line(text), False)
    return Fix(kind, one_line(text), safe, put.edits)


def given(template: Term, extra: Mapping[str, Term]) -> set[object]:
    """The numbers and texts that a rule itself puts into a replacement, with either sign."""
    nodes = [*walk(template), *extra.values()]
    values = [node.value for node in nodes if node.op == "const"]
    values += [value for node in nodes for _, value in node.attrs]
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    numbers = {part for part in flat if isinstance(part, int | float) and not isinstance(part, bool)}
    return {*numbers, *(-number for number in numbers), *(str(part) for part in flat if isinstance(part, bool | str))}


def _attributes(term: Term) -> dict[Term, str]:
    """Attributes of a module by their own names; whether these are in scope is seen when they are placed."""
    symbols = (node for node in walk(term) if node.op == "symbol" and node.name.startswith("self."))
    return {node: node.name for node in symbols}


def spelled(term: Term, words: Words) -> tuple[str, bool] | None:
    """A term in the words of a place, and whether entries are moved after it; None where there are no words for it."""
    for form in (inwards(term, words), term):
        try:
            return source_of(form, words), form is term
        except Unprintable:
            continue
    return None


def measured(proof: Proof, replacement: Term, context: Context) -> tuple[bool | None, bool]:
    """Whether a replacement is right at the witness, and whether it is elsewhere what the original was."""
    from nanguard.repair import trial

    table = context.ranges
    limits = {leaf: table.interval(leaf) for leaf in proof.cut.free} if table is not None else {}
    mended = trial.mends(proof, replacement, context.dtype)
    return mended, mended is True and trial.alike(proof, replacement, limits)


def one_line(text: str) -> str:
    """A replacement as messages show it."""
    return " ".join(text.split()) if "\n" in text else text


def message(match: Match, site: Site, hazard: str, proof: Proof | None, dtype: str, repair: Fix | None) -> str:
    """What happens, when, and what to write instead."""
    text = match.rule.summary
    if match.guards and hazard in _GUARDED:
        guard = match.guards[-1]
        text = f"{text}; " + _GUARDED[hazard].format(guard=f"`{site.names.get(guard, show(guard))}`")
    first = proof.thresholds.get(dtype) if proof is not None else None
    if first is not None and proof is not None:
        text += f" (first at {_input(proof)} = {_short(first)} in {dtype})"
    return f"{text}; write `{repair.replacement}`" if repair is not None else text


def _input(proof: Proof) -> str:
    names = list(proof.witness.inputs)
    return names[0] if len(names) == 1 else ", ".join(names)


def _short(value: Number) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
