"""Facts: what tests on the way have shown of values inside of a term, and whether an input comes that way.

What they have shown of an input itself restricts the inputs that are tried, see `leaves.reached`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, given
from nanguard.proof.run import run
from nanguard.term import Term


def tested(cut: Cut) -> tuple[Term, ...]:
    """The values inside of a term of which a test was passed.

    Not those inside of a selection, which is worked out for the entries that its test drops, too.
    """
    return tuple(node for node in _worked_out(cut.root) if node.op == "assume" and node.args[0] not in cut.free)


def _worked_out(root: Term) -> Iterator[Term]:
    below, seen = [root], set[Term]()
    while below:
        node = below.pop()
        if node in seen or node.op in ("where", "overwrite"):
            continue
        seen.add(node)
        yield node
        below.extend(node.args)


def agree(facts: tuple[Term, ...], cut: Cut, point: Point, dtype: str) -> bool:
    """Whether each test is passed by an entry at least: the others may be among those that a mask has dropped."""
    plain = {leaf: tensor.detach() for leaf, tensor in given(cut, point.values, point.shape, dtype).items()}
    return all(bool(_passed(fact, run(fact.args[0], plain)).any()) for fact in facts)


def _passed(fact: Term, values: Tensor) -> Tensor:
    """Which entries are as an ``assume`` says."""
    low, high = (_bound(fact, "low", -math.inf), _bound(fact, "high", math.inf))
    passed = (values > low) if fact.attr("low_open") else (values >= low)
    passed = passed & ((values < high) if fact.attr("high_open") else (values <= high))
    passed = passed & (values != 0) if fact.attr("nonzero") else passed
    return passed & values.isfinite() if fact.attr("finite") else passed | values.isnan()


def _bound(fact: Term, name: str, otherwise: float) -> float:
    value = fact.attr(name)
    return otherwise if value is None else float(value)  # type: ignore[arg-type]
