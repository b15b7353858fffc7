"""Members: attributes and items of values, read and written."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from nanguard import ops
from nanguard.ops.names import CONSTANTS
from nanguard.reading.calls import ENTRIES, of_every_module
from nanguard.reading.containers import entry, with_item
from nanguard.reading.narrowing import is_mask, narrow, places_of
from nanguard.reading.recording import COUNTER, Recording
from nanguard.reading.state import Frame, State
from nanguard.reading.values import (
    Bound,
    Built,
    Choice,
    Class,
    External,
    Function,
    Instance,
    Items,
    Many,
    Partial,
    Shape,
    Super,
    Table,
    TensorMethod,
    Value,
    alternatives,
    content,
    either,
    known,
    opaque,
    terms_in,
    to_term,
)
from nanguard.reading.walking import written
from nanguard.term import UNKNOWN, Attr, Term, const, make, symbol, walk


class Members(Recording):
    """Looks up attributes and items, and binds the left sides of assignments."""

    def attribute(self, node: ast.Attribute, state: State, frame: Frame) -> Value:
        return self.member(self.evaluate(node.value, state, frame), node.attr, node, state, frame)

    def member(self, value: Value, name: str, node: ast.expr, state: State, frame: Frame) -> Value:
        """``value.name``"""
        match value:
            case External(name=module):
                full = f"{module}.{name}"
                return self.plain(External(full))
            case Instance():
                return self.instance_member(value, name, state, frame)
            case Super(instance=instance, after=after):
                found = instance.cls.find(name, after)
                return Bound(instance, found) if isinstance(found, Function) else External(f"builtins.super.{name}")
            case Class():
                found = value.find(name)
                return found if found is not None else External(f"{value.name}.{name}")
            case Term():
                return self.term_member(value, name, node, state, frame)
            case Choice(values=values):
                return either([self.member(part, name, node, state, frame) for part in values])
            case Built() if (method := _of_distribution(value, name)) is not None:
                return method
            case Built() if value.name.startswith("torch.nn.") and (inherited := of_every_module(name)) is not None:
                return Partial(inherited, (value,), {})
            case Table():
                return Partial(External(f"builtins.dict.{name}"), (value,), {}) if name in ENTRIES else opaque(name)
            case Items() | Many() | Built() | Partial():
                return TensorMethod(to_term(value), name)
            case TensorMethod(term=term, name=held):  # an attribute of an attribute: layer.weight.data
                found = opaque(f"{held}.{name}", (term,))
                return make("detach", (found,)) if name == "data" else found
        return opaque(name, tuple(terms_in(value)))

    def plain(self, value: External) -> Value:
        """A name of another file as a number or text, if it is that there; functions are followed when called."""
        if value.name in CONSTANTS:  # from torch import inf
            return const(CONSTANTS[value.name])
        found = self.followed(value)
        return found if isinstance(found, Term) and found.op == "const" else value

    def instance_member(self, value: Instance, name: str, state: State, frame: Frame) -> Value:
        if name in value.attrs:
            return value.attrs[name]
        found = value.cls.find(name)
        if isinstance(found, Function):
            if found.decorated("property", "cached_property"):
                return self.call_function(found, (), {}, value, state, frame)
            return found if found.decorated("staticmethod") else Bound(value, found)
        if found is None and (inherited := of_every_module(name)) is not None:
            return Partial(inherited, (value,), {})
        return found if found is not None else symbol(f"self.{name}")

    def term_member(self, term: Term, name: str, node: ast.expr, state: State, frame: Frame) -> Value:
        match name:
            case "shape":
                return Shape(term)
            case "T" | "mT" | "H":
                return self.operation("Tensor.t", (term,), {}, node, state, frame) or term
            case "data":
                return make("detach", (to_term(term),))
            case "values" if _is_pair(term):
                return term
            case "indices" if _is_pair(term):
                return symbol(f"indices of {term.op}", "index")
            case "ndim":
                return symbol("ndim", "size")
            case "grad":  # a tensor that nothing is differentiated through
                return make("detach", (opaque("grad", tuple(terms_in(term))),))
            case "requires_grad":
                return opaque("requires_grad", (term,))
            case "dtype" | "device" | "is_cuda" | "training":
                return symbol(f"{term.op}.{name}", "option", default=None)
        return TensorMethod(term, name)

    def subscript(self, node: ast.Subscript, state: State, frame: Frame) -> Value:
        value = self.evaluate(node.value, state, frame)
        if isinstance(node.slice, ast.Slice) and isinstance(value, Items | Many):
            return Many(self.element(value))
        if isinstance(value, Shape):
            return self.size_of(value, node, state, frame)
        if isinstance(value, Items):
            return self.item(value, node, state, frame)
        if isinstance(value, Table):
            return entry(value, self.evaluate(node.slice, state, frame))
        if isinstance(value, Many):
            self.evaluate(node.slice, state, frame)
            return value.item
        if isinstance(value, Term):
            return self.index(value, node, state, frame)
        self.evaluate(node.slice, state, frame)
        if isinstance(value, TensorMethod):  # of an attribute: batch.lengths[i] is not batch.masks[i]
            return opaque(f"{value.name}[{written(node.slice)[:60]}]", (value.term,))
        return value if isinstance(value, External) else opaque("item", tuple(terms_in(value)))

    def size_of(self, value: Shape, node: ast.Subscript, state: State, frame: Frame) -> Value:
        """``x.shape[1]``: the number of entries along a dimension, of all where that is not known."""
        key = known(self.evaluate(node.slice, state, frame)) if not isinstance(node.slice, ast.Slice) else None
        return size(value.term, key.value if key is not None else written(node.slice))

    def item(self, value: Items, node: ast.Subscript, state: State, frame: Frame) -> Value:
        key = known(self.evaluate(node.slice, state, frame))
        if key is not None and isinstance(key.value, int) and -len(value.items) <= key.value < len(value.items):
            return value.items[key.value]
        return either(list(value.items)) if value.items else opaque("item")

    def index(self, term: Term, node: ast.Subscript, state: State, frame: Frame) -> Value:
        """``x[key]``: a view for a plain key, a selection for a mask, a pick for indices."""
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        values = [self.key(part, state, frame) for part in parts]
        plain = [value for value in values if not isinstance(value, Term)]
        if values in ([0], [1]) and all(map(_is_pair, alternatives(term))):
            return term if values == [0] else symbol(f"indices of {term.op}", "index")
        if len(values) == 1 and isinstance(values[0], str) and values[0] != "...":  # of a table that is an argument
            result = make("pick", (term,), (("dim", None), ("index", written(node.slice)[:60])))
        elif len(plain) == len(values):
            result = make("index", (term,), (("key", tuple(plain)),))
        elif len(values) == 1 and isinstance(values[0], Term) and all(map(is_mask, alternatives(values[0]))):
            result = make("masked_select", (self.selected(term, values[0]), values[0]))
        elif len(values) == 1 and isinstance(values[0], Term) and _is_identity(term):  # the rows of the classes
            result = make("to", (make("one_hot", (values[0],), (("num_classes", UNKNOWN),)),))
        else:
            tests = {places_of(value) for value in values if isinstance(value, Term)}
            test = tests.pop() if len(tests) == 1 else None
            held = self.selected(term, test) if test is not None and all(map(is_mask, alternatives(test))) else term
            result = make("pick", (held,), (("dim", None), ("index", written(node.slice)[:60])))
        return self.record(result, node, state, frame)

    def selected(self, term: Term, mask: Term) -> Term:
        """What a mask leaves of a value, each alternative narrowed by the mask that was worked out beside it."""
        if mask.op != "either":
            return narrow(term, mask, True)
        pairs, base = self.choices((term, mask))
        result = to_term(either([narrow(to_term(part), to_term(test), True) for part, test in pairs]))
        if base is not None and len(alternatives(result)) == len(alternatives(base)):
            self.kin[result] = base
        return result

    def key(self, node: ast.expr, state: State, frame: Frame) -> Attr:
        """One part of an index: an int, None, "...", a slice, or the term of a tensor or of such a slice."""
        if isinstance(node, ast.Slice):
            bounds = [
                known(self.evaluate(part, state, frame)) if part is not None else const(None)
                for part in (node.lower, node.upper, node.step)
            ]
            plain = [bound.value for bound in bounds if bound is not None]
            return ("slice", *plain) if len(plain) == len(bounds) else opaque("slice")
        value = self.evaluate(node, state, frame)
        constant = known(value)
        return constant.value if constant is not None else to_term(value)

    def element(self, value: Value) -> Value:
        """One item of an iterable, standing for all."""
        match value:
            case Items(items=items) if items:
                return either(list(items))
            case Many(item=item):
                return item
            case Shape(term=term):
                return make("numel", (term,))
            case Table(items=items) if items:
                return opaque("key")
            case Term() if value.op == "arange" or (value.op == "opaque" and value.name == "builtins.range"):
                return COUNTER
            case Term():
                return make("pick", (value,), (("dim", 0), ("index", "item")))
        return opaque("item", tuple(terms_in(value)))

    def assign(self, target: ast.expr, value: Value, state: State, frame: Frame) -> None:
        """Bind the names of an assignment's left side."""
        match target:
            case ast.Name(id=name):
                state.env[name] = value
            case ast.Starred(value=inner):
                self.assign(inner, Many(self.element(value)), state, frame)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, item in zip(targets, self.unpacked(value, targets), strict=True):
                    self.assign(part, item, state, frame)
            case ast.Attribute(value=owner, attr=name):
                held = self.evaluate(owner, state, frame)
                if isinstance(held, Instance):
                    before = held.attrs.get(name)
                    before = before if frame.qualname.endswith("__init__") else None
                    again = held.origins.get(name) is target and isinstance(before, Term) and isinstance(value, Term)
                    self.write(held, name, either([before, value]) if again and before is not None else value)
                    held.origins[name] = target
            case ast.Subscript():
                self.store(target, value, state, frame)

    def write(self, instance: Instance, name: str, value: Value) -> None:
        """Set an attribute of an object."""
        before = instance.attrs.get(name)
        instance.held[name] = value
        if type(value) is Term:
            self.handed.add(value)
        if before is not None and not (_unread(before) or _unread(value)) and content(before) == content(value):
            return
        instance.equal = None
        if instance not in self.building:
            self.writes += 1

    def unpacked(self, value: Value, targets: Sequence[ast.expr]) -> list[Value]:
        """The values for the parts of a tuple on the left side."""
        count = len(targets)
        if isinstance(value, Items) and len(value.items) == count:
            return list(value.items)
        if isinstance(value, Shape):
            known_places = not any(isinstance(target, ast.Starred) for target in targets)
            return [size(value.term, place if known_places else f"{count}:{place}") for place in range(count)]
        if isinstance(value, Instance) and len(value.attrs) == count and value.cls.find("forward") is None:
            return list(value.attrs.values())  # the fields of a named tuple
        if isinstance(value, Term) and value.op == "numel":  # some of the sizes
            return [size(value.args[0], f"{value.attr('dim')}:{place}") for place in range(count)]
        if isinstance(value, Term) and _is_pair(value) and count == 2:
            return [value, symbol(f"indices of {value.op}", "index")]
        if isinstance(value, Term) and value.op in ("opaque", "symbol"):
            names = [written(target) if isinstance(target, ast.Name | ast.Attribute) else "" for target in targets]
            return [make("opaque", (value,), (("name", name or f"{value.name}[{index}]"),))
                    for index, name in enumerate(names)]  # fmt: skip
        if isinstance(value, Term) and value.op not in ("const", "arange", "either"):
            names = [target.id if isinstance(target, ast.Name) else "" for target in targets]
            return [_part(value, place, name) for place, name in enumerate(names)]
        tuples = [part for part in alternatives(value) if _is_tuple(part, count)] if isinstance(value, Term) else []
        if tuples:  # what else it may be, a single tensor say, is not what is unpacked here
            return [either(list(column)) for column in zip(*(part.args for part in tuples), strict=True)]
        items = [self.element(value) for _ in targets]
        if isinstance(value, Many) and value.last is None:  # of a list of unknown length, each another one
            return [
                _part(item, place) if isinstance(item, Term) and _differs(item) else item
                for place, item in enumerate(items)
            ]
        return items

    def store(self, target: ast.Subscript, value: Value, state: State, frame: Frame) -> None:
        """``x[key] = value``: the name gets the value where the key selects, and keeps its own elsewhere."""
        held = self.evaluate(target.value, state, frame)
        key = self.evaluate(target.slice, state, frame) if not isinstance(target.slice, ast.Slice) else opaque("slice")
        if isinstance(held, Table):
            constant = known(key)
            if constant is not None:
                self.assign(target.value, Table({**held.items, constant.value: value}), state, frame)
        elif isinstance(held, Items | Many):
            self.assign(target.value, with_item(held, known(key), value), state, frame)
        elif isinstance(held, Term):
            mask = to_term(key) if isinstance(key, Term) and is_mask(key) else opaque("selected", tuple(terms_in(key)))
            made = ops.family(held) == ops.LEAF and held.op != "opaque" and not is_mask(mask)
            # what is made to be filled, in turns of a loop say, holds what it is filled with
            replaced = make("overwrite", (to_term(value) if made else narrow(held, mask, False), mask, to_term(value)))
            self.record(replaced, target, state, frame)
            self.assign(target.value, replaced, state, frame)


