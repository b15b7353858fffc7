"""Ranges: which floats a term can take in the dtype under check."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nanguard import ops
from nanguard.floats import FORMATS, Format
from nanguard.matching import pattern
from nanguard.matching.interval import Interval, point
from nanguard.matching.normal import Normalizer
from nanguard.matching.rules import Relation
from nanguard.term import Term, fill, is_number, walk

# an argument or an attribute that is called a scale is above 0: where it is worked out shows whether it is
_SCALES = "scale|sigma|std|stddev|bandwidth|lengthscale|temperature|concentration|eps|epsilon"
_POSITIVE = re.compile(
    rf"(^|\.)((((?!.*(log|raw|inv))\w+_)?({_SCALES})|rate)(_?[0-9]|_[a-z])?|pi|(?<=\.)variance)( of an earlier turn)?$"
)
# one that is called a log probability is not above 0, and is 0 in silence
_LOG_PROBABILITY = re.compile(r"(^|[._])(log_?probs?|logps?|log_?probabilit(y|ies))$")
# a part of an argument that is called a mask is one
_MASK = re.compile(r"(^|_)masks?$")
# and one that is called the magnitude of a spectrum is never below 0, and 0 in silence
_MAGNITUDE = re.compile(r"(^|[._])(?<!log_)(mags?|magnitudes?|spectrograms?|psd)$")


@dataclass(slots=True)
class RangeTable:
    """Intervals of terms, remembered; `normal` is for the relations, which are about what a term means."""

    dtype: str = "float32"
    relations: dict[str, list[tuple[Term, Relation]]] = field(default_factory=dict)
    normal: Normalizer | None = None
    memo: dict[Term, Interval] = field(default_factory=dict)

    def interval(self, term: Term) -> Interval:
        """The floats that `term` can take, from what is known of its leaves."""
        for node in walk(term, known=self.memo):
            self.memo[node] = self.related(node, self.of(node))
        return self.memo[term]

    def of(self, node: Term) -> Interval:
        """The interval of one node from those of its operands."""
        if node.op == "const":
            return point(float(node.value), self.dtype) if is_number(node) else Interval(dtype=self.dtype)  # type: ignore[arg-type]
        if node.op in ("symbol", "variable"):
            return self.leaf(node)
        if node.op == "assume":
            return self.assumed(node)
        named = node.name if node.op == "opaque" else str(node.attr("index")).strip("'") if node.op == "pick" else ""
        if named and _POSITIVE.search(named):  # ``output["sigma"]``, too
            return Interval(0.0, low_open=True, dtype=self.dtype)
        if named and node.op == "pick" and _MASK.search(named):
            return Interval(0.0, 1.0, integer=True, dtype=self.dtype)
        row = ops.row(node.op)
        args = self.operands(node, row)
        if row is not None and row.range is not None and (args or row.family == ops.LEAF):
            return self.in_dtype(self.folded(node, args) if row.commutes and len(args) > 2 else row.range(*args))
        meaning = ops.meaning(node.op)
        if meaning is not None and row is not None:
            bound = dict(zip(row.operands, node.args, strict=True))
            return self.interval(fill(meaning, bound, dict(node.attrs)))
        return Interval(dtype=self.dtype)

    def operands(self, node: Term, row: ops.Op | None) -> tuple[Interval | None, ...]:
        """The intervals of a node's operands; None stands for one that may be left out and is."""
        declared = row.signature.operands if row is not None else ()
        left_out = {index for index, (_, default) in enumerate(declared) if default is None}
        return tuple(
            None
            if index in left_out and arg.op == "const" and arg.value is None
            else self.memo.get(arg) or self.interval(arg)
            for index, arg in enumerate(node.args)
        )

    def folded(self, node: Term, args: Sequence[Interval | None]) -> Interval:
        """The interval of a sum or product of any number of operands (a normal form)."""
        row = ops.row(node.op)
        result = args[0] or Interval(dtype=self.dtype)
        for arg in args[1:]:
            result = row.range(result, arg) if row is not None and row.range is not None else result
        return result

    def in_dtype(self, interval: Interval) -> Interval:
        return interval if interval.dtype == self.dtype else replace(interval, dtype=self.dtype)

    def leaf(self, node: Term) -> Interval:
        """What is known of an argument or an attribute by its kind and by the facts that reading found."""
        low, high = node.attr("low", -math.inf), node.attr("high", math.inf)
        kind = node.attr("kind")
        ends = bool(node.attr("low_open")), bool(node.attr("high_open"))
        facts = Interval(float(low), float(high), *ends, dtype=self.dtype)  # type: ignore[arg-type]
        if kind == "tensor" and facts.unknown and not node.attr("raw"):
            if _POSITIVE.search(node.name):
                return replace(facts, low=0.0, low_open=True)
            if _MAGNITUDE.search(node.name):
                return replace(facts, low=0.0)
            if _LOG_PROBABILITY.search(node.name):
                return replace(facts, high=0.0)
        match kind:
            case "size":
                return replace(facts, low=max(facts.low, 1.0), integer=True, nonzero=True)
            case "number":
                return replace(facts, nonzero=facts.unknown)
            case "mask":
                return replace(facts, low=0.0, high=1.0, integer=True)
            case "index":
                return replace(facts, low=max(facts.low, 0.0), integer=True)
        return facts

    def assumed(self, node: Term) -> Interval:
        """The operand's interval, narrowed by what a test on the way has shown."""
        return narrowed(self.memo[node.args[0]], node)

    def related(self, node: Term, interval: Interval) -> Interval:
        """The interval, narrowed by the relations that the meaning of the node falls under."""
        if self.normal is None or not self.relations:
            return interval
        head = self.normal.head(node)
        for source, relation in self.relations.get(head.op, ()):
            for bound in pattern.match(source, head, leave_rest=False):
                if all(c.holds(bound.terms, bound.attrs, self) for c in relation.when):
                    form = interval.format
                    interval = interval.within(_rounded(relation.low, form, -1), _rounded(relation.high, form, 1))
                    if relation.within is not None:
                        hull = self.interval(bound.terms[relation.within])
                        interval = interval.within(*_widened(hull))
                    break
        return interval


