"""The conditions that a rule may set: named predicates on what its variables are bound to.

A condition is written ``ends_at(x, 0)`` or ``not negated(x)``.  The predicates are this table and no more; a rule
that needs another one needs a row here.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from weakref import WeakKeyDictionary

from nanguard import ops
from nanguard.matching.interval import Interval
from nanguard.matching.pattern import same_attr
from nanguard.nearest import nearest
from nanguard.term import Attr, ExpressionError, Term, number, walk


class Ranges(Protocol):
    """What a predicate may ask: the interval of a term in the dtype under check."""

    def interval(self, term: Term) -> Interval:
        """The floats that the term can take."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A predicate, the variables or numbers it is asked about, and whether it must fail instead."""

    predicate: str
    args: tuple[str | float, ...]
    negated: bool

    def holds(self, bindings: Mapping[str, Term], attributes: Mapping[str, Attr], ranges: Ranges) -> bool:
        """Whether the condition holds for a match."""
        given: list[Term | Attr] = []
        for arg in self.args:
            if isinstance(arg, str):
                given.append(bindings[arg] if arg in bindings else attributes.get(arg))
            else:
                given.append(arg)
        return _PREDICATES[self.predicate](ranges, *given) != self.negated


@cache
def parse(text: str) -> Condition:
    """Read a condition; raises `ExpressionError`."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"not a condition: {text!r}") from None
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if isinstance(node, ast.UnaryOp) and negated:
        node = node.operand
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
        raise ExpressionError(f"a condition is a predicate of variables, like ends_at(x, 0), not {text!r}")
    if node.func.id not in _PREDICATES:
        raise ExpressionError(f"unknown predicate {node.func.id!r}{nearest(node.func.id, tuple(_PREDICATES))}")
    try:
        _signature(node.func.id).bind(None, *node.args)
    except TypeError:
        raise ExpressionError(f"{node.func.id} takes another number of arguments: {text!r}") from None
    return Condition(node.func.id, tuple(_argument(arg, text) for arg in node.args), negated)


@cache
def _signature(predicate: str) -> inspect.Signature:
    return inspect.signature(_PREDICATES[predicate])


def _argument(node: ast.expr, text: str) -> str | float:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -float(value)
    raise ExpressionError(f"a condition asks about variables and numbers only: {text!r}")


def _negated(ranges: Ranges, x: Term) -> bool:
    """The operand carries a minus sign: ``-x``, ``-2 * y``."""
    return x.op == "mul" and (number(x.args[0]) or 1.0) < 0


def _number(ranges: Ranges, x: Term) -> bool:
    """A numeric constant."""
    return number(x) is not None


def _small(ranges: Ranges, x: Term) -> bool:
    """A guard's constant: above 0 and at most 1e-2, or a number of the program that is called like one."""
    value = number(x)
    if value is not None:
        return 0 < value <= 1e-2
    return x.op == "symbol" and any(word in x.name.lower() for word in ("eps", "tiny", "small", "smooth"))


def _vanishes(ranges: Ranges, x: Term) -> bool:
    """A constant that is not 0 and becomes 0 in the dtype."""
    value = number(x)
    return value is not None and value != 0 and ranges.interval(x).format.round(value) == 0


def _rounds_to(ranges: Ranges, x: Term, target: float) -> bool:
    """A constant other than `target` that becomes `target` in the dtype: 1 - 1e-8 is 1 in float32."""
    value = number(x)
    return value is not None and value != target and ranges.interval(x).format.round(value) == target


def _ends_at(ranges: Ranges, x: Term, value: float) -> bool:
    """`value` is an end of the range of `x`, and reached."""
    return ranges.interval(x).ends_at(value)


def _reaches(ranges: Ranges, x: Term, value: float) -> bool:
    """`x` can be `value`."""
    return ranges.interval(x).holds(value)


def _nonnegative(ranges: Ranges, x: Term) -> bool:
    """`x` is never below 0."""
    return ranges.interval(x).nonnegative


def _positive(ranges: Ranges, x: Term) -> bool:
    """`x` is always above 0."""
    return ranges.interval(x).positive


def _probability(ranges: Ranges, x: Term) -> bool:
    """`x` lies in [0, 1]."""
    interval = ranges.interval(x)
    return interval.low >= 0 and interval.high <= 1


