"""Running a term with torch exactly as it is written, in the dtype of its leaves."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from nanguard import ops
from nanguard.lazy import load_torch as import_torch
from nanguard.ops.row import REQUIRED
from nanguard.proof.evaluate import Attrs, Evaluator, NotEvaluable, along, known, met, row_of
from nanguard.term import Attr, Term

if TYPE_CHECKING:
    from torch import Tensor, dtype

__all__ = ["NotEvaluable", "apply", "gradient", "run"]

load_torch = cache(import_torch)  # it is asked for at each operation
Value = Any  # a tensor, or a Python number where the program has one


def run(term: Term, leaves: Mapping[Term, Tensor]) -> Tensor:
    """What torch computes for `term`, given the values of its leaves (which may be any of its subterms).

    Raises `NotEvaluable` where a leaf has no value or torch does not take the operands.
    """
    dtype = next((leaf.dtype for leaf in leaves.values() if leaf.is_floating_point()), None)
    with _quiet():
        torch, result = load_torch(), _Torch(dtype).evaluate(term, leaves)
        if isinstance(result, float):  # computed in double precision, as Python does
            return torch.tensor(result, dtype=torch.float64)  # type: ignore[no-any-return]
        return torch.as_tensor(result)  # type: ignore[no-any-return]


def apply(op: str, operands: Sequence[Value], attrs: Attrs) -> Value:
    """What torch computes for one operation."""
    with _quiet():
        return _Torch().apply(op, operands, attrs)


def gradient(output: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of ``output.sum()`` for each leaf, None for a leaf it does not depend on.

    Raises `NotEvaluable` where torch has no derivative.
    """
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not output.requires_grad or not wanted:
        return [None] * len(leaves)
    with _quiet():
        found = iter(_call(load_torch().autograd.grad, output.sum(), wanted, allow_unused=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


class _Torch(Evaluator[Value]):
    """Gives an operation the value that torch gives it; masks become numbers of `dtype`."""

    def __init__(self, dtype: dtype | None = None) -> None:
        self.dtype = dtype

    def constant(self, value: Attr) -> Value:
        return value

    def apply(self, op: str, operands: Sequence[Value], attrs: Attrs) -> Value:
        return _call(self._apply, op, operands, attrs)

    def _apply(self, op: str, operands: Sequence[Value], attrs: Attrs) -> Value:
        row = row_of(op)
        keeps = row.family in (ops.CAST, ops.MOVEMENT, ops.LEAF)
        if not keeps and all(_is_number(operand) or operand is None for operand in operands):
            return _on_numbers(self, op, operands, attrs)
        if op == "to":
            return self._numbers_of(operands[0])
        if op in _SPECIAL:
            return _SPECIAL[op](*operands, **attrs)
        if row.family == ops.CAST:
            return operands[0]
        if row.torch is None:
            return self.by_meaning(row, operands, attrs)
        return _FAMILIES.get(row.family, _composite)(row, operands, along(row, attrs))

    def _numbers_of(self, x: Value) -> Value:
        """A conversion keeps the value; masks and counts become numbers of the dtype."""
        torch = load_torch()
        if isinstance(x, torch.Tensor) and not x.is_floating_point():
            return x.to(self.dtype or torch.get_default_dtype())
        return float(x) if isinstance(x, bool) else x


def _is_number(value: Value) -> bool:
    return isinstance(value, bool | int | float)


def _on_numbers(evaluator: _Torch, op: str, operands: Sequence[Value], attrs: Attrs) -> Value:
    """An operation on Python numbers, in double precision as Python has it; integers stay integers."""
    torch = load_torch()
    tensors = [None if x is None else torch.tensor(x, dtype=torch.float64) for x in operands]
    result = evaluator.apply(op, tensors, attrs)
    value = result.item() if isinstance(result, torch.Tensor) else result
    whole = op != "div" and all(isinstance(operand, int) for operand in operands)
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


# --- calling torch


@cache
def _function(name: str) -> Callable[..., Value]:
    """The function of a dotted name of the ops table."""
    torch = load_torch()
    root, *rest = ops.full_name(name).split(".")
    found: Any = {"torch": torch, "Tensor": torch.Tensor, "operator": operator}[root]
    for part in rest:
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


_REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


def _call(function: Callable[..., Value], *operands: Value, **attrs: Attr) -> Value:
    """A call, with what torch has against it as `NotEvaluable`."""
    try:
        return function(*operands, **attrs)
    except _REFUSALS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise NotEvaluable(f"torch: {reason}") from error


def _operator(row: ops.Op) -> str | None:
    """The Python operator that a row has among its spellings."""
    named = (spelling.split("(")[0] for spelling in row.spellings if spelling.startswith("operator."))
    return next(named, None)


def _as_tensors(operands: Sequence[Value]) -> list[Value]:
    """The operands with numbers as tensors of the dtype of the first tensor."""
    torch = load_torch()
    first = next((x for x in operands if isinstance(x, torch.Tensor)), None)
    dtype = first.dtype if first is not None and first.is_floating_point() else None
    return [torch.tensor(x, dtype=dtype) if _is_number(x) else x for x in operands]


def _elementwise(row: ops.Op, operands: Sequence[Value], attrs: Attrs) -> Value:
    """A number beside a tensor meets it in Python's operator, as in the program, where there is one."""
    name = row.torch
    if any(map(_is_number, operands)):
        name = _operator(row) or name
    assert name is not None
    function = _function(name)
    try:
        return function(*operands)
    except TypeError:  # it takes no numbers
        return function(*_as_tensors(operands))


def _composite(row: ops.Op, operands: Sequence[Value], attrs: Attrs) -> Value:
    """Operands with a default (an eps) are passed by name: torch has them behind attributes."""
    assert row.torch is not None
    named = {
        name: operand
        for (name, default), operand in zip(row.signature.operands, operands, strict=True)
        if default is not REQUIRED
    }
    plain = operands[: len(operands) - len(named)]
    given = {key: value for key, value in attrs.items() if known(value)}
    return _function(row.torch)(*plain, **named, **given)


def _reduce(row: ops.Op, operands: Sequence[Value], attrs: Attrs) -> Value:
    """A reduction, over all dimensions where none is given."""
    assert row.torch is not None
    x, function = operands[0], _function(row.torch)
    given = {key: value for key, value in attrs.items() if key not in ("dim", "keepdim") and known(value)}
    if "ord" in given:
        given["ord"] = 2 if given["ord"] == "fro" else given["ord"]
    keepdim = attrs.get("keepdim") is True
    if known(attrs.get("dim")):
        return _plain(function(x, dim=attrs["dim"], keepdim=keepdim, **given))
    try:
        result = function(x, **given)
    except TypeError:  # logsumexp wants to be told
        result = function(x, dim=tuple(range(x.dim())), **given)
    return result.reshape((1,) * x.dim()) if keepdim else result


def _plain(result: Value) -> Value:
    """The values of a result that comes with indices."""
    return result[0] if isinstance(result, tuple) else result


def _move(row: ops.Op, operands: Sequence[Value], attrs: Attrs) -> Value:
    """A movement; the identity where an attribute it needs is not known."""
    assert row.torch is not None
    x = operands[0]
    if any(value is not None and not known(value) for value in attrs.values()):
        return x
    given = {key: value for key, value in attrs.items() if value is not None}
    if row.signature.star:
        first = row.signature.attrs[0][0]
        given = {key: (value,) if key == first and isinstance(value, int) else value for key, value in given.items()}
    try:
        return _plain(_function(row.torch)(x, **given))
    except _REFUSALS:
        if row.name == "diagonal":  # a vector has none: the shape of the inputs is not the right one
            raise
        return x


_FAMILIES: Mapping[str, Callable[[ops.Op, Sequence[Value], Attrs], Value]] = {
    ops.ELEMENTWISE: _elementwise,
    ops.REDUCE: _reduce,
    ops.MOVEMENT: _move,
}


# --- operations that torch has in another shape


def _where(condition: Value, x: Value, other: Value) -> Value:
    torch = load_torch()
    mask = condition if isinstance(condition, torch.Tensor) else torch.tensor(condition)
    return torch.where(mask if mask.dtype == torch.bool else mask != 0, x, other)


def _clamp(x: Value, min: Value, max: Value) -> Value:
    """Bounds that are not both numbers or both tensors meet the entries one after the other."""
    torch = load_torch()
    if min is None and max is None:
        return x
    tensors = [isinstance(bound, torch.Tensor) for bound in (min, max) if bound is not None]
    if _is_number(x):
        x = torch.tensor(x)
    if len(set(tensors)) == 2:
        return torch.clamp(torch.clamp(x, min=min), max=max)
    return torch.clamp(x, min=min, max=max)


def _index(x: Value, key: Attr) -> Value:
    if not known(key) or _is_number(x):
        return x
    return x[_key(key)]


def _key(key: Attr) -> Any:
    """The key that an attribute writes: ``("slice", a, b, c)`` for ``a:b:c``."""
    if isinstance(key, tuple):
        if key[:1] == ("slice",):
            return slice(*key[1:])
        return tuple(map(_key, key))
    return Ellipsis if key == "..." else key


def _stack(*parts: Value, **attrs: Attr) -> Value:
    torch = load_torch()
    dim = attrs.get("dim")
    tensors = _as_tensors(parts)
    shape = met(tuple(tensor.shape) for tensor in tensors)
    return torch.stack([tensor.expand(shape) for tensor in tensors], dim=dim if isinstance(dim, int) else 0)


def _unbind(x: Value, dim: Attr) -> Value:
    """The parts along a dimension as one tensor: an index gives one of them, as it does of the tuple."""
    return x if _is_number(x) or not isinstance(dim, int) or x.dim() == 0 else x.movedim(dim, 0)


def _trunc(x: Value) -> Value:
    if _is_number(x):
        return int(x) if math.isfinite(x) else x
    return x.trunc()


def reduced(x: Value, reduction: Attr) -> Value:
    """How a loss ends: the mean (also where it is not known), the sum, or the entries themselves."""
    if reduction == "none":
        return x
    if reduction == "batchmean":
        return x.sum() / (x.shape[0] if x.dim() else 1)
    return x.sum() if reduction == "sum" else x.mean()


def of_class(x: Value, target: Value) -> Value:
    """The entry of each row that `target` names, weighted ones where it holds probabilities."""
    if target.shape == x.shape and x.dim() > 0:
        return (x * target).sum(dim=min(1, x.dim() - 1))
    index = target.long()
    return x[index] if x.dim() == 1 else x.gather(1, index.unsqueeze(1)).squeeze(1)


def _one_hot(x: Value, num_classes: Attr) -> Value:
    """One entry of each row is 1: the one of its class, or, where `x` has the shape of the scores, its largest.

    Of classes whose number is not known there are two.
    """
    torch = load_torch()
    if x.dim() < 2:
        if known(num_classes) and num_classes != -1:
            return torch.nn.functional.one_hot(x.long(), num_classes)
        second = (x.abs() >= 1).to(x.dtype)
        return torch.stack((1 - second, second), dim=-1)
    return torch.zeros_like(x).scatter(-1, x.argmax(-1, keepdim=True), 1)


def _eye(n: Attr) -> Value:
    """The identity matrix; of rows whose number is not known there are two."""
    return load_torch().eye(n if isinstance(n, int) else 2)


def _numel(x: Value, dim: Attr = None) -> Value:
    return 1 if _is_number(x) else x.numel()


def _sized(fill: float) -> Callable[..., Value]:
    """A constant tensor; a number where its size is not known, which meets any shape and dtype."""

    def create(size: Attr) -> Value:
        shape = (size,) if isinstance(size, int) else size
        return load_torch().full(shape, fill) if isinstance(shape, tuple) and known(shape) else fill

    return create


def _weighted(name: str) -> Callable[..., Value]:
    """A loss of torch with weights, which pass no gradient there."""

    def loss(x: Value, target: Value, weight: Value, reduction: Attr) -> Value:
        torch = load_torch()
        given = weight.detach() if isinstance(weight, torch.Tensor) else torch.full_like(x, weight)
        return _function(name)(x, target, weight=given, reduction=reduction)

    return loss


_SPECIAL: Mapping[str, Callable[..., Value]] = {
    "weighted_binary_cross_entropy": _weighted("F.binary_cross_entropy"),
    "weighted_binary_cross_entropy_with_logits": _weighted("F.binary_cross_entropy_with_logits"),
    "where": _where,
    "clamp": _clamp,
    "index": _index,
    "pick": lambda x, dim, index: x,
    "masked_select": lambda x, mask: x,
    "stack": _stack,
    "unbind": _unbind,
    "trunc": _trunc,
    "detach": lambda x: x if _is_number(x) else x.detach(),
    "reduced": reduced,
    "of_class": of_class,
    "numel": _numel,
    "one_hot": _one_hot,
    "eye": _eye,
    "zeros": _sized(0.0),
    "ones": _sized(1.0),
    "full": lambda value, size: value,
}
