"""Calls: the functions of Python and torch that work on more than tensors, or say more than their result."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanguard import ops
from nanguard.floats import FORMATS
from nanguard.ops.einsum import contraction
from nanguard.reading.containers import FEW
from nanguard.reading.state import Frame, State
from nanguard.reading.values import (
    Built,
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
    Value,
    either,
    is_option,
    known,
    opaque,
    terms_in,
    to_term,
)  # fmt: skip
from nanguard.reading.walking import written
from nanguard.term import UNKNOWN, Term, const, is_number, make, number, symbol, walk

if TYPE_CHECKING:
    from nanguard.reading.applying import Applying


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is read: its arguments, its place, and who reads it."""

    reader: Applying
    args: Sequence[Value]
    keywords: Mapping[str, Value]
    node: ast.expr
    state: State
    frame: Frame

    def again(self, name: str, args: Sequence[Value]) -> Value | None:
        """The same place as a call of the ops table."""
        return self.reader.operation(name, args, {}, self.node, self.state, self.frame)


def label(node: ast.expr) -> str:
    """What a call is called in messages."""
    return written(node.func if isinstance(node, ast.Call) else node)[:60]


def _super(call: Call) -> Value | None:
    instance, owner = call.state.env.get("self"), call.state.env.get("__class__")
    return Super(instance, owner) if isinstance(instance, Instance) and isinstance(owner, Class) else None


def _length(call: Call) -> Value | None:
    match call.args:
        case [Items(items=items)]:
            return const(len(items))
        case [Shape()]:
            return symbol("ndim", "size")
        case [Term() as term]:
            return make("numel", (term,))
    return symbol("len", "size")


def _zip(call: Call) -> Value | None:
    return Many(Items(tuple(call.reader.element(value) for value in call.args)))


def _enumerate(call: Call) -> Value | None:
    return Many(Items((symbol("counter", "size", low=0), call.reader.element(call.args[0])))) if call.args else None


def _listed(call: Call) -> Value | None:
    if not call.args:
        return Items(())
    return call.args[0] if isinstance(call.args[0], Items | Many) else Many(call.reader.element(call.args[0]))


def _sorted(call: Call) -> Value | None:
    """The items in an order that is not known."""
    match call.args:
        case [Items(items=items)] if items:
            return Items((either(list(items)),) * len(items))
    return _listed(call)


def _reversed(call: Call) -> Value | None:
    match call.args:
        case [Items(items=items)]:
            return Items(items[::-1])
    return _listed(call)


def _dict(call: Call) -> Value | None:
    """dict(a=1), dict(table), OrderedDict([("a", 1)])"""
    items: dict[object, Value] = {}
    match call.args:
        case []:
            pass
        case [Table(items=held)]:
            items.update(held)
        case [Items(items=pairs)]:
            for pair in pairs:
                key = known(pair.items[0]) if isinstance(pair, Items) and len(pair.items) == 2 else None
                if key is None or not isinstance(pair, Items):
                    return None
                items[key.value] = pair.items[1]
        case _:
            return None
    items.update(call.keywords)
    return Table(items)


def _map(call: Call) -> Value | None:
    if len(call.args) < 2:
        return None
    match call.args[1:]:
        case [Items(items=items)] if len(items) <= FEW:
            return Items(tuple(_applied(call, (item,)) for item in items))
    return Many(_applied(call, [call.reader.element(value) for value in call.args[1:]]))


def _applied(call: Call, args: Sequence[Value]) -> Value:
    """What the function that a call is given first makes of some arguments."""
    return call.reader.apply(call.args[0], args, {}, call.node, call.state, call.frame)


def _entry(call: Call) -> Value | None:
    """table.get(key, default), table.pop(key, default): what the table has, or the default where it has no such key."""
    match call.args:
        case [Table(items=items), key, *rest] if (name := known(key)) is not None and len(rest) <= 1:
            if name.value in items:
                return items[name.value]
            return rest[0] if rest else None
    return None


