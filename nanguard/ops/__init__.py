"""The ops table: everything nanguard knows about an operation, a row for each canonical one.

A row holds how the operation is spelled in torch, its range, its exact evaluation and how it is run, emitted to fx
and printed.  Adding an operation is adding a row to the module of its family; no stage keeps a list of its own.
torch's functions are named by strings, so that the table needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

from nanguard import term as terms
from nanguard.floats import FORMATS
from nanguard.ops import elementwise, loss, reduce, shape
from nanguard.ops.row import (
    AXIS,
    CAST,
    COMPOSITE,
    ELEMENTWISE,
    LEAF,
    MOVEMENT,
    REDUCE,
    REQUIRED,
    BindError,
    Op,
    Spelling,
    left_out,
    read_spelling,
    term_of,
)  # fmt: skip
from nanguard.term import Attr, Term

__all__ = [
    "AXIS", "CAST", "COMPOSITE", "ELEMENTWISE", "LEAF", "MOVEMENT", "REDUCE", "BindError", "Op", "Spelling",
    "call", "family", "full_name", "meaning", "parse", "risky", "row", "rows", "spellings",
]  # fmt: skip


@cache
def rows() -> Mapping[str, Op]:
    """The rows by the name of their operation."""
    listed = (*reduce.ROWS, *elementwise.ROWS, *loss.ROWS, *shape.ROWS, *shape.JOINS)
    table = {row.name: row for row in listed}
    if len(table) != len(listed):
        raise ValueError("two rows of the ops table have one name")
    return table


def row(name: str) -> Op | None:
    """The row of an operation, None for leaves (const, symbol, var)."""
    return rows().get(name)


def family(term: Term) -> str:
    """The family of a term's operation; leaves without a row are LEAF."""
    found = rows().get(term.op)
    return found.family if found is not None else LEAF


def compares(term: Term) -> bool:
    """Whether a term is a comparison or a combination of such: an operation that gives true or false."""
    found = rows().get(term.op)
    return found is not None and found.mask


_LARGE = FORMATS["float32"].max / 2


def risky(term: Term) -> bool:
    """Whether some rule for float32 may be about the operation of a term; a test holds the rules to it.

    Terms without any such operation need no rules.  A number that overflows when it is added to itself is one, too.
    """
    if term.op == "const":
        return abs(terms.number(term) or 0) > _LARGE
    found = rows().get(term.op)
    if found is None:
        return False
    return (
        found.singular or found.means is not None or (found.torch or "").startswith("F.")
        or (found.family in (ELEMENTWISE, REDUCE, AXIS) and not found.plain)
    )  # fmt: skip


def breaks(term: Term) -> bool:
    """Whether an operation, or its derivative, can be non-finite at a finite argument.

    A power can, but for a whole exponent from 1 on; one that is not known is most likely 2.
    """
    found = rows().get(term.op)
    if term.op == "pow":
        exponent = terms.number(term.args[1])
        return exponent is not None and (exponent < 1 or not float(exponent).is_integer())
    return found is not None and found.singular


def size(term: Term) -> bool:
    """Whether a term is a number of entries or of classes: nothing that goes wrong in the entries goes wrong in it."""
    found = rows().get(term.op)
    return term.attr("kind") == "size" or (found is not None and found.size)


def cuts(term: Term) -> bool:
    """Whether no gradient comes back through an operation: it detaches, or gives whole numbers."""
    found = rows().get(term.op)
    return found is not None and found.cuts


def nests(term: Term) -> bool:
    """Whether a reduction of the same reduction is one: the sum of a sum."""
    found = rows().get(term.op)
    return found is not None and found.nests


def random(term: Term) -> bool:
    """Whether a leaf stands for the random numbers that the call at one place draws."""
    drawn, at, _ = term.name.partition(" at ") if term.op == "symbol" else ("", "", "")
    found = rows().get(drawn) if at else None
    return found is not None and not found.pure


def catches(term: Term) -> bool:
    """Whether an operation tells, or replaces, entries that are nan or infinite: ``isnan(x)``, ``x != x``."""
    found = rows().get(term.op)
    if found is not None and found.catches:
        return True
    if term.op not in ("eq", "ne"):
        return False
    one, other = term.args
    return one is other or any(math.isinf(terms.number(arg) or 0.0) for arg in term.args)


# What an op takes in an expression: its operands and the attributes with defaults (an attribute without a default
# must be given there, but a template may leave it out, so it defaults to None).
def _signature(name: str) -> tuple[tuple[str, ...], Mapping[str, Attr]] | None:
    found = rows().get(name)
    if found is None or name in {op.name for op in shape.JOINS}:
        return None
    attrs = {key: None if default is REQUIRED else default for key, default in found.signature.attrs}
    return found.operands, attrs


@cache
def parse(text: str) -> Term:
    """The term that an expression of the rule language writes; raises `term.ExpressionError`."""
    return terms.parse(text, _signature)


@cache
def spellings() -> Mapping[str, tuple[Spelling, ...]]:
    """The spellings by full dotted name; where one name has several, the first whose arguments fit is meant."""
    found: dict[str, list[Spelling]] = {}
    for op in rows().values():
        for text in op.spellings:
            spelling = read_spelling(text, op, parse)
            found.setdefault(spelling.name, []).append(spelling)
    return {name: tuple(listed) for name, listed in found.items()}


def full_name(name: str) -> str:
    """A dotted name of the table with its abbreviation spelled out."""
    if name.startswith("F."):
        return "torch.nn.functional." + name[2:]
    return "torch." + name if name.startswith("nn.") else name


def call(name: str, args: Sequence[Attr], keywords: Mapping[str, Attr]) -> Term | None:
    """The term that a call of the function `name` (a full dotted name) means, None for a name not in the table.

    `args` and `keywords` are terms and plain values.  Of several spellings the one that leaves the fewest keywords out
    is meant: ``torch.max(x, other=y)`` is no reduction.  Raises `BindError` when no spelling takes these arguments.
    """
    error: str | None = None
    best: tuple[int, Term] | None = None
    for spelling in spellings().get(name, ()):
        try:
            term = term_of(spelling, rows()[spelling.op], args, keywords)
        except BindError as failed:
            error = str(failed)  # the exception itself would keep this call, which keeps the exception
            continue
        unknown = len(left_out(spelling, keywords)) if keywords else 0
        if unknown == 0:
            return term
        if best is None or unknown < best[0]:
            best = unknown, term
    if best is None and error is not None:
        raise BindError(error)
    return best[1] if best is not None else None


@cache
def meaning(name: str) -> Term | None:
    """What a composite operation computes, as a term over its operands; None for a primitive one."""
    found = rows().get(name)
    return parse(found.means) if found is not None and found.means else None