def _varies(ranges: Ranges, x: Term) -> bool:
    """`x` depends on a tensor of the program: it is no number or hyper-parameter."""
    return any(
        (node.op == "symbol" and node.attr("kind") == "tensor") or node.op == "opaque" for node in walk(x)
    )  # fmt: skip


def _computed(ranges: Ranges, x: Term) -> bool:
    """`x` is an operation on something, not an argument or an attribute as it came."""
    return x.op not in ("symbol", "opaque", "const", "variable") and ops.family(x) != ops.MOVEMENT


def _plain(ranges: Ranges, x: Term) -> bool:
    """`x` is an argument or an attribute as it came."""
    return x.op == "symbol"


def _attribute(ranges: Ranges, x: Term) -> bool:
    """An attribute as it stands, or what something unknown makes of settings: a schedule say."""
    x = _core(x)
    if x.op == "opaque":
        return not any(node.attr("kind") == "tensor" for node in walk(x))
    return x.op == "symbol" and x.name.startswith("self.")


_LINEAR = ("symbol", "opaque", "const", "add", "mul", "abs", "relu", "clamp", "either")


def _linear(ranges: Ranges, x: Term) -> bool:
    """`x` is as likely small as its arguments are: no power, exponential or sum over entries stands between them."""
    below, seen = [x], set[Term]()
    while below:
        node = below.pop()
        if node in seen or (node.op == "pow" and number(node.args[1]) == -1):
            continue
        seen.add(node)
        if node.op not in _LINEAR and ops.family(node) != ops.MOVEMENT:
            return False
        below.extend(node.args)
    return True


def _positions(ranges: Ranges, x: Term) -> bool:
    """`x` is worked out from positions, 0, 1, 2 and so on: it is 0 or of ordinary size."""
    return any(node.op == "arange" for node in walk(x))


def _norm(ranges: Ranges, x: Term) -> bool:
    """A vector norm, or the root of a sum of squares."""
    x = _core(x)
    return x.op == "vector_norm" or (_is_root(x) and _spread(ranges, _core(x.args[0])))


def _deviation(ranges: Ranges, x: Term) -> bool:
    """A standard deviation, or the root of a variance."""
    x = _core(x)
    return x.op == "std" or (_is_root(x) and _variance(ranges, _core(x.args[0])))


def _is_root(x: Term) -> bool:
    return x.op == "pow" and number(x.args[1]) == 0.5


def _total(ranges: Ranges, x: Term) -> bool:
    """A sum, a mean or a maximum of entries."""
    return _core(x).op in ("sum", "mean", "amax", "count_nonzero")


def _totals(ranges: Ranges, x: Term) -> bool:
    """A sum of several such totals, with what weights they may have."""
    parts = x.args if x.op == "add" else ()
    return bool(parts) and all(part.op == "sum" or any(arg.op == "sum" for arg in part.args) for part in parts)


def _variance(ranges: Ranges, x: Term) -> bool:
    """A variance, or the mean of the squared differences from a mean."""
    inner = x.args[0].args[0] if x.op == "mean" and x.args[0].op == "pow" and number(x.args[0].args[1]) == 2 else x
    parts = [arg.args[1] for arg in inner.args if _negated(ranges, arg)] if inner.op == "add" else []
    return x.op == "var" or any(_core(part).op == "mean" for part in parts)


def _spread(ranges: Ranges, x: Term) -> bool:
    """A variance, or a sum or mean of squares: what a hand-written deviation or norm is the root of."""
    inner = x.args[0] if x.op in ("sum", "mean") else x
    return x.op == "var" or (inner is not x and inner.op == "pow" and number(inner.args[1]) == 2)


def _moment(ranges: Ranges, x: Term) -> bool:
    """A running sum or mean of squares: squares and what was held before them, each times a number, no constant."""
    x = _core(x)
    parts = x.args if x.op == "add" else ()
    bare = [_core(part.args[-1]) if part.op == "mul" and _weights(part.args[:-1]) else _core(part) for part in parts]
    squares = [part for part in bare if part.op == "pow" and number(part.args[1]) == 2]
    held = [part for part in bare if part.op in ("symbol", "opaque")]
    return bool(squares) and bool(held) and len(squares) + len(held) == len(parts)


def _weights(factors: Sequence[Term]) -> bool:
    """Whether factors are numbers and settings."""
    return all(
        factor.op == "const" or factor.attr("kind") in ("number", "size", "option")
        or (factor.op == "add" and _weights(factor.args)) or (factor.op == "mul" and _weights(factor.args))
        for factor in factors
    )  # fmt: skip


