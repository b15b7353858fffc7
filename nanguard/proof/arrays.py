"""Exact values of terms entry by entry: arrays of dual numbers, and every operation of the ops table on them.

How an operation moves entries about is not written a second time: torch moves their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanguard import ops
from nanguard.lazy import load_torch
from nanguard.ops.row import REQUIRED
from nanguard.proof import run
from nanguard.proof.balls import Number, ball
from nanguard.proof.dual import Dual
from nanguard.proof.evaluate import Attrs, Evaluator, NotEvaluable, along, met, row_of
from nanguard.term import Attr

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers in a shape, the last dimension running fastest."""

    shape: Shape
    entries: tuple[Dual, ...]


def read(tensor: Tensor, tracked: bool = False) -> Array:
    """The entries of a tensor, exactly; `tracked` ones can be differentiated by."""
    if tensor.is_complex():
        raise NotEvaluable("complex numbers have no exact value here")
    numbers = tensor.detach().flatten().tolist()
    return Array(tuple(tensor.shape), tuple(Dual(ball(x), () if tracked else None) for x in numbers))


class Balls(Evaluator[Array | None]):
    """Gives an operation its exact value; None is the value of a bound that is not there.

    With `snap`, a result that cannot be told from a float is taken to be it.
    """

    def __init__(self, snap: bool = False) -> None:
        self.snap = snap

    def constant(self, value: Attr) -> Array | None:
        if value is None:
            return None
        if not isinstance(value, bool | int | float):
            raise NotEvaluable(f"{value!r} is no number")
        return Array((), (self.number(value),))

    def number(self, value: Number) -> Dual:
        """A plain number as an entry."""
        return Dual(ball(value))

    def apply(self, op: str, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
        row = row_of(op)
        for (name, default), operand in zip(row.signature.operands, operands, strict=False):
            if operand is None and default is REQUIRED:
                raise NotEvaluable(f"the operand {name} of {op} is None")
        result = self._apply(row, operands, attrs)
        if result is None or not self.snap:
            return result
        return Array(result.shape, tuple(entry.snapped() for entry in result.entries))

    def _apply(self, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
        if row.name in _SPECIAL:
            return _SPECIAL[row.name](self, row, operands, attrs)
        if row.exact is not None:
            return _FAMILIES[row.family](self, row, operands, along(row, attrs))
        if row.family == ops.MOVEMENT and row.torch is not None:
            return self.moved(row.name, operands, attrs)
        if row.family == ops.CAST:
            return operands[0]
        return self.by_meaning(row, operands, attrs)

    def move(self, key: object, operands: Sequence[Array], move: Callable[..., Any]) -> Array:
        """The operands with their entries where `move` takes them; `key` says which movement it is, None a new one."""
        shape, places = _layout(key, [operand.shape for operand in operands], move)
        pool = (self.number(0), *(entry for operand in operands for entry in operand.entries))
        return Array(shape, tuple(pool[place] for place in places))

    def moved(self, op: str, operands: Sequence[Array | None], attrs: Attrs) -> Array:
        """A movement of the ops table."""
        arrays = [operand for operand in operands if operand is not None]
        return self.move((op, *attrs.items()), arrays, lambda *numbers: run.apply(op, numbers, attrs))

    def broadcast(self, operands: Sequence[Array | None]) -> tuple[Shape, list[Sequence[Dual | None]]]:
        """The shape in which operands meet, and the entries of each in it."""
        shapes = {operand.shape for operand in operands if operand is not None and operand.shape}
        shape = shapes.pop() if len(shapes) == 1 else ()
        if shapes:
            shape = met((shape, *shapes))
        return shape, [self._spread(operand, shape) for operand in operands]

    def _spread(self, operand: Array | None, shape: Shape) -> Sequence[Dual | None]:
        if operand is None:
            return (None,) * math.prod(shape)
        if operand.shape == shape:
            return operand.entries
        if not operand.shape:
            return operand.entries * math.prod(shape)
        return self.move(("expand", shape), [operand], lambda numbers: numbers.expand(shape)).entries


_Layout = tuple[Shape, list[int]]  # a shape, and which entry of the operands, counted from 1, each of its entries is

_LAYOUTS: dict[object, _Layout] = {}  # by movement and the shapes of its operands
_MOST = 4096  # of them are remembered; proofs ask for the same few again and again


def _layout(key: object, shapes: Sequence[Shape], move: Callable[..., Any]) -> _Layout:
    """Where a movement takes the entries of operands of these shapes; 0 stands for the number zero.

    torch moves their numbers, and is asked once for each `key` that is not None.
    """
    if key is None:
        return _moved_by_torch(shapes, move)
    found = _LAYOUTS.get((key, *shapes))
    if found is None:
        if len(_LAYOUTS) >= _MOST:
            _LAYOUTS.clear()
        found = _LAYOUTS[(key, *shapes)] = _moved_by_torch(shapes, move)
    return found


def _moved_by_torch(shapes: Sequence[Shape], move: Callable[..., Any]) -> _Layout:
    torch, numbers, start = load_torch(), [], 1
    for shape in shapes:
        count = math.prod(shape)
        numbers.append(torch.arange(start, start + count).reshape(shape))
        start += count
    try:
        moved = move(*numbers)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        raise NotEvaluable(f"operands of shapes {list(shapes)} do not fit") from error
    return tuple(moved.shape), moved.flatten().tolist()


def _elementwise(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    assert row.exact is not None
    shape, columns = balls.broadcast(operands)
    return Array(shape, tuple(map(row.exact, *columns)))


def _reduce(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    """A reduction along some dimensions, all where they are not known."""
    assert row.exact is not None
    (x,) = _arrays(operands)
    dims = _dims(attrs.get("dim"), len(x.shape))
    kept = [dim for dim in range(len(x.shape)) if dim not in dims]
    shape = tuple(x.shape[dim] for dim in kept)
    if attrs.get("keepdim") is True:
        shape = tuple(1 if dim in dims else size for dim, size in enumerate(x.shape))
    rest = {key: value for key, value in attrs.items() if key not in ("dim", "keepdim")}
    return Array(shape, tuple(row.exact(group, **rest) for group in _lanes(balls, x, [*kept, *dims], len(kept))))


def _scan(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    """A running operation along one dimension."""
    assert row.exact is not None
    (x,) = _arrays(operands)
    if not x.shape:
        return x
    (dim,) = _dims(attrs.get("dim"), len(x.shape))
    kept = [other for other in range(len(x.shape)) if other != dim]
    lanes = [entry for lane in _lanes(balls, x, [*kept, dim], len(kept)) for entry in row.exact(lane)]
    turned = Array(tuple(x.shape[other] for other in (*kept, dim)), tuple(lanes))
    return balls.move(("back", dim), [turned], lambda numbers: numbers.movedim(-1, dim))


def _arrays(operands: Sequence[Array | None]) -> list[Array]:
    return [operand for operand in operands if operand is not None]


def _dims(dim: Attr, count: int) -> tuple[int, ...]:
    """The dimensions an attribute names, of `count`; one too large (a loss of one example) is the last."""
    named = dim if isinstance(dim, tuple) else (dim,)
    dims = [each for each in named if isinstance(each, int)]
    if not dims or len(dims) < len(named):
        return tuple(range(count))
    return tuple(sorted({each + count if each < 0 else min(each, count - 1) for each in dims})) if count else ()


def _lanes(balls: Balls, x: Array, order: Sequence[int], kept: int) -> list[tuple[Dual, ...]]:
    """The entries of `x` in groups: its dimensions in `order`, a group for each index of the first `kept`."""
    if order != list(range(len(order))):
        x = balls.move(("permute", *order), [x], lambda numbers: numbers.permute(*order))
    size = math.prod(x.shape[kept:])
    if size == 0:
        raise NotEvaluable("a reduction of no entries")
    return [x.entries[start : start + size] for start in range(0, len(x.entries), size)]


_FAMILIES: Mapping[str, Callable[[Balls, ops.Op, Sequence[Array | None], Attrs], Array]] = {
    ops.ELEMENTWISE: _elementwise,
    ops.REDUCE: _reduce,
    ops.AXIS: _scan,
}


def _detach(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    (x,) = _arrays(operands)
    return Array(x.shape, tuple(entry.detached() for entry in x.entries))


def _trunc(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    (x,) = _arrays(operands)
    return Array(x.shape, tuple(entry.sign() * entry.abs().floor() for entry in x.entries))


def _reduced(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
    (x,) = _arrays(operands)
    reduction = attrs.get("reduction")
    if reduction == "none":
        return x
    total = balls.apply("sum" if reduction in ("sum", "batchmean") else "mean", [x], {})
    if reduction == "batchmean":
        return balls.apply("div", [total, balls.constant(x.shape[0] if x.shape else 1)], {})
    return total


def _of_class(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
    """The entries that an integer target names, weighted ones where it holds probabilities."""
    x, target = _arrays(operands)
    if x.shape == target.shape and x.shape:
        return balls.apply("sum", [balls.apply("mul", [x, target], {})], {"dim": 1})
    classes = [entry.nearest() for entry in target.entries]
    if not all(map(math.isfinite, classes)):
        raise NotEvaluable("a class that is no number")
    chosen = load_torch().tensor(list(map(int, classes))).reshape(target.shape)
    return balls.move(None, [x], lambda numbers: run.of_class(numbers, chosen))


def _kl_div(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
    """With `log_target` the target is a logarithm too."""
    if attrs.get("log_target") is True:
        operands = [operands[0], balls.apply("exp", operands[1:], {})]
    return balls.by_meaning(row, operands, attrs)


def _sort(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    """Sorted by the nearest floats: entries that share one may stay in either order."""
    (x,) = _arrays(operands)
    torch = load_torch()
    dim = attrs.get("dim", -1)
    if not isinstance(dim, int) or not -len(x.shape) <= dim < len(x.shape):
        return x  # as it is run: a movement that the shape has not got moves nothing
    floats = torch.tensor([entry.nearest() for entry in x.entries], dtype=torch.float64).reshape(x.shape)
    order = floats.sort(dim=dim, descending=attrs.get("descending") is True).indices
    return balls.move(None, [x], lambda numbers: numbers.gather(dim, order))


def _matmul(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
    """A vector is a matrix of one row (on the left) or one column, a dimension the result does not have."""
    x, other = _arrays(operands)
    drop = [-2] * (len(x.shape) == 1) + [-1] * (len(other.shape) == 1)
    left = Array((1, *x.shape), x.entries) if len(x.shape) == 1 else x
    right = Array((*other.shape, 1), other.entries) if len(other.shape) == 1 else other
    result = balls.by_meaning(row, [left, right], attrs)
    if result is None:
        return None
    shape = [size for place, size in enumerate(result.shape, -len(result.shape)) if place not in drop]
    return Array(tuple(shape), result.entries)


_LARGEST_MATRIX = 4  # rows of a matrix whose determinant is still written out


def _det(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    """The determinants of square matrices, each by its first row."""
    (x,) = _arrays(operands)
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2] or not 0 < x.shape[-1] <= _LARGEST_MATRIX:
        raise NotEvaluable(f"no determinant of entries in the shape {list(x.shape)} is written out")
    side = x.shape[-1]
    rows = [x.entries[start : start + side] for start in range(0, len(x.entries), side)]
    return Array(x.shape[:-2], tuple(_by_first_row(rows[at : at + side]) for at in range(0, len(rows), side)))


def _by_first_row(rows: Sequence[tuple[Dual, ...]]) -> Dual:
    if len(rows) == 1:
        return rows[0][0]
    first, *others = (
        entry * _by_first_row([(*row[:place], *row[place + 1 :]) for row in rows[1:]])
        for place, entry in enumerate(rows[0])
    )
    for place, part in enumerate(others):
        first = first + part if place % 2 else first - part
    return first


def _counted(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    """What torch makes of the nearest floats, where its result is whole numbers without a slope."""
    torch = load_torch()
    floats = []
    for x in _arrays(operands):
        values = [entry.nearest() for entry in x.entries]
        whole = all(map(float.is_integer, values))
        floats.append(torch.tensor(values, dtype=torch.int64 if whole else torch.float64).reshape(x.shape))
    counted = torch.as_tensor(run.apply(row.name, floats, attrs))
    return Array(tuple(counted.shape), tuple(map(balls.number, counted.flatten().tolist())))


def _numel(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array:
    """A count that depends on the shape alone."""
    (x,) = _arrays(operands)
    counted = run.apply(row.name, [load_torch().zeros(x.shape)], attrs)
    return Array((), (balls.number(int(counted)),))


def _first(balls: Balls, row: ops.Op, operands: Sequence[Array | None], attrs: Attrs) -> Array | None:
    return operands[0]


_SPECIAL: Mapping[str, Callable[[Balls, ops.Op, Sequence[Array | None], Attrs], Array | None]] = {
    "detach": _detach,
    "trunc": _trunc,
    "reduced": _reduced,
    "of_class": _of_class,
    "kl_div": _kl_div,
    "sort": _sort,
    "matmul": _matmul,
    "det": _det,
    "masked_select": _first,
    "full": _first,
    "numel": _numel,
    **dict.fromkeys(("any", "one_hot", "count_nonzero", "argmax", "arange", "eye", "zeros", "ones"), _counted),
}
