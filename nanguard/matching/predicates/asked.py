"""What the predicates are asked about: the ranges of terms, and the expression that a rule fits."""

from __future__ import annotations

from typing import Protocol

from nanguard import ops
from nanguard.matching.interval import Interval
from nanguard.term import Term


class Ranges(Protocol):
    """What a predicate may ask: the interval of a term in the dtype under check."""

    def interval(self, term: Term) -> Interval:
        """The floats that the term can take."""
        ...


class Matched(Ranges, Protocol):
    """What a predicate on the whole expression may ask beside the ranges."""

    @property
    def term(self) -> Term:
        """The expression as it is written."""
        ...

    @property
    def head(self) -> Term:
        """Its normal form."""
        ...

    @property
    def bare(self) -> Term:
        """Its normal form as the pattern was compared with it: behind the guards where it looked through some."""
        ...

    def normal(self, term: Term) -> Term:
        """The normal form of any term."""
        ...


def core(x: Term) -> Term:
    """What movements at the root of `x` move."""
    while ops.family(x) == ops.MOVEMENT and x.args:
        x = x.args[0]
    return x
