"""Precision: what a program works out in another dtype than that under check, since it has converted to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nanguard import ops
from nanguard.floats import FORMATS, HALVES, Format
from nanguard.term import Term, number, walk

_NUMBERS = ("number", "size", "option", "mask", "index")


def rounded_away(terms: Iterable[Term], dtype: str) -> set[Term]:
    """The terms that are worked out in a half dtype, and in which this dtype does not hold a constant.

    ``(x.half() + 1e-8).log()``: 1e-8 is 0 there, and 1 - 1e-5 is 1.
    """
    found: dict[Term, str | None] = {}
    lost: set[Term] = set()
    form = FORMATS[dtype]
    for node in walk(*terms):
        found[node] = _dtype(node, found)
        if any(arg in lost or _vanishes(arg, form) for arg in node.args):
            lost.add(node)
    return {node for node in lost if found[node] == dtype}


def converts(terms: Iterable[Term]) -> frozenset[str]:
    """The half dtypes that some term is converted to."""
    casts = {node.attr("dtype") for node in walk(*terms) if node.op == "to"}
    return frozenset(dtype for dtype in HALVES if dtype in casts)


def in_double(terms: Sequence[Term]) -> set[Term]:
    """The terms that are worked out in float64, since something that goes into them is converted to it."""
    if not any(node.op == "to" and node.attr("dtype") == "float64" for node in walk(*terms)):
        return set()
    found: dict[Term, str | None] = {}
    for node in walk(*terms):
        found[node] = _dtype(node, found)
    return {node for node, dtype in found.items() if dtype == "float64"}


def _vanishes(term: Term, form: Format) -> bool:
    """Whether a constant is 0, or 1 from below, in a dtype."""
    value = number(term)
    return value is not None and (
        (value != 0 and form.round(value) == 0) or (0.9 < value < 1 and form.round(value) == 1)
    )


def _dtype(node: Term, known: dict[Term, str | None]) -> str | None:
    """The dtype of a term, None for a number or a mask, which take that of what they meet."""
    if node.op == "to" and node.attr("dtype") is not None:
        given = node.attr("dtype")
        return given if isinstance(given, str) and given in FORMATS else "float32"
    row = ops.row(node.op)
    if (
        node.op == "const"
        or node.attr("kind") in _NUMBERS
        or (row is not None and (row.mask or row.family == ops.LEAF))
    ):
        return None
    if not node.args or row is None:
        return "float32"
    met = {known[arg] for arg in node.args} - {None}
    if len(met) > 1:
        return "float64" if "float64" in met else "float32"
    return met.pop() if met else None