def _differentiated(call: Call) -> Value | None:
    """torch.autograd.grad(loss, x): gradients through which no other gradient goes, unless their graph is kept."""
    keeps = known(call.keywords.get("create_graph", const(False)))
    if keeps is None or keeps.value is not False or len(call.args) > 4:
        return None
    place = f"{call.node.lineno}:{call.node.col_offset}"
    held = [term for value in (*call.args, *call.keywords.values()) for term in terms_in(value)]
    call.reader.handed.update(held)
    return Many(make("detach", (opaque("torch.autograd.grad", tuple(held), place),)))


def _filter(call: Call) -> Value | None:
    return Many(call.reader.element(call.args[1])) if len(call.args) == 2 else None


def _whole(call: Call) -> Value | None:
    """x.to(torch.uint8), x.type(torch.long): whole numbers, which have no gradient."""
    given = (*call.args[1:], *call.keywords.values())
    whole = any(isinstance(value, External) and value.name in _WHOLE for value in given)
    return call.again("Tensor.long", call.args[:1]) if whole else None


_WHOLE = frozenset(f"torch.{name}" for name in ("uint8", "int8", "int16", "int32", "int64", "short", "int", "long"))


def _handed_on(call: Call) -> Value | None:
    """checkpoint(function, x): the function called with the rest."""
    if not call.args:
        return None
    return call.reader.apply(call.args[0], call.args[1:], {}, call.node, call.state, call.frame)


def _field(call: Call) -> Value | None:
    """The default of a dataclass's field."""
    made = call.keywords.get("default_factory")
    if made is not None:
        return call.reader.apply(made, (), {}, call.node, call.state, call.frame)
    return call.keywords.get("default")


def _sum_list(call: Call) -> Value | None:
    if len(call.args) == 1 and isinstance(call.args[0], Items) and call.args[0].items:
        total: Value = call.args[0].items[0]
        for item in call.args[0].items[1:]:
            total = call.reader.arithmetic(ast.Add(), total, item, call.node, call.state, call.frame)
        return total
    return call.again("torch.sum", (call.reader.element(call.args[0]),)) if call.args else None


def _extreme(name: str) -> Callable[[Call], Value | None]:
    def result(call: Call) -> Value | None:
        if len(call.args) == 2:
            a, b = known(call.args[0]), known(call.args[1])
            if a is not None and b is not None and is_number(a) and is_number(b):
                return a if (_value(a) >= _value(b)) == (name == "maximum") else b
            return call.again(f"torch.{name}", call.args)
        return None

    return result


def _value(term: Term) -> float:
    value = number(term)
    return value if value is not None else 0.0


def _joined(call: Call) -> Value | None:
    parts = call.args[0] if call.args else call.keywords.get("tensors")
    if isinstance(parts, Items) and parts.items:
        dim = known(call.args[1] if len(call.args) > 1 else call.keywords.get("dim", const(0)))
        terms = tuple(to_term(item) for item in parts.items)
        name = "stack" if "stack" in label(call.node) else "cat"
        attrs = (("dim", dim.value if dim is not None else "?"), ("how", name))
        return call.reader.record(make("stack", terms, attrs), call.node, call.state, call.frame)
    return make("pick", (to_term(call.reader.element(parts)),), (("dim", None), ("index", "joined"))) if parts else None


def _partial(call: Call) -> Value | None:
    return Partial(call.args[0], tuple(call.args[1:]), dict(call.keywords)) if call.args else None


def _getattr(call: Call) -> Value | None:
    named = call.args[1] if len(call.args) > 1 else None
    name = known(named) if named is not None else None
    if name is None and isinstance(named, Term) and is_option(named) and named.attr("default"):
        name = const(named.attr("default"))
    if name is None:
        return None
    return call.reader.member(call.args[0], str(name.value), call.node, call.state, call.frame)


