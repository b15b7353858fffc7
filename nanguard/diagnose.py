"""Diagnose: a match, its place and its proof to a finding, in words and with what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanguard.finding import SEVERITY, Edit, Finding, Fix, Number
from nanguard.floats import FORMATS
from nanguard.match import Match
from nanguard.site import Site
from nanguard.source import Unprintable, Words, source_of, strength
from nanguard.term import Term, const, show

if TYPE_CHECKING:
    from nanguard.confirm import Proof

_GUARDED = {
    "dead-gradient": "the guard {guard} keeps the value finite and takes the gradient away",
    "accuracy-loss": "the guard {guard} takes the place of the value that it guards",
    "ineffective-guard": "the guard {guard} does not guard here",
}


def finding(
    match: Match, site: Site, modules: Mapping[str, str], proof: Proof | None, dtype: str, eps: float | None
) -> Finding:
    """The finding of a match at a place; without a proof it is merely possible."""
    hazard = proof.hazard if proof is not None else match.variant.hazard
    words = Words(site.names, modules)
    stable = fix(match, site, words, "stable", match.variant.stable, eps, dtype)
    clamp = fix(match, site, words, "clamp", match.variant.clamp, eps, dtype)
    return Finding(
        code=match.rule.code,
        name=match.rule.name,
        hazard=hazard,
        severity=SEVERITY[hazard] if proof is not None else "info",
        span=site.span,
        target=site.target,
        expression=site.text,
        message=message(match, site, hazard, proof, dtype, stable or clamp),
        confirmed=proof is not None,
        witness=proof.witness if proof is not None else None,
        thresholds=proof.thresholds if proof is not None else {},
        fix=stable or clamp,
        clamp=clamp if stable is not None else None,
    )


def default_eps(dtype: str) -> float:
    """The epsilon of a clamped form: the known 1e-4 where 1 - 1e-4 is not 1, else the spacing above 1."""
    form = FORMATS[dtype]
    return 1e-4 if form.round(1 - 1e-4) < 1 else form.eps


def fix(
    match: Match, site: Site, words: Words, kind: str, template: Term | None, eps: float | None, dtype: str
) -> Fix | None:
    """A replacement as source, None where the rule has none or the place has no words for it."""
    if template is None or not words.importing():
        return None
    bound = const(eps if eps is not None else default_eps(dtype))
    try:
        text = source_of(match.replacement(template, {"eps": bound}), words)
    except Unprintable:
        return None
    # a replacement that is computed before a mask selects from it meets entries that the original never saw
    selected = any(node.op == "masked_select" for node in match.moved)
    safe = kind == "stable" and match.variant.safe and not match.guards and not selected
    # what binds less tightly than the expression that it replaces needs brackets where it goes
    spliced = text if strength(text) >= strength(site.text) else f"({text})"
    return Fix(kind, text, safe, (Edit(site.span, spliced),))


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
