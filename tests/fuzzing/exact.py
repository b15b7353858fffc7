"""Exact: the value of a tree in ball arithmetic, and its slopes, by an evaluator that shares nothing with nanguard's.

The slopes are difference quotients at a precision at which their error does not show.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flint import arb, ctx

from fuzzing.tree import Dims, Node, axis, walk

PRECISION = 3000  # bits: enough for exp(1000) beside 1, and for the quotients
_STEP = arb(2) ** -1200


class Unknown(Exception):
    """An operation that the evaluator has not got, or a value that is not finite."""


@dataclass(frozen=True, slots=True)
class Array:
    """Balls in the order of torch's contiguous tensors."""

    shape: Dims
    entries: tuple[arb, ...]


def array(shape: Dims, values: Sequence[float]) -> Array:
    """Floats as they are."""
    return Array(shape, tuple(map(arb, values)))


def value(root: Node, given: Mapping[str, Array]) -> Array:
    """The exact value of a tree; raises `Unknown`."""
    before, ctx.prec = ctx.prec, PRECISION
    try:
        return _value(root, given)
    finally:
        ctx.prec = before


def slopes(root: Node, given: Mapping[str, Array], name: str) -> list[float | None]:
    """The derivatives of the sum of a tree by the entries of an argument, None where it has none."""
    before, ctx.prec = ctx.prec, PRECISION
    try:
        found = []
        for index in range(len(given[name].entries)):
            sums = [_total(_value(root, {**given, name: _moved(given[name], index, by)})) for by in (-1, 0, 1)]
            left, right = (sums[1] - sums[0]) / _STEP, (sums[2] - sums[1]) / _STEP
            found.append(float(right.mid()) if abs(left - right) < 1e-30 * (1 + abs(right)) else None)
        return found
    finally:
        ctx.prec = before


def _moved(x: Array, index: int, by: int) -> Array:
    entries = list(x.entries)
    entries[index] += by * _STEP
    return Array(x.shape, tuple(entries))


def _total(x: Array) -> arb:
    return sum(x.entries, arb(0))


def _value(root: Node, given: Mapping[str, Array]) -> Array:
    found: dict[Node, Array] = {}
    for node in walk(root):
        if node.op == "leaf":
            found[node] = given[str(node.value)]
        elif node.op == "number":
            if node.value is not None:
                found[node] = Array((), (arb(float(node.value)),))  # type: ignore[arg-type]
        else:
            parts = [found.get(part) for part in node.parts]
            found[node] = _apply(node, parts)
    return found[root]


def _apply(node: Node, parts: Sequence[Array | None]) -> Array:
    if node.op in _ENTRYWISE:
        return _entrywise(_ENTRYWISE[node.op], parts, node.shape)
    first = parts[0]
    if first is None:
        raise Unknown(node.op)
    if node.op in _MOVES:
        return Array(node.shape, first.entries)
    if node.op in _FOLDS:
        return _folded(_FOLDS[node.op], first, node)
    if node.op in _ALONG:
        return _along(_ALONG[node.op], first, axis(node.attributes["dim"], first.shape))
    raise Unknown(node.op)


def _entrywise(function: Callable[..., arb], parts: Sequence[Array | None], shape: Dims) -> Array:
    columns = [[None] * math.prod(shape) if part is None else _spread(part, shape) for part in parts]
    entries = tuple(function(*row) for row in zip(*columns, strict=True))
    if not all(entry.is_finite() for entry in entries):
        raise Unknown("not finite")
    return Array(shape, entries)


def _spread(x: Array, shape: Dims) -> list[arb]:
    """The entries of an array broadcast to a shape."""
    sizes = (1,) * (len(shape) - len(x.shape)) + x.shape
    found = []
    for place in itertools.product(*map(range, shape)):
        flat = 0
        for index, size in zip(place, sizes, strict=True):
            flat = flat * size + (index if size > 1 else 0)
        found.append(x.entries[flat])
    return found


def _lines(x: Array, dims: set[int]) -> dict[tuple[int, ...], list[int]]:
    """Flat places of the entries that lie along some dimensions, by the place in the others."""
    found: dict[tuple[int, ...], list[int]] = {}
    for flat, place in enumerate(itertools.product(*map(range, x.shape))):
        key = tuple(index for dim, index in enumerate(place) if dim not in dims)
        found.setdefault(key, []).append(flat)
    return found