def _two_squares(ranges: Ranges, x: Term) -> bool:
    """A sum of two squares: what hypot is the root of."""
    return x.op == "add" and len(x.args) == 2 and all(arg.op == "pow" and number(arg.args[1]) == 2 for arg in x.args)


def _inner_product(ranges: Ranges, x: Term) -> bool:
    """A product of matrices, or a sum of products."""
    inner = x.args[0] if x.op == "sum" else x
    return x.op in ("matmul", "dot") or (inner is not x and inner.op == "mul")


def _divides(ranges: Ranges) -> bool:
    """The expression itself is a division or a root, not a product of which a factor is one."""
    term = getattr(ranges, "term", None)
    return term is not None and term.op in ("div", "reciprocal", "pow", "sqrt", "rsqrt")


def _divisor(ranges: Ranges, x: Term) -> bool:
    """The expression itself divides by `x` or by a product with it, and no test on the way has shown it not to be 0."""
    matcher, term = getattr(ranges, "matcher", None), getattr(ranges, "term", None)
    if matcher is None or term is None or term.op not in ("div", "reciprocal", "pow", "rsqrt"):
        return False
    if term.op == "pow" and (number(term.args[1]) or 0) > 0:
        return False
    divisor = term.args[1] if term.op == "div" else term.args[0]
    written = _core(divisor)
    if written.op == "assume" and written.attr("nonzero"):
        return False
    below = _core(matcher.normal(divisor))
    factors = below.args if below.op == "mul" else (below,)
    bases = [factor.args[0] if factor.op == "pow" else factor for factor in factors]
    return _core(x) in [_core(part) for part in (*factors, *bases)]


def _alone(ranges: Ranges) -> bool:
    """The expression is a power with nothing else beside it: ``1 / b``, not ``a / b``."""
    matcher, term = getattr(ranges, "matcher", None), getattr(ranges, "term", None)
    return matcher is not None and term is not None and matcher.normal.head(term).op == "pow"


def _norms(ranges: Ranges, count: float) -> bool:
    """The expression divides by this many norms."""
    matcher, term = getattr(ranges, "matcher", None), getattr(ranges, "term", None)
    if matcher is None or term is None:
        return False
    factors = matcher.normal.head(term).args
    divisors = [factor.args[0] for factor in factors if factor.op == "pow" and (number(factor.args[1]) or 0) < 0]
    return bool(sum(divisor.op == "vector_norm" for divisor in divisors) == count)


def _exponential(ranges: Ranges, x: Term) -> bool:
    """An exponential, also of another base, a sigmoid, or a sum or mean of these: 0 by underflow alone.

    What is divided by it overflows in truth.
    """
    x = _core(x)
    x = _core(x.args[0]) if x.op in ("sum", "mean", "amax") else x
    return x.op in ("exp", "sigmoid", "one_minus_sigmoid") or (x.op == "pow" and (number(x.args[0]) or 0) > 0)


def _crossing(ranges: Ranges, x: Term) -> bool:
    """The size of what passes through 0 as it goes from one sign to the other: a determinant, ``1 + x``, ``y / x``.

    It is 0 nowhere in particular, where a difference of two tensors is 0 once they are equal.
    """
    size = _core(x)
    if size.op != "abs" and not (size.op == "pow" and number(size.args[1]) == 2):
        return False
    term = getattr(ranges, "term", x)
    while term.op in ("log", "log2", "log10", size.op) or ops.family(term) in (ops.MOVEMENT, ops.CAST):
        if term.op == "diagonal":
            return True
        term = term.args[0]
    inner = _core(size.args[0])
    if inner.op == "mul":
        return any(part.op == "pow" and (number(part.args[1]) or 0) < 0 for part in inner.args)
    return inner.op == "add" and number(inner.args[0]) is not None and ranges.interval(inner).unknown


def _root_of_any(ranges: Ranges, x: Term) -> bool:
    """The root of something of which nothing is known, or a sum or mean of such roots.

    Its argument is 0 nowhere in particular: ``1 + c * v`` say.
    """
    x = _core(x)
    x = _core(x.args[0]) if x.op in ("sum", "mean") else x
    return _is_root(x) and ranges.interval(x.args[0]).unknown


