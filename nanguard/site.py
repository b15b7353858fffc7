"""Site: where a term stands in a file, and what the terms around it are called there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from nanguard import ops
from nanguard.finding import Span
from nanguard.term import Term, is_entry, make, rebuild, show, symbol

_LONGEST = 60  # characters of what a term is called


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


def label(term: Term, called: Callable[[Term], str | None]) -> str:
    """What a term is called: as at the place of a finding, else what it is written out as, shortened."""
    text = called(term)
    while text is None and (term.op == "either" or ops.family(term) == ops.CAST):
        term = term.args[0]
        text = called(term)
    text = text or show(rebuild(term, partial(_named, called)))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _named(called: Callable[[Term], str | None], term: Term, args: tuple[Term, ...]) -> Term:
    """A term as it is called: what has a name by that, what nothing is known of without what it was worked out from."""
    text = called(term) if term.op != "const" else None
    if text is not None:
        return symbol(text)
    if term.op == "opaque":
        return symbol(term.name)
    if is_entry(term):
        return symbol(f"{show(args[0])}[{', '.join(map(repr, term.attr('key')))}]")  # type: ignore[call-overload]
    if term.op == "pick" and isinstance(term.attr("index"), str):
        return symbol(f"{show(args[0])}[{term.attr('index')}]")
    return args[0] if ops.family(term) == ops.CAST and args else make(term.op, args, term.attrs)
