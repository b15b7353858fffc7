"""The exact value of a term and its gradient, by ball arithmetic, never from another float.

The exact meaning takes casts as the identity, constants and leaves as exactly the numbers they are, and
evaluates the rest in balls.  The precision is raised until every ball is narrow enough to say which float it
holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import flint
from flint import arb

from nanguard.proof.arrays import Array, Balls, Shape, read
from nanguard.proof.balls import TWO, UNKNOWN, nearest
from nanguard.proof.dual import Dual, gradient
from nanguard.proof.evaluate import NotEvaluable
from nanguard.term import Term

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dual", "Entries", "Exact", "NotEvaluable", "evaluate"]

FIRST, LAST = 128, 8192  # bits of precision
_ACCURATE = 60  # bits of a ball that is narrow enough
_VANISHING = TWO**-1080  # what is smaller is the float 0


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a tensor in order: the nearest floats (inf and nan where not finite) and their balls."""

    shape: Shape
    values: tuple[float, ...]
    balls: tuple[arb, ...]


@dataclass(frozen=True, slots=True)
class Exact(Entries):
    """The exact entries of a term.

    `gradients` are those of the sum of its finite entries, one for each leaf asked for.  `decided` says that
    all of it is certain; otherwise a number that the highest precision cannot tell from a float was taken to
    be it, and what is still not known is nan.
    """

    gradients: tuple[Entries, ...]
    decided: bool


def evaluate(term: Term, leaves: Mapping[Term, Tensor], wrt: Sequence[Term] = (), bits: int = LAST) -> Exact:
    """The exact value of `term` and its gradient with respect to the leaves `wrt`.

    `leaves` gives the values of symbols, or of any subterms that are to be cut; `bits` is the highest
    precision.
    Raises `NotEvaluable` for a term of which the exact value is not known.
    """
    for precision in precisions(bits):
        result = attempt(term, leaves, wrt, precision)
        if result.decided:
            return result
    return attempt(term, leaves, wrt, bits, snap=True)


def precisions(bits: int) -> tuple[int, ...]:
    """The precisions that are tried, in bits, up to the highest one."""
    found = [min(FIRST, bits)]
    while found[-1] < bits:
        found.append(min(4 * found[-1], bits))
    return tuple(found)


def attempt(term: Term, leaves: Mapping[Term, Tensor], wrt: Sequence[Term], bits: int, snap: bool = False) -> Exact:
    """The same as `evaluate` at one precision, of `bits`.

    With `snap`, what cannot be told from a float is taken to be it, and nothing is decided.
    Raises `NotEvaluable` as `evaluate` does.
    """
    with flint.ctx.workprec(bits):
        given = {leaf: read(tensor, leaf in wrt) for leaf, tensor in leaves.items()}
        inputs = [given[leaf] for leaf in wrt]
        array = Balls(snap).evaluate(term, dict(given))
        if array is None:
            raise NotEvaluable("None has no exact value")
        values = [entry.value for entry in array.entries]
        finite = [entry for entry in array.entries if entry.value.is_finite()]
        slopes = gradient(finite, [entry for leaf in inputs for entry in leaf.entries])
        decided = not snap and all(map(narrow, values)) and all(map(narrow, slopes))
    return Exact(array.shape, tuple(map(nearest, values)), tuple(values), _split(slopes, inputs), decided)


def _split(slopes: Sequence[arb], inputs: Sequence[Array]) -> tuple[Entries, ...]:
    """The derivatives with respect to each of some leaves."""
    result, start = [], 0
    for leaf in inputs:
        part = slopes[start : start + len(leaf.entries)]
        result.append(Entries(leaf.shape, tuple(map(nearest, part)), tuple(part)))
        start += len(part)
    return tuple(result)


def narrow(value: arb) -> bool:
    """Whether a ball says which float it holds."""
    if not value.is_finite():
        return value is not UNKNOWN
    return value.rel_accuracy_bits() >= _ACCURATE or -_VANISHING < value < _VANISHING
