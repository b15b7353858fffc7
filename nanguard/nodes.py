"""Nodes: what each node of an fx graph computes, as a term, kept right across writes in place."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import fx

from nanguard import ops
from nanguard.ops import BindError
from nanguard.ops.row import REQUIRED, bind, build
from nanguard.term import UNKNOWN, Attr, Term, const, make, symbol

_SIZES = frozenset({"size", "numel", "nelement", "dim", "ndimension", "stride", "element_size", "__len__"})
_PROPERTIES = {"T": "t", "mT": "t", "H": "t", "mH": "t", "data": "detach", "real": "contiguous"}
_RANDOM = {  # what fills a tensor with random numbers, and the bounds of these
    "rand": (0.0, 0.99999994), "rand_like": (0.0, 0.99999994), "uniform_": (0.0, 1.0),
    "randn": (-6.0, 6.0), "randn_like": (-6.0, 6.0), "normal_": (-6.0, 6.0), "normal": (-6.0, 6.0),
}  # fmt: skip
_IMPURE = frozenset({
    *_RANDOM, "randint", "randint_like", "randperm", "bernoulli", "bernoulli_", "multinomial", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu", "gumbel_softmax", "exponential_",
    "log_normal_", "cauchy_", "geometric_", "poisson", "manual_seed", "_set_grad_enabled", "empty", "empty_like",
})  # fmt: skip
# Functions that give values together with their indices.
_PAIRS = {"amax": "argmax", "amin": "argmax", "median": "argmax", "sort": "argmax"}
# Writes that leave nothing of what was there.
_FILLS: Mapping[str, Callable[[Sequence[Term]], Term]] = {
    "zero_": lambda args: const(0.0),
    "fill_": lambda args: args[1],
    "copy_": lambda args: args[1],
}
# Keywords that do not change which values are computed.
_HARMLESS = frozenset({"device", "pin_memory", "memory_format", "non_blocking", "requires_grad", "inplace", "_stacklevel"})


@cache
def functions() -> Mapping[Any, str]:
    """The full dotted names of the ops table by the functions of torch, operator and math that they name."""
    import math

    roots: dict[str, Any] = {"torch": torch, "operator": operator, "math": math, "builtins": builtins}
    found: dict[Any, str] = {}
    for name in ops.spellings():
        root, *parts = name.split(".")
        thing = roots.get(root)
        for part in parts:
            thing = getattr(thing, part, None)
        if callable(thing) and not isinstance(thing, type):
            found.setdefault(thing, name)
    return found


@dataclass(frozen=True, slots=True)
class Spelled:
    """A call as a term, and the keywords that the term leaves out."""

    term: Term
    dropped: tuple[str, ...] = ()


def spell(name: str, args: Sequence[Attr], keywords: Mapping[str, Attr]) -> Spelled | None:
    """The term of a call, None where the table has no spelling that takes these arguments."""
    for spelling in ops.spellings().get(name, ()):
        row = ops.rows()[spelling.op]
        try:
            given = bind(spelling, args, keywords)
            term = build(spelling, row, given)
        except BindError:
            continue
        known = {"input", "self", "axis", "keepdims", "ddof", *(key for key, _ in spelling.receives)}
        known.update(key for key, _ in spelling.constructor.attrs if spelling.constructor) if spelling.constructor else None
        dropped = tuple(key for key, value in keywords.items() if key not in known and _matters(key, value))
        return Spelled(term, dropped)
    return None


def _matters(key: str, value: Attr) -> bool:
    return key not in _HARMLESS and value is not None and value is not False


def writes(node: fx.Node) -> fx.Node | None:
    """The node whose value this one writes into, None for the many that write nowhere."""
    out = node.kwargs.get("out")
    if isinstance(out, fx.Node):
        return out
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node):
        return None
    if node.op == "call_method":
        name = str(node.target)
        return first if name.endswith("_") and not name.startswith("__") or name == "__setitem__" else None
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        if node.target is operator.setitem or getattr(operator, name, None) is node.target and name in _IN_PLACE:
            return first
        written = name.endswith("_") and not name.startswith("_") or node.kwargs.get("inplace") is True
        return first if written else None
    return None


_IN_PLACE = frozenset(name for name in dir(operator) if name.startswith("i") and hasattr(operator, f"__{name}__"))
_NO_WRITE = frozenset({"requires_grad_", "retain_grad", "detach_"})


def pure(node: fx.Node) -> bool:
    """Whether a node that nobody uses may go: it writes nothing, draws nothing and calls no module."""
    if node.op not in ("call_function", "call_method") or writes(node) is not None:
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name not in _IMPURE
