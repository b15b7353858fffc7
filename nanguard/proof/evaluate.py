"""Evaluating a term from below, whatever the values are: torch tensors (`run`) or balls (`exact`)."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from nanguard import ops
from nanguard.errors import NanguardError
from nanguard.term import UNKNOWN, Attr, Hole, Term, var

Value = TypeVar("Value")
Attrs = Mapping[str, Attr]

_WITHOUT_VALUE = ("symbol", "opaque", "either")


class NotEvaluable(NanguardError):
    """A term has no value: a leaf without one, an operation nothing is known of, operands that do not fit."""


class Evaluator(ABC, Generic[Value]):
    """What gives an operation its value; `evaluate` does the rest."""

    @abstractmethod
    def constant(self, value: Attr) -> Value:
        """The value of a constant."""

    @abstractmethod
    def apply(self, op: str, operands: Sequence[Value], attrs: Attrs) -> Value:
        """The value of an operation with these operands; raises `NotEvaluable`."""

    def evaluate(self, term: Term, given: Mapping[Term, Value], holes: Attrs | None = None) -> Value:
        """The value of `term`, where `given` has the values of terms below which nothing is looked at.

        `holes` are the values of the attribute variables, where the term is a template.
        """
        done = dict(given)
        stack = [term]
        while stack:
            node = stack[-1]
            missing = [arg for arg in node.args if arg not in done] if node not in done else []
            if missing and not _is_leaf(node):
                stack.extend(missing)
                continue
            stack.pop()
            if node not in done:
                done[node] = self._visit(node, [done[arg] for arg in node.args if arg in done], holes or {})
        return done[term]

    def _visit(self, node: Term, operands: Sequence[Value], holes: Attrs) -> Value:
        if node.op == "const":
            return self.constant(node.value)
        if _is_leaf(node):
            raise NotEvaluable(f"no value is given for {node.attr('name') or node.op}")
        attrs = {key: holes.get(value.name) if isinstance(value, Hole) else value for key, value in node.attrs}
        return self.apply(node.op, operands, attrs)

    def by_meaning(self, row: ops.Op, operands: Sequence[Value], attrs: Attrs) -> Value:
        """The value of a composite operation, from what it means in terms of others."""
        template = ops.meaning(row.name)
        if template is None:
            raise NotEvaluable(f"nothing is known of how to evaluate {row.name}")
        return self.evaluate(template, dict(zip(map(var, row.operands), operands, strict=True)), along(row, attrs))


def _is_leaf(term: Term) -> bool:
    """Whether a term has only the value it is given; a variable is called var, and so is the variance."""
    return term.op in _WITHOUT_VALUE or (term.op == "variable" and not term.args)


def row_of(op: str) -> ops.Op:
    """The row of an operation that has a value for given operands."""
    row = ops.row(op)
    if row is None:
        raise NotEvaluable(f"there is no operation {op}")
    if not row.pure:
        raise NotEvaluable(f"{op} is random")
    return row


def along(row: ops.Op, attrs: Attrs) -> Attrs:
    """The attributes, with the last dimension where an operation along one dimension was not told which."""
    if row.family == ops.AXIS and attrs.get("dim") in (None, UNKNOWN):
        return {**attrs, "dim": -1}
    return attrs


def known(value: Attr) -> bool:
    """Whether an attribute was given and no part of it is unknown."""
    if isinstance(value, tuple):
        return all(item is None or known(item) for item in value)
    return value is not None and value is not UNKNOWN and not isinstance(value, Hole)


def met(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape in which tensors of some shapes meet; raises `NotEvaluable` where they do not.

    torch.broadcast_shapes says the same, and imports half a second of modules for it.
    """
    columns = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    result: list[int] = []
    for column in columns:
        wide = {size for size in column if size != 1}
        if len(wide) > 1:
            raise NotEvaluable(f"tensors of sizes {sorted(wide)} do not meet")
        result.append(wide.pop() if wide else 1)
    return tuple(reversed(result))