def _differs(item: Term) -> bool:
    """Whether an item of a list, of which one stands for all, is most likely another in each place."""
    return any(node.op in ("symbol", "opaque") for node in walk(item))


def _unread(value: Value) -> bool:
    """Whether a value is an object whose constructor has not been read."""
    return isinstance(value, Instance) and value.build is not None


def _is_identity(term: Term) -> bool:
    """Whether a term is the identity matrix, which has a row for each class."""
    while term.op == "detach":
        term = term.args[0]
    return term.op == "eye"


def _is_tuple(part: Term, count: int) -> bool:
    """Whether an alternative is what became of a tuple of so many tensors."""
    return part.op == "opaque" and part.name == Items.__name__ and len(part.args) == count


def _part(term: Term, place: int, name: str = "") -> Term:
    """One of the tensors that a tensor is unpacked into: two of them are two values, and may say what they are."""
    if term.op == "unbind":
        return make("index", (term,), (("key", (place,)),))
    return make("pick", (term,), (("dim", 0), ("index", name if name not in ("", "_") else f"item {place}")))


def size(term: Term, dim: Attr) -> Term:
    """The size of a tensor along one dimension; along one that is not known, a number of its own."""
    return make("length" if isinstance(dim, int) else "numel", (term,), (("dim", dim),))


def _of_distribution(built: Built, method: str) -> Partial | None:
    """A method of a distribution of torch, with what that was made from, if the ops table has it for these."""
    name = f"{built.name}.{method}"
    for spelling in ops.spellings().get(name, ()):
        *parameters, _ = (operand for operand, _ in spelling.signature.operands)
        given = {**dict(zip(parameters, built.args, strict=False)), **built.keywords}
        given.pop("validate_args", None)
        if list(given) == parameters:
            return Partial(External(name), tuple(given.values()), {})
    return None


def _is_pair(term: Term) -> bool:
    """Whether the operation gives values and indices (a reduction does so only along a dimension)."""
    while term.op == "detach":  # under no_grad
        term = term.args[0]
    if term.op == "either":
        return all(_is_pair(part) for part in term.args)
    row = ops.row(term.op)
    return row is not None and row.pair and (row.family != ops.REDUCE or term.attr("dim") is not None)
