"""Narrowing: what a test that went one way tells about the values it compares."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nanguard import ops
from nanguard.ops.names import lists_places
from nanguard.reading.values import alternatives
from nanguard.reading.walking import inside
from nanguard.term import Term, const, make, number, walk


def is_mask(value: object) -> bool:
    """Whether a value selects entries: the result of a comparison, in another shape maybe, or what is called a mask."""
    while isinstance(value, Term) and value.op in ("expand", "reshape", "unsqueeze", "t"):
        value = value.args[0]
    return isinstance(value, Term) and (ops.compares(value) or value.attr("kind") == "mask")


def places_of(key: Term) -> Term | None:
    """The test that an index lists the places of: ``torch.where(p > 0)[0]``, ``(p > 0).nonzero().squeeze(1)``."""
    while key.op in ("index", "pick") or ops.family(key) in (ops.MOVEMENT, ops.CAST):
        key = key.args[0]
    if key.op != "opaque" or not lists_places(key.name) or not key.args:
        return None
    test = key.args[0]
    whole = len(key.args) == 1 and not any(map(is_mask, alternatives(test)))  # ``x.nonzero()``
    return make("ne", (test, const(0))) if whole else test


def narrow(term: Term, test: Term, outcome: bool) -> Term:
    """`term` with what a comparison of it with a constant tells, when that went `outcome`."""
    if test.op == "logical_not":
        return narrow(term, test.args[0], not outcome)
    if test.op == "logical_and" and outcome:
        return narrow(narrow(term, test.args[0], True), test.args[1], True)
    if test.op == "logical_or" and not outcome:
        return narrow(narrow(term, test.args[0], False), test.args[1], False)
    if test.op not in _OPPOSITE:
        return term
    subject, bound = test.args
    op = test.op
    if number(subject) is not None:
        subject, bound, op = bound, subject, _MIRRORED[op]
    value = number(bound)
    told = op if outcome else _OPPOSITE[op]
    if value is None and term.op == "sub":
        between = _difference(term, subject, told, bound)
        if between is not term:
            return between
    if value is None and told not in ("eq", "ne"):
        value = ends(bound)[told in ("lt", "le")]
        if math.isinf(value) and told == "gt" and _is_setting(bound) and ends(subject)[0] >= 0:
            # a norm that is above a threshold is not 0
            value = 0.0
    if value is None or math.isinf(value):
        return term
    wanted = without_facts(term)
    for found, sign, limit in said(subject, told, value):
        if found is wanted:
            return _assume(term, sign, limit)
    return term


def _difference(term: Term, subject: Term, told: str, bound: Term) -> Term:
    """A difference, with what is known of its sides: of ``high > low + 0.1`` that ``high - low`` is above 0.1."""
    (left, ahead), (right, behind) = _shifted(subject), _shifted(bound)
    if told == "eq" or (told == "ne" and ahead != behind):
        return term
    if term.args == (left, right):
        return _assume(term, told, behind - ahead)
    if term.args == (right, left):
        return _assume(term, _MIRRORED[told], ahead - behind)
    return term


def _shifted(term: Term) -> tuple[Term, float]:
    """A term without a number that is added to it, and this number."""
    number_of = [number(arg) for arg in term.args]
    match term.op, number_of:
        case "add", [None, float(shift)]:
            return term.args[0], shift
        case "add", [float(shift), None]:
            return term.args[1], shift
        case "sub", [None, float(shift)]:
            return term.args[0], -shift
    return term, 0.0


_BOUNDS = re.compile(r"max|min|thres|clip|limit|bound|radius|eps|tol|delta|margin")


def _is_setting(bound: Term) -> bool:
    """Whether something is compared with a setting: it is called one, or nothing goes into it, ``group["clip"]``."""
    if bound.op == "symbol" and bound.attr("kind") == "tensor":
        return _BOUNDS.search(bound.name.lower()) is not None
    if bound.op == "pick" and str(bound.attr("index")).startswith("'"):  # an entry under a name
        return _BOUNDS.search(str(bound.attr("index"))) is not None
    return all(node.attr("kind") != "tensor" and not (node.op == "opaque" and node.args) for node in walk(bound))


def chosen(term: Term) -> Term:
    """A selection, with what its test tells about either branch; any other term as it is."""
    if term.op != "where":
        return term
    test, taken, other = term.args
    return make("where", (test, narrow(taken, test, True), narrow(other, test, False)), term.attrs)


@lru_cache(maxsize=4096)  # a part may be shared by many
def ends(bound: Term) -> tuple[float, float]:
    """The least and the largest that something is compared with: a tolerance times a size, ``math.log(0.5)``."""
    from nanguard.matching.ranges import RangeTable  # which a file without such a comparison does without

    interval = RangeTable().interval(bound)
    return interval.low, interval.high


_OPPOSITE = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}  # where a test fails
_MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}  # with its sides exchanged


def _assume(term: Term, op: str, value: float) -> Term:
    facts = {
        "gt": (value, None, True, False), "ge": (value, None, False, False), "lt": (None, value, False, True),
        "le": (None, value, False, False), "eq": (value, value, False, False), "ne": (None, None, False, False),
    }[op]  # fmt: skip
    names = ("low", "high", "low_open", "high_open")
    return make("assume", (term,), (*zip(names, facts, strict=True), ("nonzero", op == "ne" and value == 0)))


def said(subject: Term, op: str, value: float) -> Iterator[tuple[Term, str, float]]:
    """What ``subject op value`` says about the subject, and about what it was computed from.

    ``p.min() > 0`` holds of every entry of p, ``p / 2 > 1`` is ``p > 2``, ``abs(p) > 1`` tells that p is not 0, and
    ``p.item()`` is p.
    """
    while True:
        subject = without_facts(subject)
        yield subject, op, value
        numbers = [_single(arg) if subject.op == "sub" else number(arg) for arg in subject.args]
        match subject.op, numbers:
            case "div", [None, float(factor)] if factor != 0:
                value *= factor
            case "mul", [None, float(factor)] | [float(factor), None] if factor != 0:
                value /= factor
            case "add", [None, float(shift)] | [float(shift), None]:
                value, factor = value - shift, 1.0
            case "sub", [None, float(shift)]:
                value, factor = value + shift, 1.0
            case "neg", _:
                value, factor = -value, -1.0
            case ("sqrt", _) if value >= 0:
                value, factor = value * value, 1.0
            case ("abs" | "square", _) if (op == "gt" and value >= 0) or (op == "ge" and value > 0):
                op, value, factor = "ne", 0.0, 1.0
            case ("abs" | "square", _) if op == "ne" and value == 0:
                factor = 1.0
            case ("pow", [None, 2.0]) if (op == "gt" and value >= 0) or (op == "ge" and value > 0):
                op, value, factor = "ne", 0.0, 1.0
            case ("amin", _) if op in ("gt", "ge"):
                factor = 1.0
            case ("amax", _) if op in ("lt", "le"):
                factor = 1.0
            case _ if ops.family(subject) == ops.CAST and subject.args:
                factor = 1.0
            case _:
                return
        op = op if factor > 0 else _MIRRORED[op]
        inner = [arg for arg, known in zip(subject.args, numbers, strict=True) if known is None]
        if not inner:  # a number under another name
            return
        subject = inner[0]


def _single(term: Term) -> float | None:
    """The one value that a term has, as a number or as a tensor that is filled with it, ``torch.zeros_like(x)``."""
    while ops.family(term) == ops.CAST and term.op != "assume" and term.args:  # ``torch.tensor(0.0)``
        term = term.args[0]
    if ops.family(term) != ops.LEAF or term.op == "opaque":
        return number(term)
    low, high = ends(term)
    return low if low == high else None


def implied(test: Term, outcome: bool) -> Iterator[tuple[Term, Term]]:
    """Values that may be worked out behind a test that went `outcome`, each beside what the test has said of it.

    Where ``mask.any()`` holds, the number of entries that the mask has is not 0.  Where ``(x == y).all()`` does not,
    the norm of their difference is not.
    """
    if test.op == "logical_not":
        yield from implied(test.args[0], not outcome)
    elif test.op == "logical_and" and outcome:
        for part in test.args:
            yield from implied(part, True)
    elif test.op == "any" and outcome and is_mask(test.args[0]):
        for mask in (test.args[0], make("to", test.args, (("dtype", "float32"),))):
            count = make("sum", (mask,), test.attrs)
            yield count, _assume(count, "gt", 0.0)
    elif test.op == "all" and not outcome and test.args[0].op in _CLOSE:
        for difference in _differences(test.args[0]):
            for name in ("torch.norm", "torch.linalg.norm"):
                norm = ops.call(name, [difference], {})
                if norm is not None:
                    yield norm, _assume(norm, "gt", 0.0)


_CLOSE = ("eq", "le")


def _differences(same: Term) -> Iterator[Term]:
    """What is 0 where two values are the same, as ``x == y`` asks or ``(x - y).abs() <= bound``."""
    if same.op == "le":
        size, bound = same.args
        if size.op != "abs" or ends(bound)[0] < 0:
            return
        same = size.args[0]
        if same.op != "sub":
            yield same
            return
    first, second = same.args
    if number(second) == 0:
        yield first
    yield from (make("sub", (first, second)), make("sub", (second, first)))


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a test asks about: the terms that it may say something about, and those that it looks for nan or inf in."""

    subjects: frozenset[Term] = frozenset()
    finite: frozenset[Term] = frozenset()  # finite where it holds, as of ``x.isfinite()``
    broken: frozenset[Term] = frozenset()  # finite where it fails: ``x.isnan()``

    def found_finite(self, outcome: bool) -> frozenset[Term]:
        """The terms in which a test that went `outcome` has found no nan or infinity."""
        return self.finite if outcome else self.broken