def _replaced(ranges: Ranges, x: Term) -> bool:
    """A mask that is no test of `x` itself puts a number other than 0 in its place, so that the rest is safe."""
    x = _core(x)
    x = _core(x.args[0]) if x.op == "abs" else x
    if x.op != "where":
        return False
    kept = [branch for branch in x.args[1:] if number(branch) is None]
    safe = any(number(branch) for branch in x.args[1:])
    return len(kept) == 1 and safe and not any(node is _core(kept[0]) for node in walk(x.args[0]))


def _kernel(ranges: Ranges, x: Term) -> bool:
    """Minus a setting times a distance: the exponent of a kernel, at most 0 for the widths that one has."""
    x = _core(x)
    if not _negated(ranges, x):
        return False
    others = [part for part in x.args[1:] if not _attribute(ranges, part) and not _setting(ranges, part)]
    return bool(others) and all(ranges.interval(part).nonnegative for part in others)


def _data(ranges: Ranges, m: Term) -> bool:
    """Something that a program is given goes into `m`, a mask say: it is not worked out from sizes alone."""
    return any(node.op == "opaque" or node.attr("kind") in ("tensor", "mask") for node in walk(m))


def _learned(ranges: Ranges, x: Term) -> bool:
    """Parameters of a module and numbers alone, no input of it: their norm is not 0 once they are initialised."""
    below, found = [x], False
    while below:
        node = below.pop()
        if node.op == "opaque" and node.name == "Parameter":
            found = True
        elif node.op == "opaque" or (node.op == "symbol" and node.attr("kind") == "tensor"):
            return False
        else:
            below.extend(node.args)
    return found


_LENGTHS = ("vector_norm", "sum", "mean", "pow", "add", "mul", "std", "var")


def _length_of_noise(ranges: Ranges, x: Term) -> bool:
    """A norm or a spread of random numbers of a normal distribution, which are not all 0."""
    below, found = [x], False
    while below:
        node = _core(below.pop())
        if node.op == "symbol" and node.name.startswith("randn at"):
            found = True
        elif node.op in _LENGTHS:
            below.extend(node.args)
        elif number(node) is None:
            return False
    return found


def _test(ranges: Ranges, x: Term) -> bool:
    """A comparison, a combination of such, or a mask: its logarithm is meant to be -inf where it is 0."""
    x = _core(x)
    while ops.family(x) == ops.CAST and x.args:
        x = _core(x.args[0])
    return _compares(x) or x.op in ("any", "all") or x.attr("kind") == "mask"


def _logged(ranges: Ranges, x: Term) -> bool:
    """A logarithm as it stands: its exponential is what it was taken of, which was finite."""
    return all(_core(part).op in ("log", "log2", "log10", "log1p") for part in (x.args if x.op == "either" else (x,)))


def _schedule(ranges: Ranges, x: Term) -> bool:
    """What the constructor of a module has worked out of settings, the steps of a schedule say: it is the same always.

    In a constructor nothing is differentiated, so reading has detached what it made.
    """
    below, found = [x], False
    while below:
        node = below.pop()
        if node.op == "detach":
            if any(part.op == "symbol" and part.attr("kind") == "tensor" for part in walk(node)):
                return False
            found = True
        elif node.args:
            below.extend(node.args)
        elif node.op != "const" and not (node.op == "symbol" and node.attr("kind") in ("number", "size")):
            return False
    return found


def _one_minus(ranges: Ranges, x: Term) -> bool:
    """1 minus something."""
    return x.op == "add" and len(x.args) == 2 and number(x.args[0]) == 1 and _negated(ranges, x.args[1])


def _odds(ranges: Ranges, x: Term) -> bool:
    """The odds of something: ``p / (1 - p)``, ``1 / p - 1``."""
    if x.op == "add" and len(x.args) == 2 and number(x.args[0]) == -1:
        return x.args[1].op == "pow" and (number(x.args[1].args[1]) or 0) < 0
    below = [arg.args[0] for arg in x.args if arg.op == "pow" and number(arg.args[1]) == -1] if x.op == "mul" else []
    return any(_one_minus(ranges, part) for part in below)


def _fraction(ranges: Ranges, x: Term) -> bool:
    """A constant between 0 and 1."""
    value = number(x)
    return value is not None and 0 < value < 1


def _drawn(ranges: Ranges, x: Term) -> bool:
    """Random numbers that are drawn from [0, 1), or a clamp or an offset of them."""
    for node in walk(x, known=_known_drawn):
        drawn = node.op == "symbol" and node.name.startswith("rand") and node.attr("low") == 0
        kept = ops.family(node) in (ops.MOVEMENT, ops.CAST, ops.ELEMENTWISE)
        _known_drawn[node] = drawn or (kept and any(_known_drawn.get(arg, False) for arg in node.args))
    return _known_drawn[x]