def _folded(function: Callable[..., arb], x: Array, node: Node) -> Array:
    dim = node.attributes.get("dim")
    dims = (
        set(range(len(x.shape)))
        if dim is None
        else {axis(one, x.shape) for one in (dim if isinstance(dim, tuple) else (dim,))}
    )
    rows = [[x.entries[place] for place in line] for line in _lines(x, dims).values()]
    entries = tuple(function(row, node.attributes) for row in rows)
    if not all(entry.is_finite() for entry in entries):
        raise Unknown("not finite")
    return Array(node.shape, entries)


def _along(function: Callable[[list[arb]], list[arb]], x: Array, dim: int) -> Array:
    entries = list(x.entries)
    for line in _lines(x, {dim}).values():
        for place, entry in zip(line, function([x.entries[place] for place in line]), strict=True):
            entries[place] = entry
    return Array(x.shape, tuple(entries))


def _sign(x: arb) -> int:
    if x > 0:
        return 1
    if x < 0:
        return -1
    if x == 0:
        return 0
    raise Unknown("a sign that is not decided")


def _is(test: Callable[[int], bool]) -> Callable[[arb, arb], arb]:
    return lambda x, y: arb(int(test(_sign(x - y))))


def _log(x: arb) -> arb:
    if _sign(x) <= 0:
        raise Unknown("log of what is not positive")
    return x.log()


def _divide(x: arb, y: arb) -> arb:
    if _sign(y) == 0:
        raise Unknown("division by 0")
    return x / y


def _power(x: arb, y: arb) -> arb:
    if y.is_integer():
        if _sign(y) < 0:
            return _divide(arb(1), x**-y)
        return x**y if x != 0 else arb(int(y == 0))
    if _sign(x) < 0 or (_sign(x) == 0 and _sign(y) <= 0):
        raise Unknown("power")
    return x**y if x != 0 else arb(0)


def _root(x: arb) -> arb:
    if _sign(x) < 0:
        raise Unknown("root of a negative number")
    return x.sqrt()


def _clamp(x: arb, low: arb | None, high: arb | None) -> arb:
    if low is not None and _sign(x - low) < 0:
        x = low
    return high if high is not None and _sign(x - high) > 0 else x


def _max(x: arb, y: arb) -> arb:
    return x if _sign(x - y) >= 0 else y


def _min(x: arb, y: arb) -> arb:
    return y if _sign(x - y) >= 0 else x


_ENTRYWISE: Mapping[str, Callable[..., arb]] = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": _divide,
    "neg": lambda x: -x, "pow": _power, "abs": lambda x: x if _sign(x) >= 0 else -x, "square": lambda x: x * x,
    "sqrt": _root, "rsqrt": lambda x: _divide(arb(1), _root(x)), "reciprocal": lambda x: _divide(arb(1), x),
    "exp": lambda x: x.exp(), "exp2": lambda x: (x * arb.const_log2()).exp(), "expm1": lambda x: x.exp() - 1,
    "log": _log, "log1p": lambda x: _log(1 + x), "log2": lambda x: _log(x) / arb.const_log2(),
    "log10": lambda x: _log(x) / arb.const_log10(),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()), "logsigmoid": lambda x: -(1 + (-x).exp()).log(),
    "softplus": lambda x: (1 + x.exp()).log(), "tanh": lambda x: 1 - 2 / (1 + (2 * x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()), "relu": lambda x: _max(x, arb(0)),
    "logaddexp": lambda x, y: (x.exp() + y.exp()).log(),
    "xlogy": lambda x, y: arb(0) if x == 0 else x * _log(y), "hypot": lambda x, y: (x * x + y * y).sqrt(),
    "maximum": _max, "minimum": _min, "clamp": _clamp,
    "where": lambda c, x, y: y if _sign(c) == 0 else x,
    "gt": _is(lambda sign: sign > 0), "ge": _is(lambda sign: sign >= 0), "lt": _is(lambda sign: sign < 0),
    "le": _is(lambda sign: sign <= 0), "eq": _is(lambda sign: sign == 0), "ne": _is(lambda sign: sign != 0),
    "sin": lambda x: x.sin(), "cos": lambda x: x.cos(), "sinh": lambda x: (x.exp() - (-x).exp()) / 2,
    "cosh": lambda x: (x.exp() + (-x).exp()) / 2, "atan": lambda x: x.atan(),
    "asinh": lambda x: (x + (x * x + 1).sqrt()).log(), "erf": lambda x: x.erf(), "erfc": lambda x: x.erfc(),
    "ndtr": lambda x: (-x / arb(2).sqrt()).erfc() / 2, "log_ndtr": lambda x: _log((-x / arb(2).sqrt()).erfc() / 2),
    "acos": lambda x: x.acos(), "asin": lambda x: x.asin(), "atanh": lambda x: _log(_divide(1 + x, 1 - x)) / 2,
    "acosh": lambda x: _log(x + _root(x * x - 1)), "lgamma": lambda x: x.lgamma() if x > 0 else arb("nan"),
    "logit": lambda x: _log(_divide(x, 1 - x)), "softsign": lambda x: x / (1 + _max(x, -x)),
}  # fmt: skip
_MOVES = ("contiguous", "reshape", "flatten", "unsqueeze", "squeeze")


