"""Harmless: what is no hazard where it stands, since nobody meets it: nothing is differentiated, or it is dropped."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from nanguard import ops
from nanguard.once import sums
from nanguard.ops.names import DIFFERENTIABLE
from nanguard.reading.read import modules
from nanguard.reading.recording import Place
from nanguard.reading.uses import Uses
from nanguard.term import Term, number

if TYPE_CHECKING:  # what a file in which nothing is risky does not need
    from nanguard.matching.match import Match

OF_GRADIENTS = ("gradient-nonfinite", "dead-gradient")


def only_detaches(place: Place) -> bool:
    """Whether an expression is one that cuts off the gradient of another, which has a place of its own."""
    if place.term.op != "detach":
        return False
    inner = place.term.args[0]
    return any(place.values.get(part) is inner for part in ast.walk(place.node) if isinstance(part, ast.expr))


def forward(match: Match) -> Match:
    """A match of what no gradient comes back from: what its rule says of gradients beside its hazard does not hold."""
    also = tuple(hazard for hazard in match.rule.also if hazard not in OF_GRADIENTS)
    return match if also == match.rule.also else replace(match, rule=replace(match.rule, also=also))


def unmet(hazard: str, repairable: bool, uses: Uses) -> bool:
    """Whether what becomes of a value makes a hazard of it one that nobody meets.

    A mask drops values that are not finite; it does not repair a gradient, since 0 times inf is nan.  A choice between
    two forms is one for the more accurate, and an order is hardly ever another for the digits that are lost.
    """
    if uses.logged:
        return True
    if uses.detached and hazard != "forward-nonfinite":
        return True
    if (uses.offset or uses.chosen or uses.placed) and hazard == "accuracy-loss":
        return True
    if uses.caught and not repairable and hazard == "forward-nonfinite":
        return True
    guarded = uses.masked and (not repairable or uses.detached)
    return guarded and hazard not in ("ineffective-guard", "gradient-nonfinite")


def outweighed(hazard: str, uses: Uses) -> bool:
    """Whether what is lost counts for nothing in what becomes of the value.

    It is the logarithm of what it is multiplied by, which is next to 0 there: the entropy ``p * log(p + eps)`` is
    right.  Or another form is taken where a bound takes over: ``where(x > 20, x, log1p(exp(x.clamp(max=20))))``.
    """
    return (uses.weighed or uses.chosen) and hazard in ("dead-gradient", "accuracy-loss")


def of_data(root: Term) -> bool:
    """Whether anything that differs from one call to the next goes into a term: not only numbers and settings."""
    from nanguard.proof.leaves import of_settings

    below, seen = [root], set[Term]()
    while below:
        node = below.pop()
        if node in seen or of_settings(node):
            continue
        seen.add(node)
        if node.op == "opaque" or node.attr("kind") in ("tensor", "mask", "index"):
            return True
        below.extend(node.args)
    return False


def silent(match: Match, place: Place) -> bool:
    """Whether no gradient comes back from a match, or from the branch that it does not take."""
    return _of_arrays(place) or _without_gradient(match.root) or _untaken_without_gradient(match)


def _without_gradient(root: Term) -> bool:
    """Whether everything that goes into a term is cut off from gradients: behind a mask nothing of it is met."""
    below, seen = [root], set[Term]()
    while below:
        node = below.pop()
        if node in seen or ops.cuts(node) or ops.random(node):
            continue
        seen.add(node)
        if node.op == "opaque" or node.attr("kind") == "tensor":
            return False
        below.extend(node.args)
    return True


def _of_arrays(place: Place) -> bool:
    """Whether a place works on arrays, which have no gradient: numpy is at hand there, and nothing of torch."""
    at_hand = {name.partition(".")[0] for name in modules(place)}
    return "numpy" in at_hand and not at_hand.intersection(DIFFERENTIABLE)


def _untaken_without_gradient(match: Match) -> bool:
    """Whether the branch that a selection does not take is cut off from gradients."""
    untaken = match.bindings.get(match.variant.untaken)
    return untaken is not None and _without_gradient(untaken)


def begun(places: Iterable[Place]) -> Iterator[ast.expr]:
    """The sums that go on: what follows is no number, and beside it the digits that the beginning loses are few.

    ``logvar - 1 - prior + exp(prior - logvar)`` is such a one in ``... + square / exp(prior)``.  What has a name of its
    own may well be added up with others, and is reported.
    """
    for place in places:
        parts = list(sums(place.node))
        added = place.values.get(parts[0].right) if len(parts) > 1 else None
        if isinstance(added, Term) and number(added) is None:
            yield parts[1]


def rounds(match: Match) -> bool:
    """Whether a match is about what a number rounds away; two large operands that cancel lose more."""
    return match.variant.hazard == "accuracy-loss" and any(number(part) is not None for part in _summands(match.root))


def _summands(term: Term) -> Iterator[Term]:
    if term.op in ("add", "sub", "neg") or ops.family(term) == ops.CAST:
        for arg in term.args:
            yield from _summands(arg)
    else:
        yield term


def only_compared(place: Place, uses: Uses) -> bool:
    """Whether a value is worked out inside of a comparison, and for it alone: under a name it may have other uses.

    Random numbers are not: those that are compared are drawn for that, ``log(rand)`` in a test of acceptance.
    """
    if not uses.compared:
        return False
    if ops.random(place.term) or (place.term.args and all(ops.random(node) for node in place.term.args)):
        return True
    tests = (node for node, value in place.values.items() if isinstance(value, Term) and ops.compares(value))
    return any(node is not place.node and any(part is place.node for part in ast.walk(node)) for node in tests)