_known_drawn: WeakKeyDictionary[Term, bool] = WeakKeyDictionary()  # in a graph of thousands of terms each asks


def _given(ranges: Ranges, x: Term | Attr) -> bool:
    """An operand or an attribute that is there, not none."""
    return x is not None and not (isinstance(x, Term) and x.op == "const" and x.value is None)


def _rooted(ranges: Ranges, x: Term) -> bool:
    """The exponent of a square root, or of one over it."""
    return number(x) in (0.5, -0.5)


def _infinite(ranges: Ranges, x: Term) -> bool:
    """A constant that is infinite."""
    value = number(x)
    return value is not None and math.isinf(value)


def _offset(ranges: Ranges, x: Term) -> bool:
    """A number or a hyper-parameter, or a sum that has one: ``x + eps``, ``1 + x``."""
    return any(not _varies(ranges, part) for part in (x.args if x.op == "add" else (x,)))


def _lifted(ranges: Ranges, x: Term) -> bool:
    """A sum of a hyper-parameter and of what is never below 0: ``x ** 2 + c``."""
    parts = [part for part in x.args if _varies(ranges, part)] if x.op == "add" else []
    return 0 < len(parts) < len(x.args) and all(ranges.interval(part).nonnegative for part in parts)


def _shifted(ranges: Ranges, x: Term) -> bool:
    """An argument as it came or a number of entries, less or plus a number: ``1 - t``."""
    x = _core(x)
    parts = x.args if x.op == "add" else ()
    plain = [part.args[-1] if part.op == "mul" else part for part in parts if number(part) is None]
    return len(plain) < len(parts) and all(_core(part).op in ("symbol", "numel", "length") for part in plain)


_COUNTED = ("mask", "valid", "event", "indicator")


def _count(ranges: Ranges, x: Term) -> bool:
    """A sum of a mask, of values that are 0 or 1, or of an argument that is called like one."""
    x = _core(x)
    if x.op != "sum":
        return False
    entry = ranges.interval(x.args[0])
    if entry.integer and entry.low >= 0:
        return entry.low == 0
    inner = _core(x.args[0])
    if inner.op == "add" and len(inner.args) == 2:  # a mask without the diagonal
        parts = [part.args[-1] if _negated(ranges, part) else part for part in inner.args]
        return sum(_negated(ranges, part) for part in inner.args) == 1 and all(_mask(ranges, part) for part in parts)
    return inner.op == "symbol" and any(word in inner.name.lower() for word in _COUNTED)


def _ranked(ranges: Ranges, x: Term) -> bool:
    """A count of the places up to which a running sum holds a bound: it holds it at the first one."""
    x = _core(x)
    if x.op != "sum":
        return False
    test = _core(x.args[0])
    while ops.family(test) == ops.CAST and test.args:
        test = _core(test.args[0])
    return _compares(test) and any(node.op == "cumsum" for node in walk(test))


def _share(ranges: Ranges, a: Term, b: Term) -> bool:
    """`a` is a product with an argument, `b` a sum or a mean of products with it: a part of a mean power."""
    b = _core(b)
    while b.op in ("sum", "mean"):
        b = _core(b.args[0])
    factors = [_core(factor) for factor in b.args] if b.op == "mul" else []
    return any(_core(part) in factors and _core(part).op == "symbol" for part in (a.args if a.op == "mul" else (a,)))


def _tests(ranges: Ranges, m: Term, x: Term) -> bool:
    """`m` is a comparison of `x` or of what `x` is one operation on, or a combination with such a comparison."""
    near = {x, *x.args}
    if m.op.startswith("logical"):
        return any(_tests(ranges, part, x) for part in m.args)
    return _compares(m) and any(part in near and number(part) is None for part in m.args)


def _compares(m: Term) -> bool:
    row = ops.row(m.op)
    return row is not None and row.mask


def _just_below(ranges: Ranges, x: Term) -> bool:
    """The range of `x` ends a little below 0, as that of ``p - eps`` does."""
    return -1e-2 <= ranges.interval(x).low < 0


def _partly_negative(ranges: Ranges, x: Term) -> bool:
    """Something is known of the range of `x`, and it has negative values."""
    interval = ranges.interval(x)
    return interval.low < 0 and not interval.unknown