class Questions:
    """What tests ask about, worked out once for each term that they are made of."""

    def __init__(self) -> None:
        self.known: dict[Term, Asked] = {}

    def asked(self, test: Term) -> Asked:
        """What a test asks about."""
        if test not in self.known:
            for node in walk(test, known=self.known):
                below = {self.known[arg] for arg in node.args} - {_NOTHING}
                row = ops.row(node.op)
                if row is not None and row.mask:
                    below.add(_asks(node, row.catches))
                self.known[node] = _together(below)
        return self.known[test]


_NOTHING = Asked()


def _together(parts: set[Asked]) -> Asked:
    """What some parts of a test ask about between them."""
    if len(parts) <= 1:
        return next(iter(parts), _NOTHING)
    subjects, finite, broken = (
        frozenset[Term]().union(*(getattr(part, name) for part in parts)) for name in ("subjects", "finite", "broken")
    )
    return Asked(subjects, finite, broken)


def _asks(comparison: Term, catches: bool) -> Asked:
    """What a single comparison asks about."""
    subjects: set[Term] = set()
    for arg in comparison.args:
        for op in ("gt", "lt"):  # a bound from below is one of the least entry, from above of the largest
            subjects.update(subject for subject, _, _ in said(arg, op, 0.0))
    if comparison.op in _MIRRORED and all(number(arg) is None for arg in comparison.args):
        (left, _), (right, _) = map(_shifted, comparison.args)
        subjects.update((make("sub", (left, right)), make("sub", (right, left))))
    about = frozenset(comparison.args[:1]) if catches else frozenset[Term]()
    finite = comparison.op == "isfinite"
    return Asked(frozenset(subjects), about if finite else frozenset(), frozenset() if finite else about)


