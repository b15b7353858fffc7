"""Calls: what is known of a call in an fx graph by what it calls: its names in the ops table, what it writes."""

from __future__ import annotations

import builtins
import inspect
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import fx

from nanguard import ops
from nanguard.ops import BindError
from nanguard.ops.row import left_out, term_of
from nanguard.term import UNKNOWN, Attr, Term

SIZES = frozenset({"size", "numel", "nelement", "dim", "ndimension", "stride", "element_size"})
JOINS = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"})
# What fills a tensor with random numbers, and the bounds of these.
RANDOM = {
    "rand": (0.0, 0.99999994), "rand_like": (0.0, 0.99999994),
    "randn": (-6.0, 6.0), "randn_like": (-6.0, 6.0),
}  # fmt: skip
_IMPURE = frozenset({
    *RANDOM, "uniform_", "normal_", "normal", "randint", "randint_like", "randperm", "bernoulli",
    "multinomial", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu",
    "gumbel_softmax", "poisson", "manual_seed", "_set_grad_enabled", "empty", "empty_like", "new_empty",
})  # fmt: skip
_IN_PLACE = frozenset(
    getattr(operator, name) for name in dir(operator) if name.startswith("i") and hasattr(operator, f"__{name}__")
) - {operator.index, operator.inv, operator.invert}
_WRITING = frozenset({"__setitem__", *(f"__{function.__name__}__" for function in _IN_PLACE)})  # the methods behind
_FILLING = frozenset({"zero_", "fill_", "copy_", "uniform_", "normal_"})
_SPECIAL = frozenset({"__getitem__", "setitem", "__setitem__", *SIZES, *JOINS, *RANDOM, *_FILLING})
# Keywords that do not change the values that are computed.
_HARMLESS = frozenset({"device", "pin_memory", "memory_format", "non_blocking", "inplace", "_stacklevel"})


@cache
def functions() -> Mapping[Any, str]:
    """The full dotted names of the ops table by the functions of torch, operator and math that they name."""
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


# What ATen calls the inside of a function of torch.
PRIVATE = {"_softmax": "softmax", "_log_softmax": "log_softmax", "log_sigmoid": "logsigmoid"}


@dataclass(frozen=True, slots=True)
class Called:
    """What is known of a call by what is called."""

    name: str  # the plain name: ``clamp_`` of ``Tensor.clamp_``
    writes: bool  # into its first operand
    draws: bool
    special: bool  # it is no plain function of terms


@lru_cache(1024)
def known(target: Any) -> Called:
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
    else:
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
    trailing = name.endswith("_") and not name.startswith("_") and name != "requires_grad_"
    special = name in _WRITING or target is operator.setitem or target in _IN_PLACE
    writes = special or (trailing and target not in vars(operator).values())
    draws = writes or name in _IMPURE or (name.endswith("_") and not name.endswith("__"))
    return Called(name, writes, draws, target is getattr or target is operator.getitem or name in _SPECIAL)


def called(node: fx.Node) -> str:
    """The plain name of what a node calls: ``clamp_`` of ``Tensor.clamp_``."""
    return known(node.target).name


def writes(node: fx.Node) -> fx.Node | None:
    """The node whose value this one writes into, None for the many that write nowhere."""
    kwargs = node.kwargs
    if kwargs:
        out = kwargs.get("out")
        if isinstance(out, fx.Node):
            return out
    elif not known(node.target).writes:
        return None
    if node.op not in ("call_method", "call_function"):
        return None
    first = node.args[0] if node.args else None
    if not isinstance(first, fx.Node):
        return None
    return first if known(node.target).writes or kwargs.get("inplace") is True else None


def pure(node: fx.Node) -> bool:
    """Whether a node that nobody uses may go: it writes nothing, draws nothing, calls no module."""
    if node.op not in ("call_function", "call_method") or known(node.target).draws:
        return False
    return not node.kwargs or writes(node) is None


@dataclass(frozen=True, slots=True)
class Spelled:
    """A call as a term, and the keywords that the term leaves out."""

    term: Term
    dropped: tuple[str, ...] = ()


def spell(name: str, target: Any, args: Sequence[Attr], keywords: Mapping[str, Attr]) -> Spelled | None:
    """The term of a call by its dotted name, None where no spelling of the table takes these arguments."""
    best: Spelled | None = None
    for spelling in ops.spellings().get(name, ()):
        row = ops.rows()[spelling.op]
        try:
            term = term_of(spelling, row, args, keywords)
        except BindError:
            continue
        if not _sound(term):
            continue
        if not keywords:
            return Spelled(term)
        dropped = tuple(key for key in left_out(spelling, keywords) if _matters(target, key, keywords[key]))
        if best is None or len(dropped) < len(best.dropped):
            best = Spelled(term, dropped)
    return best


def _sound(term: Term) -> bool:
    """Whether the term stands for one computation: no tensor is lost in an attribute or a constant."""
    for arg in term.args:
        if type(arg.value) is tuple:
            return False
    for _, value in term.attrs:
        if value is UNKNOWN:
            return ops.family(term) in (ops.MOVEMENT, ops.CAST) or term.op in ("zeros", "ones", "full")
    return True


def _matters(target: Any, key: str, value: Attr) -> bool:
    if key in _HARMLESS or value is None or value is False:
        return False
    return not any(type(value) is type(default) and value == default for default in _default(target, key))


@cache
def _default(target: Any, key: str) -> tuple[Any, ...]:
    """The default of a parameter of a function, if it says so."""
    try:
        parameter = inspect.signature(target).parameters.get(key)
    except (TypeError, ValueError):
        return ()
    return () if parameter is None or parameter.default is parameter.empty else (parameter.default,)


def is_known(function: Any, is_method: bool) -> bool:
    """Whether the table, or the reader, knows a function of torch or a method of tensors."""
    name = getattr(function, "__name__", "")
    if name in JOINS or name in _IMPURE or name in ("broadcast_tensors", "einsum"):
        return True
    if not is_method:
        return function in functions()
    return any(spelled in ops.spellings() for spelled in _names_of_method(name))


@lru_cache(1024)
def spelled(op: str, target: Any) -> tuple[tuple[str, bool], ...]:
    """The dotted names under which the table may have what a node calls, and whether its operands are swapped."""
    name = known(target).name
    found: list[str] = []
    if isinstance(target, torch._ops.OpOverload):
        found.extend(_names_of_overload(name.removesuffix("_")))
    elif op == "call_function":
        found.extend(filter(None, [functions().get(target)]))
        if name.endswith("_") and not name.endswith("__"):
            found.append(f"torch.{name[:-1]}")
    else:
        found.extend(_names_of_method(name))
    return tuple((each, name.startswith("__r") and each.startswith("operator.")) for each in found)


def _names_of_overload(name: str) -> Iterable[str]:
    """The names of an operation of ATen: ``log`` of ``torch.ops.aten.log.default``."""
    bare = PRIVATE.get(name, name)
    yield from (f"torch.{bare}", f"Tensor.{bare}", f"torch.nn.functional.{bare}")
    yield f"torch.special.{bare.removeprefix('special_')}"


def _names_of_method(name: str) -> Iterable[str]:
    yield f"Tensor.{name}"
    if name.startswith("__"):
        bare = name.strip("_")
        yield from (f"operator.{bare}", f"operator.{bare}_", f"operator.{bare[1:]}")
    elif name.endswith("_"):
        yield f"Tensor.{name[:-1]}"