def narrowed(interval: Interval, node: Term) -> Interval:
    """An interval, narrowed by what a test on the way has shown: the facts of an ``assume``."""
    low, high = node.attr("low"), node.attr("high")
    found = interval.within(
        -math.inf if low is None else float(low),  # type: ignore[arg-type]
        math.inf if high is None else float(high),  # type: ignore[arg-type]
        bool(node.attr("low_open")),
        bool(node.attr("high_open")),
    )
    return replace(found, nonzero=True) if node.attr("nonzero") else found


def _widened(hull: Interval) -> tuple[float, float]:
    """The ends of a range, with what weights add that sum to 1 only give or take their rounding."""
    slack = 1e-4 * max((abs(end) for end in (hull.low, hull.high) if math.isfinite(end)), default=0.0)
    return hull.low - slack, hull.high + slack


def _rounded(bound: float, form: Format, outwards: int) -> float:
    """A bound of a relation in a dtype: one that is no whole number has what rounding adds in float32, as 1.0000004."""
    if math.isinf(bound) or bound.is_integer() or form.eps <= FORMATS["float32"].eps:
        return bound
    return bound + outwards * 8 * form.eps * abs(bound)


def range_table(dtype: str, relations: Sequence[Relation], normal: Normalizer) -> RangeTable:
    """A table for one dtype, with the relations of the rule folder."""
    compiled: dict[str, list[tuple[Term, Relation]]] = {}
    for relation in relations:
        source = normal.head(relation.source)
        compiled.setdefault(source.op, []).append((source, relation))
    return RangeTable(dtype, compiled, normal)