def _overflows(ranges: Ranges, x: Term) -> bool:
    """`x` has a bound above at which exp(x) has overflown."""
    interval = ranges.interval(x)
    return math.isfinite(interval.high) and interval.high > math.log(interval.format.max)


def _beyond(ranges: Ranges, x: Term, low: float, high: float) -> bool:
    """The range of `x` is bounded and goes beyond [low, high], by rounding say."""
    interval = ranges.interval(x)
    return interval.bounded and (interval.low < low or interval.high > high)


def _half(ranges: Ranges, x: Term) -> bool:
    """The dtype under check is float16."""
    return ranges.interval(x).dtype == "float16"


def _core(x: Term) -> Term:
    """What movements at the root of `x` move."""
    while ops.family(x) == ops.MOVEMENT and x.args:
        x = x.args[0]
    return x


def _summands(ranges: Ranges, count: float) -> bool:
    """The sum that was matched has this many operands, so that the pattern left none of them over."""
    matcher, term = getattr(ranges, "matcher", None), getattr(ranges, "term", None)
    if matcher is None or term is None:
        return False
    head = (matcher.unguarded if ranges.guards else matcher.normal).head(term)  # type: ignore[attr-defined]
    head = _core(head)
    return head.op == "add" and len(head.args) == count


def _squared_norm_of(x: Term) -> Term | None:
    """The tensor of which `x` has the squared norms: a sum of squares, or the diagonal of its products with itself."""
    x = _core(x)
    if x.op == "matmul" and _core(x.args[0]) is _core(x.args[1]):
        return _core(x.args[0])
    inner = x.args[0] if x.op in ("sum", "pow") else x
    if x.op == "sum" and inner.op == "pow" and number(inner.args[1]) == 2:
        return _core(inner.args[0])
    if x.op == "pow" and number(x.args[1]) == 2 and inner.op == "vector_norm":
        return _core(inner.args[0])
    return None


def _expansion(ranges: Ranges, a: Term, b: Term, x: Term, y: Term) -> bool:
    """`a` and `b` are the squared norms of `x` and `y`, in either order."""
    norms, factors = (_squared_norm_of(a), _squared_norm_of(b)), (_core(x), _core(y))
    return norms == factors or norms == factors[::-1]


def _same(ranges: Ranges, x: Term, y: Term) -> bool:
    """The entries of one tensor, moved or not."""
    return _core(x) is _core(y)


def _root_of(ranges: Ranges, d: Term, c: Term) -> bool:
    """Two constants, `d` the root of `c`."""
    root, square = number(d), number(c)
    return root is not None and square is not None and root > 0 and abs(root * root - square) <= 1e-6 * square


def _absorbed(ranges: Ranges, c: Term) -> bool:
    """A constant just above a whole number, which it is in the dtype: 1 + 1e-8 is 1 in float32."""
    value = number(c)
    held = ranges.interval(c).format.round(value) if value is not None else 0.0
    return value is not None and value > held > 0 and float(held).is_integer()


def _tops_at(ranges: Ranges, x: Term, c: Term) -> bool:
    """The constant `c` is, in the dtype, the largest value of `x`, and reached."""
    value, interval = number(c), ranges.interval(x)
    held = interval.format.round(value) if value is not None else math.nan
    return interval.high == held and interval.holds(held)


def _at_least(ranges: Ranges, b: Term, least: float) -> bool:
    """An upper bound that is left out, or a constant of at least so much."""
    value = number(b)
    return value >= least if value is not None else b.op == "const"


def _complement(ranges: Ranges, b: Term, a: Term) -> bool:
    """Two constants, `b` being 1 - `a`."""
    high, low = number(b), number(a)
    return high is not None and low is not None and abs(1 - low - high) <= 1e-3 * low


def _predicted(ranges: Ranges, p: Term) -> bool:
    """An argument that is called a prediction or a probability, or some of its entries."""
    p = _core(p)
    return p.op == "symbol" and any(word in p.name.lower() for word in ("pred", "prob"))


_MIXING = ("add", "mul", "sum", "mean", "scatter_add")


def _mixture(ranges: Ranges, p: Term) -> bool:
    """A sum of products of probabilities that come from logits, with weights that are never negative."""
    below, seen, found = [p], set[Term](), False
    while below:
        node = below.pop()
        if node in seen:
            continue
        seen.add(node)
        row = ops.row(node.op)
        if row is not None and row.probability:
            found = True
        elif node.op in _MIXING or ops.family(node) == ops.CAST:
            below.extend(node.args)
        elif ops.family(node) == ops.MOVEMENT and node.args:
            below.append(node.args[0])
        elif not ranges.interval(node).nonnegative:
            return False
    return found and p.op in _MIXING


