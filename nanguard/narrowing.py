"""Narrowing: what a test that went one way tells about the values it compares."""

from __future__ import annotations

from nanguard import ops
from nanguard.term import Term, make, number


def is_mask(value: object) -> bool:
    """Whether a value selects entries: the result of a comparison, or an argument that is called a mask."""
    return isinstance(value, Term) and (compares(value) or value.attr("kind") == "mask")


def compares(term: Term) -> bool:
    """Whether an operation gives true or false for each entry, as the ops table says."""
    row = ops.row(term.op)
    return row is not None and row.mask


def narrow(term: Term, test: Term, outcome: bool) -> Term:
    """`term` with what a comparison of it with a constant tells, when that went `outcome`."""
    if test.op == "logical_not":
        return narrow(term, test.args[0], not outcome)
    if test.op == "logical_and" and outcome:
        return narrow(narrow(term, test.args[0], True), test.args[1], True)
    if test.op not in ("gt", "ge", "lt", "le", "eq", "ne"):
        return term
    subject, bound = test.args
    op = test.op
    if number(subject) is not None:
        subject, bound = bound, subject
        op = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}.get(op, op)
    value = number(bound)
    if subject is not without_facts(term) or value is None:
        return term
    if not outcome:
        op = {"gt": "le", "le": "gt", "ge": "lt", "lt": "ge", "eq": "ne", "ne": "eq"}[op]
    facts = {
        "gt": (value, None, True, False), "ge": (value, None, False, False), "lt": (None, value, False, True),
        "le": (None, value, False, False), "eq": (value, value, False, False), "ne": (None, None, False, False),
    }[op]  # fmt: skip
    names = ("low", "high", "low_open", "high_open")
    return make("assume", (term,), (*zip(names, facts, strict=True), ("nonzero", op == "ne" and value == 0)))


def without_facts(term: Term) -> Term:
    """A term without the facts found on the way."""
    while term.op == "assume":
        term = term.args[0]
    return term


def of_every_entry(test: Term, outcome: bool) -> tuple[Term | None, bool]:
    """The comparison inside ``(p > 0).all()`` that holds of every entry, if the test says so."""
    if test.op == "all":
        return (test.args[0], True) if outcome else (None, outcome)
    if test.op == "any":
        return (None, outcome) if outcome else (test.args[0], False)
    return test, outcome