def _isinstance(call: Call) -> Value | None:
    if len(call.args) != 2:
        return None
    if isinstance(call.args[1], Items):  # one of several classes
        each = [_isinstance(replace(call, args=(call.args[0], kind))) for kind in call.args[1].items]
        if const(True) in each:
            return const(True)
        return const(False) if each and all(answer == const(False) for answer in each) else None
    if not isinstance(call.args[1], External):
        return None
    kind = call.args[1].name.rsplit(".", 1)[-1]
    held = known(call.args[0])
    if held is not None:
        return const(type(held.value).__name__ == kind)
    if isinstance(call.args[0], Term) and kind == "Tensor" and call.args[0].attr("kind") == "tensor":
        return const(True)
    if isinstance(call.args[0], Items | Many | Table):
        return const(kind in ("list", "tuple", "dict", "Sequence", "Iterable"))
    return None


def _finfo(call: Call) -> Value | None:
    limits = FORMATS["float32"]
    names = {"eps": limits.eps, "tiny": limits.tiny, "max": limits.max, "min": -limits.max,
             "smallest_normal": limits.tiny, "resolution": 1e-6}  # fmt: skip
    members: dict[str, Value] = {key: const(value) for key, value in names.items()}
    return Instance(Class("finfo", members, (), ast.ClassDef("finfo", [], [], [], [])))


def _float(call: Call) -> Value | None:
    """float(2), float("-inf"), and of an option, which is no tensor"""
    if len(call.args) == 1 and isinstance(call.args[0], Term) and is_option(call.args[0]):
        return symbol(call.args[0].name, "number")
    held = known(call.args[0]) if len(call.args) == 1 else None
    if held is None or not isinstance(held.value, int | float | str):
        return None
    try:
        return const(float(held.value))
    except (ValueError, OverflowError):
        return None


def _first_written(node: ast.expr) -> ast.expr | None:
    """The first argument of a call as it is written."""
    return node.args[0] if isinstance(node, ast.Call) and node.args else None


def _constants(call: Call) -> Value | None:
    """torch.tensor of known numbers: a tensor between the least and the largest of them; of others a setting."""
    if not call.args or not isinstance(call.args[0], Items):
        return None
    if not call.args[0].items and not isinstance(_first_written(call.node), ast.List):
        return opaque(label(call.node), (), f"{call.node.lineno}:{call.node.col_offset}")  # it is filled elsewhere
    inside = [node for held in call.args[0].items for node in walk(to_term(held)) if not node.args]
    settings = [node for node in inside if node.attr("kind") in ("number", "size")]
    if settings and all(node.op == "const" or node in settings for node in inside):
        return symbol(label(call.node), "number")
    values = [number(held) for held in map(known, call.args[0].items) if held is not None]
    if not values or None in values or len(values) != len(call.args[0].items):
        return None
    bounds = [value for value in values if value is not None]
    return symbol(label(call.node), "tensor", low=min(bounds), high=max(bounds))


def _rows_of_classes(call: Call) -> Value | None:
    """torch.zeros(n, k).scatter_(1, index.unsqueeze(1), 1): the rows of the classes that an index names."""
    if len(call.args) < 4 or not all(isinstance(arg, Term) for arg in call.args):
        return None
    zeros, dim, index, one = (to_term(arg) for arg in call.args[:4])
    inserted = index.op == "unsqueeze" and index.attr("dim") in (1, -1)
    if not (zeros.op == "zeros" and inserted and number(dim) == index.attr("dim") and number(one) == 1):
        return None
    rows = make("to", (make("one_hot", (index.args[0],), (("num_classes", UNKNOWN),)),))
    return call.reader.record(rows, call.node, call.state, call.frame)


def _learnt(call: Call) -> Value | None:
    """torch.zeros(n).requires_grad_(): what starts as these numbers and is learnt."""
    if not isinstance(call.args[0], Term) or ops.family(call.args[0]) != ops.LEAF:
        return None
    return opaque("Parameter", (), f"{call.node.lineno}:{call.node.col_offset}")


def _uniform(call: Call) -> Value | None:
    """x.uniform_(a, b): random numbers between two bounds, of which the lower one is drawn, too."""
    bounds = [number(held) for held in map(known, call.args[1:]) if held is not None]
    if len(bounds) != 2 or None in bounds or len(call.args) != 3 or call.keywords:
        return None
    return symbol(f"rand at {call.node.lineno}:{call.node.col_offset}", "tensor", low=bounds[0], high=bounds[1])