def _part_of_whole(ranges: Ranges, s: Term) -> bool:
    """A sum of some probabilities of a softmax, which may come near 1."""
    summed = False
    while s.args and (s.op in ("sum", "cumsum") or ops.family(s) == ops.MOVEMENT):
        summed, s = summed or s.op in ("sum", "cumsum"), s.args[0]
    return summed and s.op == "softmax"


def _remainder(ranges: Ranges, a: Term, b: Term) -> bool:
    """`a` is a total and `b` a running sum of the same values."""
    a, b = _core(a), _core(b)
    return b.op == "cumsum" and (a is b or (a.op == "sum" and a.args[0] is b.args[0]))


def _signed(ranges: Ranges, x: Term) -> bool:
    """`x` is bounded and takes both signs: a tanh, a cosine."""
    interval = ranges.interval(x)
    return interval.bounded and interval.low < 0 < interval.high


def _square_vanishes(ranges: Ranges, e: Term) -> bool:
    """A constant above 0 in the dtype of which the reciprocal squared overflows."""
    value, form = number(e), ranges.interval(e).format
    held = form.round(value) if value is not None else 0.0
    return held > 0 and 1 / held / held > form.max


def _too_large(ranges: Ranges, c: Term, times: float) -> bool:
    """A constant that is infinite in the dtype when taken so many times."""
    value = number(c)
    return value is not None and math.isfinite(value) and abs(value) * times > ranges.interval(c).format.max


def _affine(ranges: Ranges, z: Term) -> bool:
    """The output of a linear layer or a product of matrices, so of either sign and any size."""
    z = _core(z)
    return z.op in ("linear", "matmul") or (z.op == "add" and any(part.op == "matmul" for part in z.args))


def _called_log(ranges: Ranges, x: Term) -> bool:
    """An argument that is called the logarithm of something: log_var, logsigma."""
    return x.op == "symbol" and x.name.lower().rpartition(".")[2].startswith("log")


def _has_singularity(ranges: Ranges, x: Term) -> bool:
    """Somewhere in `x` is an operation that can be non-finite, or have a non-finite derivative, at any of its entries.

    What ``x[mask] = value`` puts in is worked out for the selected entries alone, and does not count.
    """
    rows = ops.rows()
    below, seen = [x], set[Term]()
    while below:
        node = below.pop()
        if node in seen:  # a graph in which values are shared has exponentially many paths
            continue
        seen.add(node)
        open_power = node.op == "pow" and number(node.args[1]) is None  # it is most likely a square
        if node.op in rows and rows[node.op].singular and not open_power:
            return True
        below.extend(node.args[:1] if node.op == "overwrite" else node.args)
    return False


def _length(ranges: Ranges, n: Term) -> bool:
    """A number of entries or of classes: the size of a tensor, or an argument that is one."""
    return n.op in ("numel", "length") or n.attr("kind") == "size"


def _over_all(ranges: Ranges, dim: Attr) -> bool:
    """A reduction over all dimensions: it was given none."""
    return dim is None


def _along_one(ranges: Ranges, dim: Attr) -> bool:
    """A reduction along one dimension that is known."""
    return isinstance(dim, int)


def _constant_along(ranges: Ranges, x: Term, dim: Attr) -> bool:
    """`x` is the same all along a dimension: a number, or a reduction over that dimension or over all of them."""
    if number(x) is not None or x.attr("kind") in ("number", "size"):
        return True
    if ops.family(x) == ops.REDUCE:
        return x.attr("dim") is None or same_attr(x.attr("dim"), dim)
    entrywise = ops.family(x) in (ops.ELEMENTWISE, ops.CAST) or x.op == "unsqueeze"
    return entrywise and bool(x.args) and all(_constant_along(ranges, arg, dim) for arg in x.args)


def _share_of_one(ranges: Ranges, x: Term) -> bool:
    """`x` is at most 1, or an argument of which nothing is known: it is then taken for one."""
    interval = ranges.interval(x)
    return interval.high <= 1 or (interval.unknown and _core(x).op in ("symbol", "opaque"))


def _setting(ranges: Ranges, x: Term) -> bool:
    """A number or a size: a constant, or an argument that is no tensor."""
    return number(x) is not None or x.op in ("numel", "length") or x.attr("kind") in ("number", "size")


