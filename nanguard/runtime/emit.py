"""Emit: a term as calls of torch, either as new nodes of an fx graph or made at once on tensors."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import fx

from nanguard import ops
from nanguard.ops.row import REQUIRED
from nanguard.term import UNKNOWN, Hole, Term, fill

Operand = Any  # a node or a tensor, or a number


class NotEmittable(Exception):
    """A term that has no torch call here."""


# Operations of two tensors that take no number.


@dataclass(frozen=True, slots=True)
class Movement:
    """How the program moves entries in one place: a call, but for the operand whose entries are moved."""

    kind: str  # call_function or call_method
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(slots=True)
class Writer(ABC):
    """Writes a term as calls of torch.

    `find` gives the value of a term that there is already; `moves` the movement of entries in the program that is
    to be done again, for a term that is one.
    """

    find: Callable[[Term], Operand | None]
    moves: Callable[[Term], Movement | None]
    done: dict[Term, Operand] = field(default_factory=dict)

    @abstractmethod
    def is_value(self, operand: Operand) -> bool:
        """Whether an operand stands for a tensor."""

    @abstractmethod
    def make(self, kind: str, target: Any, args: tuple[Operand, ...], kwargs: dict[str, Any]) -> Operand:
        """The value of a call of a function, or of a method by its name."""

    def emit(self, term: Term) -> Operand:
        """The node that computes a term, or its value if it is a constant; raises `NotEmittable`."""
        if term not in self.done:
            found = self.find(term)
            self.done[term] = found if found is not None else self.new(term)
        return self.done[term]

    def new(self, term: Term) -> Operand:
        if term.op == "const":
            return term.value
        if term.op == "assume":  # a fact about its operand
            return self.emit(term.args[0])
        row = ops.row(term.op)
        if row is None or not row.pure:
            raise NotEmittable(term.op)
        if row.family == ops.MOVEMENT:
            return self.moved(term, row)
        if any(value is UNKNOWN or isinstance(value, Hole) for _, value in term.attrs):
            raise NotEmittable(term.op)
        if term.op == "reduced":
            return self.reduced(term)
        sign = _operator(row)
        if sign is not None:
            operands = [self.emit(arg) for arg in term.args]
            is_number = not any(map(self.is_value, operands))
            return sign(*operands) if is_number else self.call(sign, *operands)
        if row.torch is None:
            return self.meaning(term, row)
        return self.function(term, row)

    def meaning(self, term: Term, row: ops.Op) -> Operand:
        """A composite operation that torch has no function for, by what it means."""
        means = ops.meaning(term.op)
        if means is None:
            raise NotEmittable(term.op)
        return self.emit(fill(means, dict(zip(row.operands, term.args, strict=True)), dict(term.attrs)))

    def function(self, term: Term, row: ops.Op) -> Operand:
        """A call of the function of torch that the table names."""
        operands = list(zip(row.signature.operands, map(self.emit, term.args), strict=True))
        plain = [operand for (_, default), operand in operands if default is REQUIRED]
        named = {name: held for (name, default), held in operands if default is not REQUIRED and held is not None}
        if row.tensors:
            plain = self.as_tensors(plain)
        attrs = self.attributes(term, row, plain)
        return self.call(_target(row), *plain, **named, **attrs)

    def as_tensors(self, operands: Sequence[Operand]) -> list[Operand]:
        """The operands with numbers as tensors like the first tensor."""
        first = next((operand for operand in operands if self.is_value(operand)), None)
        return [
            operand if self.is_value(operand) else self.call(torch.full_like, first, operand) for operand in operands
        ]

    def attributes(self, term: Term, row: ops.Op, operands: list[Operand]) -> dict[str, Any]:
        """The attributes as keywords: without a dimension a reduction takes all entries."""
        given = {key: list(value) if isinstance(value, tuple) else value for key, value in term.attrs}
        if row.family == ops.REDUCE and given.get("dim") is None:
            if given.get("keepdim"):
                raise NotEmittable(f"{term.op} over everything that keeps its dimensions")
            given.pop("keepdim", None)
            if term.op == "logsumexp":
                operands[0], given["dim"] = self.call(torch.flatten, operands[0]), 0
        if row.family == ops.AXIS and given.get("dim") is None:
            raise NotEmittable(f"{term.op} along no dimension")
        return {key: value for key, value in given.items() if value is not None}

    def reduced(self, term: Term) -> Operand:
        """How a loss ends."""
        inner = self.emit(term.args[0])
        match term.attr("reduction"):
            case "mean":
                return self.call(torch.mean, inner)
            case "sum":
                return self.call(torch.sum, inner)
            case "none":
                return inner
        raise NotEmittable("reduced")

    def moved(self, term: Term, row: ops.Op) -> Operand:
        """A movement, done as the original does it where it does, else by the table."""
        inner = self.emit(term.args[0])
        model = self.moves(term)
        if model is not None:
            return self.make(model.kind, model.target, (inner, *model.args), dict(model.kwargs))
        if row.torch is None:
            return self.meaning(term, row)
        attrs = dict(term.attrs)
        if len(term.args) != 1 or any(value is UNKNOWN for value in attrs.values()):
            raise NotEmittable(term.op)
        if term.op == "index":
            return self.call(operator.getitem, inner, _key(attrs["key"]))
        if term.op in ("unbind", "sort", "pick", "stack"):
            raise NotEmittable(term.op)
        return self.call(_target(row), inner, **{key: value for key, value in attrs.items() if value is not None})

    def call(self, target: Callable[..., Any] | str, *args: Operand, **kwargs: Any) -> Operand:
        """The value of a call of a function, or of a method by its name; raises `NotEmittable` without a tensor."""
        if not any(map(self.is_value, args)):
            raise NotEmittable("a call without a tensor")
        return self.make("call_method" if isinstance(target, str) else "call_function", target, tuple(args), kwargs)


@dataclass(slots=True)
class Emitter(Writer):
    """Adds nodes to `graph` at its insertion point; `made` are those."""

    graph: fx.Graph = field(default_factory=fx.Graph)
    made: list[fx.Node] = field(default_factory=list)

    def is_value(self, operand: Operand) -> bool:
        """Whether an operand is a node."""
        return isinstance(operand, fx.Node)

    def make(self, kind: str, target: Any, args: tuple[Operand, ...], kwargs: dict[str, Any]) -> Operand:
        """A new node."""
        self.made.append(self.graph.create_node(kind, target, args, kwargs))
        return self.made[-1]


class Executor(Writer):
    """Makes the calls at once."""

    def is_value(self, operand: Operand) -> bool:
        """Whether an operand is a tensor."""
        return isinstance(operand, torch.Tensor)

    def make(self, kind: str, target: Any, args: tuple[Operand, ...], kwargs: dict[str, Any]) -> Operand:
        """The result of the call."""
        function = getattr(args[0], target) if kind == "call_method" else target
        return function(*(args[1:] if kind == "call_method" else args), **kwargs)


@cache
def _operator(row: ops.Op) -> Callable[..., Any] | None:
    """Python's operator for an operation, if it is written with one."""
    for spelling in row.spellings:
        root, _, name = spelling.partition(".")
        if root == "operator" and row.name not in ("floordiv", "mod", "matmul"):
            found: Callable[..., Any] = getattr(operator, name)
            return found
    return None


@cache
def _target(row: ops.Op) -> Callable[..., Any] | str:
    """The function of torch by which an operation is run, a method by its name."""
    assert row.torch is not None
    root, *parts = ops.full_name(row.torch).split(".")
    if root == "Tensor":
        return parts[0]
    found: Any = {"torch": torch, "operator": operator}[root]
    for part in parts:
        found = getattr(found, part)
    target: Callable[..., Any] = found
    return target


def _key(key: object) -> Any:
    if isinstance(key, tuple):
        return slice(*key[1:]) if key[:1] == ("slice",) else tuple(map(_key, key))
    return Ellipsis if key == "..." else key
