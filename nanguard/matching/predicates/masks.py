"""Tests, and selections by them."""

from __future__ import annotations

from nanguard import ops
from nanguard.matching.predicates.asked import Ranges, core
from nanguard.term import Term, number, walk


def replaced(ranges: Ranges, x: Term) -> bool:
    """A mask that is no test of `x` itself puts a number other than 0 in its place, so that the rest is safe."""
    x = core(x)
    x = core(x.args[0]) if x.op == "abs" else x
    if x.op != "where":
        return False
    kept = [branch for branch in x.args[1:] if number(branch) is None]
    safe = any(number(branch) for branch in x.args[1:])
    return len(kept) == 1 and safe and not any(node is core(kept[0]) for node in walk(x.args[0]))


def test(ranges: Ranges, x: Term) -> bool:
    """A comparison, a combination of such, or a mask: its logarithm is meant to be -inf where it is 0."""
    x = core(x)
    while ops.family(x) == ops.CAST and x.args:
        x = core(x.args[0])
    return ops.compares(x) or x.op in ("any", "all") or x.attr("kind") == "mask"


def catching(ranges: Ranges, m: Term) -> bool:
    """A test for entries that are nan or infinite, or a combination with one."""
    return ops.compares(m) and any(ops.catches(node) for node in walk(m))


def tests(ranges: Ranges, m: Term, x: Term) -> bool:
    """`m` is a comparison of `x` or of what `x` is one operation on, or a combination with such a comparison."""
    near = {x, *x.args}
    if m.op.startswith("logical"):
        return any(tests(ranges, part, x) for part in m.args)
    return ops.compares(m) and any(part in near and number(part) is None for part in m.args)


def tests_entries(ranges: Ranges, m: Term, x: Term) -> bool:
    """`m` is a comparison of something that `x` is worked out from entry by entry, or a combination with such a one."""
    if m.op.startswith("logical"):
        return any(tests_entries(ranges, part, x) for part in m.args)
    tested = {part for part in m.args if number(part) is None}
    waiting, seen = [x], set[Term]()
    while waiting and ops.compares(m):
        part = waiting.pop()
        if part in tested:
            return True
        if part not in seen and ops.family(part) in (ops.ELEMENTWISE, ops.CAST):
            seen.add(part)
            waiting.extend(part.args)
    return False


def selected(ranges: Ranges, x: Term) -> bool:
    """`x` is a selection by a test of what it selects from: an argument that was made safe."""
    if x.op != "where" or not ops.compares(x.args[0]):
        return False
    tested = {node for node in walk(x.args[0]) if node.op != "const"}
    return any(node in tested for branch in x.args[1:] for node in walk(branch))