def _whole(ranges: Ranges, x: Term) -> bool:
    """A constant that is a whole number."""
    value = number(x)
    return value is not None and float(value).is_integer()


def _factor(ranges: Ranges, x: Term) -> bool:
    """Each factor of `x` depends on a tensor, and none is an inverse."""
    factors = x.args if x.op == "mul" else (x,)
    return all(_varies(ranges, part) and not (part.op == "pow" and (number(part.args[1]) or 0) < 0) for part in factors)


def _mask(ranges: Ranges, x: Term) -> bool:
    """Each entry of `x` is 0 or 1, a comparison say."""
    interval = ranges.interval(x)
    return interval.integer and interval.low >= 0 and interval.high <= 1 and number(x) is None


def _selected(ranges: Ranges, x: Term) -> bool:
    """`x` is a selection by a test of what it selects from: an argument that was made safe."""
    if x.op != "where" or not _compares(x.args[0]):
        return False
    tested = {node for node in walk(x.args[0]) if node.op != "const"}
    return any(node in tested for branch in x.args[1:] for node in walk(branch))


def _exp_overflows(ranges: Ranges, x: Term, factor: float) -> bool:
    """exp(factor * x) can overflow in the dtype, for what is known of the range of `x`."""
    interval = ranges.interval(x)
    return max(factor * interval.low, factor * interval.high) > math.log(interval.format.max)


def _one_of(ranges: Ranges, value: Attr, *allowed: Attr) -> bool:
    """An attribute or a constant has one of these values."""
    held = number(value) if isinstance(value, Term) else value
    return held in allowed


OF_LEAVES = frozenset({"number", "small"})  # predicates of one operand that hold of constants and symbols alone

_PREDICATES: Mapping[str, Callable[..., bool]] = {
    "negated": _negated,
    "number": _number,
    "small": _small,
    "vanishes": _vanishes,
    "rounds_to": _rounds_to,
    "ends_at": _ends_at,
    "reaches": _reaches,
    "nonnegative": _nonnegative,
    "positive": _positive,
    "probability": _probability,
    "varies": _varies,
    "computed": _computed,
    "plain": _plain,
    "attribute": _attribute,
    "linear": _linear,
    "positions": _positions,
    "norm": _norm,
    "deviation": _deviation,
    "variance": _variance,
    "spread": _spread,
    "total": _total,
    "totals": _totals,
    "given": _given,
    "drawn": _drawn,
    "two_squares": _two_squares,
    "inner_product": _inner_product,
    "norms": _norms,
    "alone": _alone,
    "divides": _divides,
    "divisor": _divisor,
    "exponential": _exponential,
    "crossing": _crossing,
    "root_of_any": _root_of_any,
    "replaced": _replaced,
    "learned": _learned,
    "data": _data,
    "kernel": _kernel,
    "moment": _moment,
    "length_of_noise": _length_of_noise,
    "test": _test,
    "logged": _logged,
    "schedule": _schedule,
    "one_minus": _one_minus,
    "odds": _odds,
    "fraction": _fraction,
    "rooted": _rooted,
    "infinite": _infinite,
    "offset": _offset,
    "lifted": _lifted,
    "count": _count,
    "shifted": _shifted,
    "ranked": _ranked,
    "share": _share,
    "tests": _tests,
    "partly_negative": _partly_negative,
    "just_below": _just_below,
    "overflows": _overflows,
    "beyond": _beyond,
    "half": _half,
    "summands": _summands,
    "expansion": _expansion,
    "same": _same,
    "root_of": _root_of,
    "absorbed": _absorbed,
    "tops_at": _tops_at,
    "at_least": _at_least,
    "complement": _complement,
    "predicted": _predicted,
    "mixture": _mixture,
    "part_of_whole": _part_of_whole,
    "remainder": _remainder,
    "signed": _signed,
    "square_vanishes": _square_vanishes,
    "too_large": _too_large,
    "affine": _affine,
    "called_log": _called_log,
    "has_singularity": _has_singularity,
    "length": _length,
    "over_all": _over_all,
    "along_one": _along_one,
    "constant_along": _constant_along,
    "share_of_one": _share_of_one,
    "setting": _setting,
    "whole": _whole,
    "factor": _factor,
    "mask": _mask,
    "selected": _selected,
    "exp_overflows": _exp_overflows,
    "one_of": _one_of,
}
