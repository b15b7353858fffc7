"""Trees: what a random program computes, before it is decided how it is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nanguard import ops
from nanguard.term import Attr

Dims = tuple[int, ...]


class Misfit(Exception):
    """Operands whose shapes do not fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An argument (op "leaf"), a number (op "number") or an operation of the table; shared nodes are computed once.

    `value` is the name of a leaf or the value of a number.
    """

    op: str
    parts: tuple[Node, ...] = ()
    attrs: tuple[tuple[str, Attr], ...] = ()
    shape: Dims = ()
    value: object = None

    @property
    def attributes(self) -> dict[str, Attr]:
        """The attributes by name."""
        return dict(self.attrs)


@dataclass(frozen=True, slots=True)
class Leaf:
    """An argument of the programs: its shape, and the values that it takes."""

    shape: Dims
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    kind: str = "float"  # or mask, or index


LEAVES: Mapping[str, Leaf] = {
    "x": Leaf((2, 3)), "y": Leaf((2, 3)), "w": Leaf((3,)), "v": Leaf((2,)),
    "p": Leaf((2, 3), 0.0, 1.0), "q": Leaf((2, 3), 0.0, low_open=True), "b": Leaf((2, 3), -4.0, 1e30),
    "mask": Leaf((2, 3), kind="mask"), "labels": Leaf((2,), kind="index"),
}  # fmt: skip
MASKS = ("gt", "ge", "lt", "le", "eq", "ne", "isnan", "isinf", "isfinite",
         "logical_and", "logical_or", "logical_xor", "logical_not", "any", "all")  # fmt: skip


def leaf(name: str) -> Node:
    """An argument."""
    return Node("leaf", shape=LEAVES[name].shape, value=name)


def number(value: float | None) -> Node:
    """A number of the program, or None where an operand is left out."""
    return Node("number", value=value)


def is_mask(node: Node) -> bool:
    """Whether a node gives true and false."""
    return node.op in MASKS or (node.op == "leaf" and LEAVES[str(node.value)].kind == "mask")


def call(op: str, parts: Sequence[Node], **attrs: Attr) -> Node:
    """A node of an operation; raises `Misfit` where the shapes of its operands do not fit."""
    row = ops.rows()[op]
    full = {name: attrs.get(name, default) for name, default in row.signature.attrs}
    return Node(op, tuple(parts), tuple(full.items()), _shape(op, [part.shape for part in parts], full))


def walk(root: Node) -> Iterator[Node]:
    """The distinct nodes of a tree, operands first."""
    seen: set[Node] = set()

    def visit(node: Node) -> Iterator[Node]:
        if node not in seen:
            seen.add(node)
            for part in node.parts:
                yield from visit(part)
            yield node

    return visit(root)


def rebuilt(root: Node, old: Node, new: Node) -> Node:
    """The tree with one node replaced; raises `Misfit` where that does not fit."""
    done: dict[Node, Node] = {old: new}
    for node in walk(root):
        if node not in done:
            parts = tuple(done[part] for part in node.parts)
            done[node] = node if parts == node.parts else call(node.op, parts, **node.attributes)
    return done[root]


def leaves(root: Node) -> list[str]:
    """The names of the arguments that a tree uses, in a fixed order."""
    used = {node.value for node in walk(root) if node.op == "leaf"}
    return [name for name in LEAVES if name in used]


# --- shapes


def met(shapes: Sequence[Dims]) -> Dims:
    """The shape that several broadcast to."""
    rank = max((len(shape) for shape in shapes), default=0)
    result = []
    for place in range(-rank, 0):
        sizes = {shape[place] for shape in shapes if len(shape) >= -place} - {1}
        if len(sizes) > 1:
            raise Misfit(f"{shapes}")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def axis(dim: Attr, shape: Dims) -> int:
    """A dimension counted from the front."""
    if not isinstance(dim, int) or not -len(shape) <= dim < len(shape):
        raise Misfit(f"no dimension {dim} in {shape}")
    return dim % len(shape)


def _reduced(shape: Dims, dim: Attr, keepdim: Attr) -> Dims:
    if dim is None:
        return (1,) * len(shape) if keepdim else ()
    dims = {axis(one, shape) for one in (dim if isinstance(dim, tuple) else (dim,))}
    if keepdim:
        return tuple(1 if place in dims else size for place, size in enumerate(shape))
    return tuple(size for place, size in enumerate(shape) if place not in dims)


def _shape(op: str, shapes: Sequence[Dims], attrs: Mapping[str, Attr]) -> Dims:
    row = ops.rows()[op]
    match op, shapes:
        case "where", [_, (), ()]:
            raise Misfit(op)  # of two numbers it is one of the default dtype
        case "dot", [(a,), (b,)] if a == b:
            return ()
        case "matmul", [(a, b), (c,)] if b == c:
            return (a,)
        case "matmul", [(a, b), (c, d)] if b == c:
            return (a, d)
        case (("dot" | "matmul"), _):
            raise Misfit(op)
        case "cosine_similarity", [x, y, *_]:
            return _reduced(met([x, y]), attrs["dim"], False)
        case "normalize", [x, *_]:
            axis(attrs["dim"], x)
            return x
        case "cdist", [(a, b), (c, d)] if b == d:
            return (a, c)
        case (("cross_entropy" | "nll_loss"), [(a, _), (c,)]) if a == c:
            return (a,) if attrs["reduction"] == "none" else ()
        case (("cdist" | "cross_entropy" | "nll_loss" | "pdist"), _):
            raise Misfit(op)
        case "t", [(a, b)]:
            return (b, a)
        case "transpose", [x]:
            first, second = axis(attrs["dim0"], x), axis(attrs["dim1"], x)
            swapped = list(x)
            swapped[first], swapped[second] = x[second], x[first]
            return tuple(swapped)
        case "unsqueeze", [x] if attrs["dim"] in (-1, 0):
            return (*x, 1) if attrs["dim"] == -1 else (1, *x)
        case "squeeze", [x]:
            place = axis(attrs["dim"], x)
            return x[:place] + x[place + 1 :] if x[place] == 1 else x
        case "reshape", [x]:
            shape = attrs["shape"]
            if not isinstance(shape, tuple) or math.prod(shape) != math.prod(x):
                raise Misfit(op)
            return shape
        case "flatten", [x] if x:
            return (math.prod(x),)
        case "flip", [x]:
            axis(attrs["dims"], x)
            return x
        case "select", [x]:
            place, index = axis(attrs["dim"], x), attrs["index"]
            if not isinstance(index, int) or not 0 <= index < x[place]:
                raise Misfit(op)
            return x[:place] + x[place + 1 :]
        case "sort", [x]:
            axis(attrs["dim"], x)
            return x
        case "tril", [x] if len(x) == 2:
            return x
    if row.family == ops.REDUCE:
        if attrs["dim"] is None and attrs["keepdim"]:
            raise Misfit("torch has no such sum")
        return _reduced(shapes[0], attrs["dim"], attrs["keepdim"])
    if row.family == ops.AXIS:
        axis(attrs["dim"], shapes[0])
        return shapes[0]
    if "reduction" in attrs:
        shape = met(shapes[:2])
        if any(other != shape for other in shapes[:2]):
            raise Misfit(op)  # torch warns
        return shape if attrs["reduction"] == "none" else ()
    if row.family in (ops.ELEMENTWISE, ops.CAST) or op == "trunc":
        return met(shapes)
    raise Misfit(op)