def _register(call: Call) -> Value | None:
    """self.register_buffer(name, value), setattr(self, name, value): an attribute."""
    name = known(call.args[1]) if len(call.args) > 1 else None
    if call.args and isinstance(call.args[0], Instance) and name is not None and len(call.args) > 2:
        value, before = _without_gradient(call.args[2]), call.args[0].attrs.get(str(name.value))
        constructs = call.frame.qualname.endswith("__init__")
        if isinstance(before, Term | Built) and isinstance(value, Term) and constructs:
            value = either([to_term(before), value])  # ``if trained: self.w = Parameter(w)``, else a buffer
        call.reader.write(call.args[0], str(name.value), value)
    return const(None)


def _einsum(call: Call) -> Value | None:
    """torch.einsum("ij,j->i", a, b), with the operands one by one or in a list."""
    equation = known(call.args[0]) if call.args else None
    listed = call.args[1].items if len(call.args) == 2 and isinstance(call.args[1], Items) else call.args[1:]
    if equation is None or not isinstance(equation.value, str) or not all(isinstance(part, Term) for part in listed):
        return None
    parts = [part for part in listed if isinstance(part, Term) and part.op != "either"]
    made = contraction(equation.value, parts) if len(parts) == len(listed) else None
    return call.reader.record(made, call.node, call.state, call.frame) if made is not None else None


def _decomposed(call: Call) -> Value | None:
    """torch.svd(x), torch.linalg.svd(x): two matrices of which nothing is known, the singular values between them."""
    if not call.args or not isinstance(call.args[0], Term):
        return None
    values = call.again("torch.linalg.svdvals", call.args[:1])
    place = f"{call.node.lineno}:{call.node.col_offset}"
    left, right = (opaque(name, (call.args[0],), place) for name in ("U", "V"))
    return Items((left, values, right)) if values is not None else None


def _added(call: Call) -> Value | None:
    """net.add_module("fc", nn.Linear(3, 4)), net.append(...): one more part, or an attribute of a model."""
    match call.args:
        case [Built(name="torch.nn.Sequential") as held, *_, part]:
            return replace(held, args=(*held.args, part))
        case [Instance() as held, Term() as named, part] if isinstance(name := named.value, str):
            call.reader.write(held, name, part)
            return held
    return None


def _named_tuple(call: Call) -> Value | None:
    """namedtuple("Output", ["probs", "value"]): a class with these fields."""
    said = [known(value) for value in call.args[:1]]
    listed = call.args[1] if len(call.args) > 1 else None
    parts = [known(item) for item in listed.items] if isinstance(listed, Items) else [known(listed)] if listed else []
    texts = [part.value for part in (*said, *parts) if part is not None and isinstance(part.value, str)]
    if len(texts) < 2 or len(texts) != 1 + len(parts):
        return None
    fields = [name for text in texts[1:] for name in text.replace(",", " ").split()]
    body: list[ast.stmt] = [
        ast.AnnAssign(ast.Name(field, ast.Store()), ast.Name("Any", ast.Load()), None, 1) for field in fields
    ]
    return Class(texts[0], {}, (), ast.ClassDef(texts[0], [], [], body, []))


def _itself(call: Call) -> Value | None:
    """model.to(device), nn.DataParallel(model), deepcopy(model): what computes as the model does."""
    return call.args[0] if call.args and isinstance(call.args[0], Instance | Built | Function) else None


def _parameter(call: Call) -> Value | None:
    """nn.Parameter(value): what is learnt, with the number that it starts as where that is one."""
    start = _filled(to_term(call.args[0])) if call.args else None
    place = f"{call.node.lineno}:{call.node.col_offset}"
    said = (("start", start),) if start is not None else ()
    return make("opaque", (), (("name", "Parameter"), ("place", place), *said))


