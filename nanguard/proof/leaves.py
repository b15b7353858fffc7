"""Leaves: where a term is cut to be run, and the values that are tried there."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from nanguard import ops
from nanguard.floats import Format
from nanguard.matching.interval import Interval
from nanguard.matching.match import Match, Matcher
from nanguard.matching.ranges import RangeTable, narrowed
from nanguard.ops.names import counts_up, reads_data
from nanguard.reading.narrowing import without_facts
from nanguard.term import Attr, Term, is_entry, make, number, rebuild, walk

# Inputs that a training run reaches: logits and scores to about a hundred, small differences, exact 0 and 1.
# Those at which something first fails in a dtype come before larger ones.
DIRECTED = (
    0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 5.0, -5.0, 10.0, -10.0, 12.0, -12.0, 17.0, -17.0, 20.0, -20.0, 30.0, -30.0,
    50.0, -50.0, 89.0, -89.0, 100.0, -100.0, 105.0, -105.0, 120.0, -120.0,
)  # fmt: skip
SMALL = (1e-5, -1e-5, 1e-4, -1e-4, 1e-3, -1e-3, 1e-2, -1e-2, 0.1, -0.1, 1e-6, -1e-6, 1e-7, -1e-7, 1e-8, -1e-8, 1e-12)
NEAR = (1.0, 10.0, 100.0)  # sizes at which nearly equal entries are tried
COARSE = (0.0, 1.0, -1.0, 10.0, -10.0, 20.0, -20.0, 100.0, -100.0, 120.0, -120.0)
_BASE_TWO = (150.0, -150.0)  # exponents of 2 that overflow and underflow in float32
_LARGEST = 128.0
_SMALLEST = 1e-6
_LEAST = 1e-20  # of an input that is not 0: a program does not meet one that is next to 0 and not 0
_DATA = re.compile(r"(^|[._])(targets?|labels?|gts?|ground_?truths?|y_true)$")  # arguments that nobody learns
_MAX_TERMS = 400  # nodes of a term that is still run


@dataclass(frozen=True, slots=True)
class Cut:
    """A term to run, its reference, and the leaves that get values: `free` ones are searched, the others fixed."""

    root: Term
    reference: Term
    free: tuple[Term, ...]
    fixed: tuple[tuple[Term, float], ...]
    index: tuple[Term, ...]  # integer classes
    targets: frozenset[Term]  # free leaves that get no gradient: masks, and what a loss compares with
    elementwise: bool
    bound: tuple[Term, ...]  # what the rule's variables stand for, where that is not what is cut
    scale: float  # errors are relative to the exact value or to this, whichever is larger
    makeshift: bool = False  # to be used where no other cut can be run
    padded: bool = False  # all classes are the first one, which a program may compare them with, not the last one

    def classes(self, shape: tuple[int, ...]) -> int:
        """The class of every entry beside leaves of a shape."""
        return shape[1] - 1 if len(shape) > 1 and not self.padded else 0


def cuts(match: Match, matcher: Matcher, reference: Term) -> Iterator[Cut]:
    """Where to cut, and how what a program picks by an index that is not known is run: all of it, or the first."""
    found = list(dict.fromkeys(_cuts(match, matcher, reference)))
    yield from found
    yield from (replace(cut, padded=True) for cut in found if _compares_classes(cut))
    yield from (_first_picked(cut) for cut in found if any(node.op == "pick" for node in walk(cut.root)))


def reached(leaf: Term, root: Term, ranges: RangeTable) -> Interval:
    """The values of a leaf with which a term is worked out: what a test on the way has shown of it restricts them."""
    interval = ranges.interval(leaf)
    for node in walk(root):
        if node.op == "assume" and without_facts(node) is leaf:
            interval = narrowed(interval, node)
    return interval


def _compares_classes(cut: Cut) -> bool:
    """Whether a program asks which class an entry has, as ``target != PAD`` does."""
    tests = (node for node in walk(cut.root) if (row := ops.row(node.op)) is not None and row.mask)
    return bool(cut.index) and any(arg in cut.index for test in tests for arg in test.args)


def _first_picked(cut: Cut) -> Cut:
    """A cut in which an index along a dimension picks the first entry."""
    return replace(
        cut, root=_first(cut.root), reference=_first(cut.reference), bound=tuple(map(_first, cut.bound)),
        free=tuple(map(_first, cut.free)), elementwise=False, makeshift=True,
    )  # fmt: skip


def _first(root: Term) -> Term:
    """A term with ``x[..., :1, ...]`` for each entry that it picks from a dimension that is known."""

    def change(node: Term, args: tuple[Term, ...]) -> Term:
        dim = node.attr("dim")
        if node.op != "pick" or not isinstance(dim, int) or dim < -1:
            return make(node.op, args, node.attrs)
        before: tuple[Attr, ...] = ("...",) if dim < 0 else (("slice", None, None, None),) * dim
        return make("index", args, (("key", (*before, ("slice", 0, 1, None))),))

    return rebuild(root, change)


def _cuts(match: Match, matcher: Matcher, reference: Term) -> Iterator[Cut]:
    """Where to cut: at what the rule's variables stand for where these are free, else at the leaves of the program.

    Bound terms are free when nothing relates them to each other or restricts them beyond their interval: then any
    value of the interval is taken by some input.
    """
    bound = [term for term in match.bindings.values() if term.op != "const"]
    inside = set(walk(match.root))
    at = list(_standing(bound, inside))
    shallow, deep = _cut(match, reference, at), _cut(match, reference, [])
    if match.variant.exact is not None and match.variant.stable is None:
        yield from filter(None, (deep,))  # what is lost is lost on the way to the leaves of the program
        yield from _at_layers(match, matcher, reference)
    elif unrelated(at, matcher) and not (shallow is not None and not shallow.elementwise and _shares(at)):
        yield from filter(None, (shallow, deep))
    else:
        yield from filter(None, (deep,))
        if all(matcher.ranges.interval(term).unknown for term in at):
            yield from filter(None, (shallow,))
        yield from _at_layers(match, matcher, reference)


def _standing(bound: Sequence[Term], inside: set[Term]) -> Iterator[Term]:
    """The parts of bound terms that stand in the program (a bound -x may only stand there as x), each once."""
    seen: set[Term] = set()
    waiting = list(reversed(bound))
    while waiting:
        term = waiting.pop()
        if term in seen:
            continue
        seen.add(term)
        if term in inside or not term.args:
            if term.op != "const":
                yield term
            continue
        waiting.extend(reversed(term.args))


def _at_layers(match: Match, matcher: Matcher, reference: Term) -> Iterator[Cut]:
    """A cut where layers with weights give what the match is worked out from."""
    cut = _cut(match, reference, _free_standing(match.root, matcher))
    if cut is not None:
        yield replace(cut, makeshift=True)


def _free_standing(root: Term, matcher: Matcher) -> list[Term]:
    """The outermost operands that a layer gives and of which nothing is known: its weights can make them anything.

    None where two of them share a layer, since they are related then.
    """
    found: dict[Term, None] = {}
    layers: set[Term] = set()
    stack = list(root.args)
    seen: set[Term] = set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if not matcher.ranges.interval(node).unknown or not node.args:
            stack.extend(node.args)
            continue
        below = set(_layers(node))
        if not below or layers & below:
            return []
        layers |= below
        found[node] = None
    return list(found)


def _layers(root: Term) -> Iterator[Term]:
    """The outermost parts of a term that come out of a layer with weights, or of something unknown."""
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.args and node.op != "either" and is_leaf(node):
            yield node
        else:
            stack.extend(node.args)


def _shares(terms: Sequence[Term]) -> bool:
    """Whether the entries of a term are parts of a whole, as those of a softmax are: they are not all 0."""
    rows = [row for term in terms for node in walk(term) if (row := ops.row(node.op)) is not None]
    return any(row.probability and row.family == ops.AXIS for row in rows)


def unrelated(terms: Sequence[Term], matcher: Matcher) -> bool:
    """Whether any values inside their intervals can come together."""
    seen: set[Term] = set()
    for term in terms:
        below = [node for node in walk(term) if node.op in ("symbol", "opaque", "either")]
        if seen & set(below):
            return False
        seen.update(below)
        interval = matcher.ranges.interval(term)
        if not interval.unknown and not _single(term):
            return False
    return True


def _single(term: Term) -> bool:
    """Whether every leaf is used once in a term, so that its interval is exact."""
    stack, seen = [term], set[Term]()
    while stack:
        node = stack.pop()
        if node.op == "const":
            continue
        if node in seen:
            return False  # what is used twice has leaves that are
        seen.add(node)
        stack.extend(node.args)
    return True


def _cut(match: Match, reference: Term, at: Sequence[Term]) -> Cut | None:
    """Cut the root and its reference at `at` and at the leaves of the program that lie elsewhere."""
    leaves: dict[Term, None] = {}
    indices: dict[Term, None] = {}
    targets: set[Term] = set()
    elementwise = drawn = True
    stack = [match.root, reference]
    seen: set[Term] = set()
    while stack:
        node = stack.pop()
        if node in seen or node.op == "const":
            continue
        seen.add(node)
        row = ops.row(node.op)
        if node in at or row is None or is_leaf(node):
            leaves[node] = None
            if _is_flat(node):
                targets.add(node)
            drawn = drawn and is_drawn(node)
            continue
        elementwise = elementwise and _by_entry(node)
        for name, arg in zip(row.operands, node.args, strict=False):
            if name == "index":
                indices[arg] = None
            if name == "target":
                targets.update(walk(arg))
        stack.extend(node.args)
        if len(seen) > _MAX_TERMS:
            return None
    free = tuple(leaf for leaf in leaves if leaf not in indices and not is_setting(leaf))
    fixed = tuple((leaf, typical(leaf)) for leaf in leaves if leaf not in indices and is_setting(leaf))
    if len(free) > 6 or targets.issuperset(free):  # nothing, or nothing that a gradient would come back to
        return None
    data = {leaf for leaf in free if leaf.op == "symbol" and _DATA.search(leaf.name)}
    if not data.union(targets).issuperset(free):
        targets |= data
    if drawn:  # random numbers alone: nothing is learnt through them
        targets.update(free)
    written = set(walk(match.root))
    inner = tuple(dict.fromkeys(term for term in match.bindings.values() if term in written and term not in leaves))
    inner = tuple(term for term in inner if term.op != "const")
    return Cut(
        match.root, reference, free, fixed, tuple(indices), frozenset(targets.intersection(free)),
        elementwise and not indices, inner, match.rule.scale,
    )  # fmt: skip


def is_drawn(leaf: Term) -> bool:
    """Whether a leaf is worked out from random numbers that calls draw, and from settings, alone."""
    ends = [node for node in walk(leaf) if not node.args and node.op != "const"]
    return all(is_setting(node) or ops.random(node) for node in ends)


def is_leaf(node: Term) -> bool:
    """Whether a term is a leaf of what can be run: nothing says how it is computed (a layer with weights, say)."""
    row = ops.row(node.op)
    if row is None or node.op in ("opaque", "either") or is_entry(node):
        return True
    return row.torch is None and row.means is None and row.exact is None and row.family == ops.COMPOSITE


def _has_weights(node: Term) -> bool:
    """Whether a term is a layer, whose weights are not among its operands."""
    row = ops.row(node.op)
    return row is not None and row.torch is None and any(name == "weight" for name, _ in row.signature.attrs)


def _by_entry(node: Term) -> bool:
    """Whether the operation acts entry by entry when every leaf is a vector of candidates."""
    family = ops.family(node)
    if family == ops.MOVEMENT:
        return node.op in ("pick", "masked_select", "reshape", "expand") and len(node.args) == 1
    return family in (ops.ELEMENTWISE, ops.CAST, ops.LEAF)


def _is_flat(root: Term) -> bool:
    """Whether no gradient goes through a term: it is made of masks, of what is detached, and of numbers."""
    stack, seen = [root], set[Term]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        row = ops.row(node.op)
        if _has_weights(node):
            return False
        if node.op in ("const", "detach") or node.attr("kind") == "mask" or node.attr("buffer"):
            continue
        if of_settings(node):
            continue
        if row is not None and (row.mask or row.flat):
            continue
        if not node.args:
            return False
        stack.extend(node.args)
    return True


def of_settings(node: Term) -> bool:
    """Whether a term is a tensor that is made of settings and sizes alone, as ``torch.linspace(-1, 1, x.size(0))``."""
    if node.op != "opaque" or not node.name.startswith("torch.") or reads_data(node.name):
        return False
    return counts_up(node.name) or all(arg.op == "const" or is_setting(arg) or _is_size(arg) for arg in node.args)


def _is_size(node: Term) -> bool:
    row = ops.row(node.op)
    return row is not None and row.size


def is_setting(leaf: Term) -> bool:
    """Whether a leaf is a number of the program, not a tensor, or something unknown that is made of such alone."""
    if leaf.op == "opaque" and leaf.name != "Parameter" and not reads_data(leaf.name):
        return bool(leaf.args) and all(arg.op == "const" or is_setting(arg) for arg in leaf.args)
    return leaf.op == "symbol" and leaf.attr("kind") in ("number", "size", "option")


_TYPICAL = (("eps", 1e-8), ("temp", 0.1), ("tau", 0.1), ("gamma", 2.0), ("alpha", 0.25), ("margin", 0.5))
_ORDINARY = 0.7  # a number at which nothing happens: 0, 0.5 and 1 are where formulas have their edges


def typical(leaf: Term) -> float:
    """The value of a hyper-parameter whose value is not known: what one of that name usually is."""
    if leaf.attr("kind") == "size":
        return 2.0
    value = next((value for word, value in _TYPICAL if word in leaf.name.lower()), _ORDINARY)
    low, high = leaf.attr("low", value), leaf.attr("high", value)
    return min(max(value, float(low)), float(high))  # type: ignore[arg-type]


def below_guards(root: Term) -> tuple[float, ...]:
    """What lies below the small constants of a term: where an eps or a bound takes over."""
    constants = {number(node) for node in walk(root) if node.op == "const"}
    return tuple(sorted(value / 8 for value in constants if value is not None and 0 < value < min(SMALL, key=abs)))


def slow_exponents(root: Term) -> tuple[float, ...]:
    """Exponents for a term that raises 2, or another base below e, to a power: they are larger than those of e."""
    powers = (node for node in walk(root) if node.op in ("exp2", "pow"))
    bases = (2.0 if node.op == "exp2" else number(node.args[0]) for node in powers)
    return _BASE_TWO if any(base is not None and 1 < base < math.e for base in bases) else ()


@lru_cache(maxsize=64)  # a few lists in a few dtypes are asked for again and again
def _rounded(form: Format, listed: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(form.round, listed))


def candidates(interval: Interval, listed: Sequence[float]) -> list[float]:
    """The values of a list that lie in an interval, with its ends and their neighbours, smallest first."""
    values = {value for value in _rounded(interval.format, tuple(listed)) if interval.holds(value)}
    for end in (interval.low, interval.high):
        if math.isfinite(end) and abs(end) <= _LARGEST:
            inner = interval.format.above(end) if end == interval.low else interval.format.below(end)
            values.update(map(interval.clip, (end, inner)))
    values = set(map(partial(_ordinary, interval), values))
    return sorted((value for value in values if interval.holds(value)), key=lambda value: (abs(value), value < 0))


def _ordinary(interval: Interval, value: float) -> float:
    """A value of an interval, or, for one that is next to 0 and not 0, a small one of ordinary size."""
    return value if value == 0 or abs(value) >= _LEAST else interval.clip(math.copysign(_SMALLEST, value))


def vectors(
    interval: Interval, count: int, listed: Sequence[float], rows: bool = False
) -> list[tuple[float, ...]]:  # fmt: skip
    """Vectors of `count` entries of an interval: all alike, one that stands out, alternating, nearly equal.

    With `rows`, the first half far from the second, too.
    """
    rest = _ordinary(interval, interval.clip(0.0))
    result: dict[tuple[float, ...], None] = {}
    for value in candidates(interval, listed):
        result[(value,) * count] = None
        result[(value,) + (rest,) * (count - 1)] = None
        opposite = _ordinary(interval, interval.clip(-value))
        result[tuple(value if index % 2 == 0 else opposite for index in range(count))] = None
        if rows and abs(value) >= 100:  # a row that lies far from another one
            result[(value,) * (count // 2) + (rest,) * (count - count // 2)] = None
        if value in NEAR:  # where a difference cancels: neighbouring entries, and the two halves
            beside = interval.clip(value * (1 + 2.0 ** -(interval.format.bits // 2)))
            result[tuple(value if index % 2 == 0 else beside for index in range(count))] = None
            result[(value,) * (count // 2) + (beside,) * (count - count // 2)] = None
    return list(result)


def diagonals(interval: Interval, side: int, listed: Sequence[float]) -> Iterator[tuple[float, ...]]:
    """Square matrices with one value of a list in their diagonal and zeros elsewhere, where an interval has both."""
    if interval.holds(0.0):
        for value in candidates(interval, listed):
            yield tuple(value if place % (side + 1) == 0 else 0.0 for place in range(side * side))


def close(choices: Sequence[Sequence[tuple[float, ...]]]) -> Iterator[tuple[tuple[float, ...], ...]]:
    """Combinations of nearly equal tensors: all constant but one, which has entries beside that constant."""
    for size in NEAR:
        constant = [next((v for v in choice if set(v) == {size}), None) for choice in choices]
        if any(vector is None for vector in constant):
            continue
        for place, choice in enumerate(choices):
            for vector in choice:
                if vector[0] == size and 0 < abs(vector[-1] - size) < 0.1 * size:
                    yield tuple(vector if index == place else first for index, first in enumerate(constant) if first)


def combined(choices: Sequence[Sequence[tuple[float, ...]]], most: int) -> list[tuple[tuple[float, ...], ...]]:
    """Combinations of one choice for each leaf, at most about `most`: all alike, and every one of thinned lists."""
    alike = list(zip(*choices, strict=False)) if len(choices) > 1 else []
    near = list(close(choices)) if len(choices) > 1 else []
    thinned: dict[int, Sequence[tuple[float, ...]]] = {}
    left = most
    for rank, index in enumerate(sorted(range(len(choices)), key=lambda index: len(choices[index]))):
        share = int(left ** (1 / (len(choices) - rank)))
        thinned[index] = _thin(choices[index], max(share, 2))
        left = max(left // max(len(thinned[index]), 1), 1)
    rest = itertools.product(*(thinned[index] for index in range(len(choices))))
    return list(dict.fromkeys([*alike[:most], *rest, *near]))


def _thin(choices: Sequence[tuple[float, ...]], count: int) -> Sequence[tuple[float, ...]]:
    """At most `count` of some choices, evenly spread, with the first and the last."""
    if len(choices) <= count:
        return choices
    return [choices[round(index * (len(choices) - 1) / (count - 1))] for index in range(count)]
