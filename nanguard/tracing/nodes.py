"""Nodes: what each node of an fx graph computes, as a term, kept right across writes in place."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from nanguard import ops
from nanguard.reading.narrowing import narrow, of_every_entry, without_facts
from nanguard.stated import Range
from nanguard.term import UNKNOWN, Attr, Term, const, make, symbol
from nanguard.tracing.calls import JOINS, PRIVATE, RANDOM, SIZES, called, known, pure, spell, spelled, writes
from nanguard.tracing.places import GRAD

_PROPERTIES = {"T": "t", "mT": "t", "H": "t", "mH": "t", "data": "detach", "real": "contiguous"}
# Functions that give values together with their indices, when they are told a dimension.
_PAIRS = frozenset({"max", "min", "median", "nanmedian", "mode", "sort", "topk", "kthvalue", "cummax", "cummin"})
_COPIES = frozenset({
    "clone", "gather", "index_select", "take", "take_along_dim", "repeat", "repeat_interleave", "tile",
    "flip", "roll", "masked_select", "sort", "topk", "tril", "triu", "item", "tensor",
})  # fmt: skip
_LOOKS = frozenset({"abs", "all", "any", "amax", "amin"})  # what depends on every entry of its operand


@dataclass(frozen=True, slots=True)
class Passed:
    """A test on the way of a run: once the nodes up to `after` were there, the truth of `node` was `outcome`.

    The outcome is None where the entries of a tensor left torch in another way: as a number, a list, a text.
    """

    after: fx.Node
    node: fx.Node
    outcome: bool | None


@dataclass(slots=True)
class Reader:
    """Reads the nodes of a graph in their order.

    `terms` has each node's term as it was computed; `current` what the value is now, after what was written
    into it; `numbers` are equal for nodes whose values are the same for certain.
    """

    examples: Mapping[fx.Node, Any] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)  # of the inputs, by their names
    terms: dict[fx.Node, Term] = field(default_factory=dict)
    current: dict[fx.Node, Term] = field(default_factory=dict)
    numbers: dict[fx.Node, int] = field(default_factory=dict)
    dropped: dict[fx.Node, tuple[str, ...]] = field(default_factory=dict)
    written: set[fx.Node] = field(default_factory=set)  # nodes whose storage was written into after they were made
    _storage: dict[fx.Node, fx.Node] = field(default_factory=dict)
    _same: dict[fx.Node, fx.Node] = field(default_factory=dict)  # the node that first had this very tensor
    _shapes: set[fx.Node] = field(default_factory=set)
    _keys: dict[object, int] = field(default_factory=dict)
    _first: dict[int, fx.Node] = field(default_factory=dict)
    _grad: bool = True  # whether gradients are recorded at the node that is being read

    def read(self, node: fx.Node) -> Term:
        """The term of the next node."""
        number = self.number(node)
        self.numbers[node] = number
        self._first.setdefault(number, node)
        self._storage[node], self._same[node] = node, node
        self._grad = node.meta.get(GRAD) is not False
        term = self.term(node)
        self.terms[node] = self.current[node] = term
        target = writes(node)
        if target is not None and (target not in self.examples or torch.is_tensor(self.examples[target])):
            self.write(node, target, term)
        elif node.op in ("call_function", "call_method") and self.is_view(node, term):
            self._storage[node] = self._storage[node.all_input_nodes[0]]
        return term

    # --- identity --------------------------------------------------------------------------------------

    def number(self, node: fx.Node) -> int:
        """The number of the value: that of an earlier node which computed the same from the same."""
        fresh = len(self._keys)
        if not pure(node):
            self._keys[node] = fresh
            return fresh
        kwargs = node.kwargs
        try:
            key = (node.target, *[self.key(arg) for arg in node.args], self.key(kwargs) if kwargs else ())
            return self._keys.setdefault(key, fresh)
        except TypeError:  # an argument that cannot be hashed
            self._keys[node] = fresh
            return fresh

    def key(self, value: Any) -> object:
        kind = type(value)
        if kind is fx.Node:
            return self.numbers[value]
        if kind is float or kind is int:
            return (kind, value)
        match value:
            case tuple() | list():
                return tuple(map(self.key, value))
            case dict():
                return tuple((name, self.key(item)) for name, item in value.items())
            case slice():
                return ("slice", self.key(value.start), self.key(value.stop), self.key(value.step))
        return (kind, value)

    def is_view(self, node: fx.Node, term: Term) -> bool:
        """Whether the result may share its storage with the first operand, as a size cannot."""
        if ops.size(term):
            return False
        if node.target is not getattr and node.target is not operator.getitem:
            row = ops.row(term.op)
            if row is None or (row.family != ops.MOVEMENT and row.family != ops.CAST):
                return False
        return bool(node.all_input_nodes) and called(node) not in _COPIES and called(node) not in JOINS

    def write(self, node: fx.Node, target: fx.Node, term: Term) -> None:
        """A write into `target`: all names of this tensor have the new value, views of it an unknown."""
        self._same[node], self._storage[node] = self._same[target], self._storage[target]
        for other in self._storage:
            if self._storage[other] is not self._storage[node] or other is node:
                continue
            self.written.add(other)
            if self._same[other] is self._same[node]:
                self.current[other], self.numbers[other] = term, self.numbers[node]
            else:
                self.numbers[other] = len(self._keys)
                self._keys[node, other] = self.numbers[other]
                self.current[other] = make("opaque", (), (("name", f"{other.name} after {node.name}"),))

    # --- tests -----------------------------------------------------------------------------------------

    def passed(self, node: fx.Node, outcome: bool | None) -> frozenset[Term]:
        """Take note of how a test of a value went; gives the terms that are in doubt then.

        A value that was compared with a number is narrowed accordingly.  Of what else the test has looked at, more is
        known than a term can say.
        """
        test = self.current[node]
        seen = frozenset(_looked_at(test))
        if outcome is None:
            return seen
        found, went = of_every_entry(without_facts(test), outcome)
        if found is None:
            return seen
        understood: set[Term] = set()
        for other, term in self.current.items():
            narrowed = narrow(term, found, went)
            if narrowed is not term:
                understood.add(term)
                self.current[other] = narrowed
        return seen - understood

    # --- terms -----------------------------------------------------------------------------------------

    def operand(self, node: fx.Node) -> Term:
        """What another node is to the one that is being read: it has no gradient if it was made without."""
        term = self.current[node]
        if not self._grad or not node.meta or node.meta.get(GRAD) is not False:
            return term
        return make("detach", (term,)) if node.op.startswith("call") and term.op != "const" else term

    def term(self, node: fx.Node) -> Term:
        match node.op:
            case "placeholder":
                name = str(node.target)
                return symbol(name, self.kind(node), **self.ranges.get(name, Range()).facts())
            case "get_attr":
                return symbol(f"self.{node.target}", self.kind(node))
            case "output":
                return const(None)
            case "call_module":
                return self.opaque(node)
        if node.target is torch._C._set_grad_enabled:
            return const(None)
        special = self.special(node) if known(node.target).special else None
        if special is not None:
            return special
        args = [self.attr(arg) for arg in node.args]
        if isinstance(node.target, torch._ops.OpOverload) and called(node) in PRIVATE:
            args = args[:2]  # the last says whether float16 becomes float32 on its way
        keywords = {key: self.attr(value) for key, value in node.kwargs.items()} if node.kwargs else {}
        for name, swapped in spelled(node.op, node.target):
            found = spell(name, node.target, args[::-1] if swapped else args, keywords)
            if found is not None:
                if found.dropped:
                    self.dropped[node] = found.dropped
                return found.term
        return self.opaque(node)

    def kind(self, node: fx.Node) -> str:
        """The kind of symbol that an input is, by its example."""
        example = self.examples.get(node)
        if not isinstance(example, torch.Tensor):
            return "tensor"
        if example.dtype == torch.bool:
            return "mask"
        return "tensor" if example.is_floating_point() or example.is_complex() else "index"

    def opaque(self, node: fx.Node) -> Term:
        """What nothing is known of; equal for nodes that compute the same from the same."""
        operands = map(self.operand, node.all_input_nodes)
        first = self._first[self.numbers[node]]
        kept = tuple(term for term in operands if term.op != "const")
        return make("opaque", kept, (("name", first.name),))

    def attr(self, value: Any) -> Attr:
        """An argument of a node as the table takes it."""
        if type(value) is fx.Node:
            return self.operand(value)
        match value:
            case tuple() | list():
                return tuple(map(self.attr, value))
            case slice():
                return ("slice", self.attr(value.start), self.attr(value.stop), self.attr(value.step))
            case torch.dtype():
                return str(value).removeprefix("torch.")
            case bool() | int() | str() | None:
                return value
            case float():
                return float(value)  # of numpy, maybe
        return "..." if value is ... else str(value)

    def special(self, node: fx.Node) -> Term | None:
        """Calls that are no plain function of terms: properties, indexing, sizes, joins, random numbers."""
        name = called(node)
        if node.target is getattr:
            return self.property(node)
        if node.target is operator.getitem or name == "__getitem__":
            return self.item(node)
        if node.target is operator.setitem or name == "__setitem__":
            return self.assigned(node)
        if node.op == "call_method" and name in SIZES:
            return self.size(node)
        if name in JOINS:
            parts = node.args[0] if node.args else None
            if isinstance(parts, tuple | list) and all(isinstance(part, fx.Node) for part in parts):
                return make("stack", tuple(self.operand(part) for part in parts if isinstance(part, fx.Node)))
            return self.opaque(node)
        if name in RANDOM:
            low, high = RANDOM[name]
            return symbol(node.name, low=low, high=high)
        return self.filled(node, name)

    def filled(self, node: fx.Node, name: str) -> Term | None:
        """Writes that leave nothing of what was there."""
        if name == "zero_":
            return const(0.0)
        if name in ("fill_", "copy_") and len(node.args) == 2:
            value = self.attr(node.args[1])
            return value if isinstance(value, Term) else const(value)
        return self.opaque(node) if name in ("uniform_", "normal_") else None

    def property(self, node: fx.Node) -> Term:
        """``x.T``, ``x.shape``, ``x.max(1).values``"""
        operand, name = node.args[0], str(node.args[1])
        assert isinstance(operand, fx.Node)
        if name in _PROPERTIES:
            return make(_PROPERTIES[name], (self.operand(operand),))
        if name == "shape":
            self._shapes.add(node)
        if name in ("shape", "ndim"):
            return symbol(f"{operand.name}.{name}", "size")
        if name in ("values", "indices") and self.is_pair(operand):
            return self.of_pair(operand, name == "indices")
        return self.opaque(node)

    def size(self, node: fx.Node) -> Term:
        """``x.size(1)`` and ``x.shape[1]`` are one symbol."""
        operand, *rest = node.args
        assert isinstance(operand, fx.Node)
        if called(node) == "size":
            dim = rest[0] if rest else node.kwargs.get("dim")
            if dim is None:
                self._shapes.add(node)
                return symbol(f"{operand.name}.shape", "size")
            return symbol(f"{operand.name}.shape[{dim}]", "size")
        return symbol(f"{operand.name}.{called(node)}({', '.join(map(str, rest))})", "size")

    def item(self, node: fx.Node) -> Term:
        """``x[key]`` of a shape, a tuple or a tensor."""
        operand, key = node.args[0], node.args[1]
        assert isinstance(operand, fx.Node)
        x = self.operand(operand)
        if operand in self._shapes:
            return symbol(f"{x.name}[{key}]", "size")
        if self.is_pair(operand):
            return self.of_pair(operand, key in (1, -1))
        if called(operand) == "broadcast_tensors" and isinstance(key, int):
            part = self.attr(operand.args[key])
            return part if isinstance(part, Term) else const(part)
        inside = _nodes_in(key)
        if not inside:
            attr = self.attr(key)
            return (
                self.opaque(node) if isinstance(attr, str) and attr != "..." else make("index", (x,), (("key", attr),))
            )
        masks = [inner for inner in inside if self.is_mask(inner)]
        if len(masks) == 1 and len(inside) == 1:
            return make("masked_select", (x, self.operand(masks[0])))
        return make("pick", (x,), (("dim", None), ("index", UNKNOWN)))

    def assigned(self, node: fx.Node) -> Term:
        """What ``x[mask] = value`` leaves in x."""
        operand, key, value = node.args
        if isinstance(operand, fx.Node) and isinstance(key, fx.Node) and self.is_mask(key):
            held = self.attr(value)
            new = held if isinstance(held, Term) else const(held)
            return make("overwrite", (self.operand(operand), self.operand(key), new))
        return self.opaque(node)

    def is_mask(self, node: fx.Node) -> bool:
        example = self.examples.get(node)
        if isinstance(example, torch.Tensor):
            return example.dtype == torch.bool
        term = self.current[node]
        return ops.compares(term) or term.attr("kind") == "mask"

    def is_pair(self, node: fx.Node) -> bool:
        """Whether a node gives values together with indices."""
        if node.op not in ("call_function", "call_method") or called(node) not in _PAIRS:
            return False
        term = self.terms[node]
        return term.op == "sort" or term.attr("dim") is not None

    def of_pair(self, node: fx.Node, indices: bool) -> Term:
        term = self.terms[node]
        if not indices:
            return term
        return make("argmax", term.args[:1], (("dim", term.attr("dim")),))


def _looked_at(test: Term, depth: int = 4) -> Iterator[Term]:
    """The values that a test looks at: what is compared, and what that is a mean, a sum, an entry of."""
    if test.op == "const":
        return
    if not ops.compares(test):
        yield test
    each = ops.compares(test) or test.op in _LOOKS or ops.family(test) in (ops.MOVEMENT, ops.CAST)
    if (each or ops.family(test) == ops.REDUCE) and depth:
        for arg in test.args:
            if each or arg.args:  # a sum or a mean says next to nothing about the entries of an input
                yield from _looked_at(arg, depth - 1)


def _nodes_in(value: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(value, lambda node: found.append(node) or node)  # type: ignore[func-returns-value]
    return found