def _filled(term: Term) -> float | None:
    """The number that every entry of a new tensor is: 3 for ``3 * torch.ones(n)``."""
    while ops.family(term) == ops.CAST and term.args:
        term = term.args[0]
    row = ops.row(term.op)
    match term.op, term.args:
        case "mul", (first, second):
            factors = (_filled(first), _filled(second))
            return None if None in factors else factors[0] * factors[1]  # type: ignore[operator]
        case "full", (value,):
            return number(value)
        case _, () if row is not None and row.family == ops.LEAF and row.range is not None and row.pure:
            interval = row.range()
            return interval.low if interval.low == interval.high else None
    return number(term)


def of_every_module(name: str) -> External | None:
    """A method that modules of torch have from their base class, None for one that reading does not know."""
    full = f"torch.nn.Module.{name}"
    return External(full) if full in KNOWN else None


def _without_gradient(value: Value) -> Value:
    """The value of a buffer."""
    if not isinstance(value, Term) or value.op == "const":
        return value
    if is_option(value):  # it may be None, which tests ask about
        return make("symbol", (), (*value.attrs, ("buffer", True)))
    return make("detach", (value,))


ENTRIES = ("get", "pop", "setdefault")
ADDING = ("torch.nn.Module.add_module", "torch.nn.Module.append")
KNOWN: Mapping[str, Callable[[Call], Value | None]] = {
    "builtins.super": _super, "builtins.len": _length, "builtins.zip": _zip, "builtins.enumerate": _enumerate,
    "builtins.list": _listed, "builtins.tuple": _listed, "builtins.sorted": _sorted, "builtins.reversed": _reversed,
    "builtins.set": _listed, "builtins.dict": _dict, "collections.OrderedDict": _dict, "torch.nn.ModuleDict": _dict,
    "torch.nn.ParameterDict": _dict, "torch.nn.ModuleList": _listed, "torch.nn.ParameterList": _listed,
    "builtins.map": _map, **{f"builtins.dict.{name}": _entry for name in ENTRIES},
    "Tensor.to": _whole, "Tensor.type": _whole, "torch.autograd.grad": _differentiated, "builtins.filter": _filter,
    "torch.utils.checkpoint.checkpoint": _handed_on,
    "dataclasses.field": _field, "builtins.setattr": _register, "builtins.float": _float,
    "builtins.sum": _sum_list, "builtins.max": _extreme("maximum"),
    "builtins.min": _extreme("minimum"), "torch.cat": _joined, "torch.stack": _joined, "torch.concat": _joined,
    "torch.hstack": _joined, "torch.vstack": _joined, "functools.partial": _partial, "builtins.getattr": _getattr,
    "builtins.isinstance": _isinstance, "torch.finfo": _finfo, "numpy.finfo": _finfo,
    "torch.nn.Module.register_buffer": _register, "torch.nn.Module.register_parameter": _register,
    "torch.nn.Parameter": _parameter, "torch.nn.parameter.Parameter": _parameter,
    **dict.fromkeys((
        "torch.nn.DataParallel", "torch.nn.parallel.DataParallel", "torch.nn.parallel.DistributedDataParallel",
        "torch.compile", "torch.jit.script", "copy.copy", "copy.deepcopy",
    ), _itself),
    **{f"torch.nn.Module.{name}": _itself for name in (
        "to", "cuda", "cpu", "eval", "train", "float", "double", "half", "bfloat16", "requires_grad_", "type",
        "apply", "share_memory", "compile",
    )},
    "Tensor.uniform_": _uniform, "Tensor.requires_grad_": _learnt,
    "Tensor.scatter_": _rows_of_classes, "Tensor.scatter": _rows_of_classes,
    **dict.fromkeys(ADDING, _added), "collections.namedtuple": _named_tuple, "torch.einsum": _einsum,
    "torch.svd": _decomposed, "torch.linalg.svd": _decomposed, "Tensor.svd": _decomposed,
    "torch.tensor": _constants, "torch.as_tensor": _constants,
    "torch.FloatTensor": _constants, "torch.Tensor": _constants,
}  # fmt: skip
