"""Outside: what the expressions around a finding make of the value that is not finite there.

``exp(-log(1 + exp(x)))`` is 0 where the sum in it has overflown: the value of the loss is finite, its gradient is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nanguard import ops
from nanguard.matching.match import Match, Matcher
from nanguard.proof import leaves
from nanguard.proof.confirm import Proof, search
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, given
from nanguard.proof.run import NotEvaluable, gradient, run
from nanguard.term import Term, walk


def seen_from_outside(proof: Proof, around: Sequence[Term], dtype: str) -> Proof:
    """The proof of a non-finite value, as one of a non-finite gradient where the value ends in a finite one.

    `around` are the terms that the value goes into, from the inside out.
    """
    shown = any(part is not None and not bool(torch.isfinite(part).all()) for part in proof.point.gradients)
    if proof.hazard != "forward-nonfinite" or not shown:  # the witness has to show what is claimed
        return proof
    inner = given(proof.cut, proof.point.values, proof.point.shape, dtype)
    for term in around:
        tensors = {**inner, **_others(term, inner, proof.point.shape, dtype)}
        free = [tensor for tensor in inner.values() if tensor.requires_grad]
        try:
            output = run(term, tensors)
            slopes = gradient(output, free)
        except (NotEvaluable, RuntimeError):
            continue  # of another shape than the witness, say
        if bool(torch.isfinite(output).all()):
            spoiled = any(slope is not None and not bool(torch.isfinite(slope).all()) for slope in slopes)
            return replace(proof, hazard="gradient-nonfinite") if spoiled else proof
    return proof


def taken(proof: Proof, match: Match, matcher: Matcher, term: Term, around: Sequence[Term]) -> bool:
    """Whether the selections that `term` goes into take it where it goes wrong: they do not guard it.

    Only a ``where`` can be asked, by a test that is worked out from what the term is worked out from; one by class
    takes every entry of some class.  Any other test is believed to be a guard, and so are two of them: one before, to
    make the argument safe, and one after.
    """
    if any((row := ops.row(node.op)) is not None and row.decides is not None for node in walk(match.root)):
        return False
    tests: list[tuple[Term, bool]] = []  # and whether the term is the first of the branches
    for user in around:
        row = ops.row(user.op)
        places = [index for index, arg in enumerate(user.args) if arg is term]
        if row is not None and set(places) & set(row.masked):
            if row.decides != 0:
                return False
            tests.append((user.args[0], places == [1]))
        term = user
    asked = [(test, first) for test, first in tests if not any(node.op == "one_hot" for node in walk(test))]
    return any(
        all(_takes(test, first, cut, point, matcher.ranges.dtype) for test, first in asked)
        for cut, point in _failing(proof, match, matcher)
    )


def _failing(proof: Proof, match: Match, matcher: Matcher) -> Iterator[tuple[Cut, Point]]:
    """The point of a proof, and such a point for each other way to cut the match: a test may be about other leaves."""
    yield proof.cut, proof.point
    meant = match.variant.exact or match.variant.stable
    reference = match.replacement(meant) if meant is not None else match.root
    for cut in leaves.cuts(match, matcher, reference):
        if cut.free == proof.cut.free:
            continue
        try:
            found = search(cut, match, matcher)
        except NotEvaluable:
            continue
        if found is not None:
            yield cut, found[1]


def _takes(test: Term, first: bool, cut: Cut, point: Point, dtype: str) -> bool:
    """Whether a test selects the first of its branches, or the other one, at every entry."""
    inner = given(cut, point.values, point.shape, dtype)
    others = _others(test, inner, (), dtype)
    if not all(leaves.is_setting(node) for node in others):
        return False
    try:
        chosen = run(test, {**inner, **others})
    except (NotEvaluable, RuntimeError):
        return False
    return bool((chosen.bool() == first).all())


def _others(term: Term, inner: dict[Term, Tensor], shape: tuple[int, ...], dtype: str) -> dict[Term, Tensor]:
    """Ordinary values for the leaves of a term that lie elsewhere."""
    found: dict[Term, Tensor] = {}
    kind = getattr(torch, dtype)
    for node in walk(term, known=inner):
        if node.op != "const" and leaves.is_leaf(node):
            setting = leaves.is_setting(node)
            found[node] = torch.full(() if setting else shape, leaves.typical(node), dtype=kind)
    return found