def as_test(value: Term) -> Term:
    """The comparison that a value is as a condition: ``if total`` asks whether it is not 0."""
    if ops.compares(value) or value.op in ("any", "all", "logical_not") or value.attr("kind") in ("option", "mask"):
        return value
    if value.op == "either" and all(as_test(part) is part for part in value.args):
        return value
    return make("ne", (value, const(0)))


def plain_numbers(function: ast.AST) -> frozenset[str]:
    """The names that a function treats as numbers of Python: as a test compares them with a number, as an exponent.

    A test of a tensor with more than one entry raises, so what ``if p == 1`` asks about is none.
    """
    found: set[str] = set()
    for node in inside(function):
        if type(node) not in _TELLING:
            continue
        match node:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.Assert(test=test):
                found.update(_compared(test))
            case ast.BinOp(op=ast.Pow(), left=base, right=ast.Name(id=name)) if not _is_e(base):
                found.add(name)
            case ast.Call(func=ast.Name(id="range") | ast.Attribute(value=ast.Name(id="math")), args=args):
                found.update(part.id for arg in args for part in _reckoned(arg))
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=made), args=args) if _makes(module, made):
                found.update(part.id for arg in args for part in _reckoned(arg))
    return frozenset(found)


@lru_cache(maxsize=256)
def _makes(module: str, made: str) -> bool:
    """Whether a function makes a tensor of a size, which is a number: ``torch.zeros(n, n)``."""
    if module != "torch" or made.endswith("_like"):
        return False
    spelled = ops.spellings().get(f"torch.{made}", ())
    rows = [row for spelling in spelled if (row := ops.row(spelling.op)) is not None]
    return any(row.family == ops.LEAF and any(name == "size" for name, _ in row.signature.attrs) for row in rows)


def _reckoned(node: ast.expr) -> Iterator[ast.Name]:
    """The names that an arithmetic expression is worked out from."""
    match node:
        case ast.Name():
            yield node
        case ast.BinOp(left=left, right=right):
            yield from _reckoned(left)
            yield from _reckoned(right)
        case ast.UnaryOp(operand=operand):
            yield from _reckoned(operand)


_TELLING = frozenset({ast.If, ast.IfExp, ast.While, ast.Assert, ast.BinOp, ast.Call})


def _compared(test: ast.expr) -> Iterator[str]:
    """The names that a test compares with a number."""
    match test:
        case ast.BoolOp(values=parts):
            for part in parts:
                yield from _compared(part)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            yield from _compared(inner)
        case ast.Compare(left=ast.Name(id=name), comparators=[other]) if _is_number(other):
            yield name
        case ast.Compare(left=other, comparators=[ast.Name(id=name)]) if _is_number(other):
            yield name
        case ast.Compare(left=low, comparators=[ast.Name(id=name), high]) if _is_number(low) and _is_number(high):
            yield name


def _is_e(node: ast.expr) -> bool:
    """Whether a base is e, as ``math.e`` or in digits: its powers are exponentials, of tensors too."""
    match node:
        case ast.Attribute(attr="e"):
            return True
        case ast.Constant(value=float() as value):
            return abs(value - math.e) < 1e-3
    return False


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
        return True
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)
