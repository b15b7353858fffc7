"""Site: where a term stands in a file, and what the terms around it are called there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nanguard.finding import Span
from nanguard.term import Term


@dataclass(frozen=True, slots=True)
class Site:
    """One place where a program computes a term.

    `names` is the source text of the terms that the program has a name or an expression for at this place, so that
    a replacement can be written in the program's own words.  `caught` says that the program puts a value of its own in
    the place of entries that are nan or infinite, so that a replacement which has none of these gives another result.
    `doubtful` are terms of which more is known here than can be said: the program has looked at their values.
    """

    term: Term
    span: Span
    target: str
    text: str
    names: Mapping[Term, str] = field(default_factory=dict)
    caught: bool = False
    doubtful: frozenset[Term] = frozenset()