def _sum(row: list[arb]) -> arb:
    return sum(row, arb(0))


def _variance(row: list[arb], attrs: Mapping[str, object]) -> arb:
    mean = _sum(row) / len(row)
    less = attrs["correction"]
    assert isinstance(less, int)
    return _divide(_sum([(x - mean) ** 2 for x in row]), arb(len(row) - less))


def _norm(row: list[arb], attrs: Mapping[str, object]) -> arb:
    if attrs["ord"] == 1:
        return _sum([_max(x, -x) for x in row])
    if attrs["ord"] not in (2, None, "fro"):
        raise Unknown("norm")
    return _sum([x * x for x in row]).sqrt()


def _extreme(row: list[arb], choose: Callable[[arb, arb], arb]) -> arb:
    best = row[0]
    for entry in row[1:]:
        best = choose(best, entry)
    return best


_FOLDS: Mapping[str, Callable[[list[arb], Mapping[str, object]], arb]] = {
    "sum": lambda row, attrs: _sum(row), "mean": lambda row, attrs: _sum(row) / len(row),
    "prod": lambda row, attrs: math.prod(row, start=arb(1)), "var": _variance,
    "std": lambda row, attrs: _root(_variance(row, attrs)), "vector_norm": _norm,
    "logsumexp": lambda row, attrs: _sum([x.exp() for x in row]).log(),
    "amax": lambda row, attrs: _extreme(row, _max), "amin": lambda row, attrs: _extreme(row, _min),
}  # fmt: skip


def _softmax(row: list[arb]) -> list[arb]:
    total = _sum([x.exp() for x in row])
    return [x.exp() / total for x in row]


_ALONG: Mapping[str, Callable[[list[arb]], list[arb]]] = {
    "softmax": _softmax,
    "log_softmax": lambda row: [x - _sum([y.exp() for y in row]).log() for x in row],
    "cumsum": lambda row: list(itertools.accumulate(row)),
    "logcumsumexp": lambda row: [total.log() for total in itertools.accumulate(x.exp() for x in row)],
}  # fmt: skip


def noise(root: Node, given: Mapping[str, Array], eps: float) -> float:
    """How far rounding each operation once may move the sum of the result, about.

    Each value is moved by one unit in its last place, all entries alike and up and down in turn; what comes of that is
    added up.
    """
    before, ctx.prec = ctx.prec, 400
    try:
        base = _value(root, given)
        total = 0.0
        for node in walk(root):
            if node.parts:
                total += max(
                    float(abs(a - b).mid())
                    for factors in ((1 + arb(eps),), (1 + arb(eps), 1 - arb(eps)))
                    for a, b in zip(_with(root, given, node, factors).entries, base.entries, strict=True)
                )
        return math.inf if math.isnan(total) else total
    except (Unknown, OverflowError):
        return math.inf
    finally:
        ctx.prec = before


def _with(root: Node, given: Mapping[str, Array], moved: Node, factors: Sequence[arb]) -> Array:
    """The value of a tree, the entries of one node of which are multiplied by some factors in turn."""
    found: dict[Node, Array | None] = {}
    for node in walk(root):
        if node.op == "leaf":
            found[node] = given[str(node.value)]
        elif node.op == "number":
            found[node] = None if node.value is None else Array((), (arb(float(node.value)),))  # type: ignore[arg-type]
        else:
            result = _apply(node, [found[part] for part in node.parts])
            if node is moved:
                turns = itertools.cycle(factors)
                result = Array(result.shape, tuple(x * s for x, s in zip(result.entries, turns, strict=False)))
            found[node] = result
    last = found[root]
    assert last is not None
    return last
