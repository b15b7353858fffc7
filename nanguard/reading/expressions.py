"""Reading expressions: what an expression of Python computes, as a value of `values`.

Nothing is run or imported.  Every expression that is an operation of the ops table is recorded with its place.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nanguard import ops
from nanguard.matching.interval import Interval
from nanguard.reading.calls import KNOWN, Call, label
from nanguard.reading.decisions import Decisions
from nanguard.reading.memory import Known, Memory, relevant
from nanguard.reading.narrowing import is_mask, narrow
from nanguard.reading.scope import Scope
from nanguard.reading.state import Frame, State
from nanguard.reading.values import (
    DISTRIBUTIONS,
    Bound,
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
    TensorMethod,
    Value,
    alternatives,
    content,
    either,
    is_option,
    known,
    opaque,
    terms_in,
    to_term,
)  # fmt: skip
from nanguard.term import Attr, Term, const, is_number, make, symbol

_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.MatMult: "matmul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
}  # fmt: skip
_COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip
_FEW = 4  # known items of a list that a comprehension is read over one by one
_CONSTANTS: Mapping[str, float] = {
    "math.pi": 3.141592653589793, "math.e": 2.718281828459045, "math.inf": float("inf"),
    "torch.pi": 3.141592653589793, "numpy.pi": 3.141592653589793,
    "math.tau": 6.283185307179586, "torch.inf": float("inf"), "numpy.inf": float("inf"),
    "torch.nan": float("nan"), "math.nan": float("nan"), "numpy.nan": float("nan"),
}  # fmt: skip
_SIMPLE = (ast.Name, ast.Constant)  # quicker to read than to look up
_MANY_STEPS = 4_000  # expressions per target after which paths are joined, and calls followed once at most
_FILE_STEPS = 12_000  # expressions per file after which that is so after few of them
_FEW_STEPS = 1_000
_MAX_STEPS = 40_000  # expressions per target: a bound on the time that one function can take
_MAX_UNROLL = 4
_COMPLEX = "a complex number"  # what is said of exp, log and roots here is of real numbers
_MAX_ITEMS = 1_000  # of a list or table that are told apart; what a longer literal holds beyond is not read
_MAX_BITS = 1_000  # of an integer that is computed with: all of these are floats, too


class BudgetSpent(Exception):
    """A target has taken as many steps as it may; what was found until then stands."""


@dataclass(frozen=True, slots=True)
class Place:
    """An expression of the file that computes a term, with what was in scope there."""

    node: ast.expr
    term: Term
    target: str
    values: Mapping[ast.expr, Value]
    env: Scope
    path: str
    depth: int  # 0 where the function was read on its own, more where a caller was followed into it


class Expressions(Decisions):
    """Evaluates expressions; the calls of functions of the file are left to the subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[tuple[ast.expr, Term], Place] = {}
        self.kin: dict[Term, Term] = {}  # values with alternatives, and what these are worked out from
        self.steps = 0  # expressions that were read for the target at hand
        self.taken = 0  # the same for the targets before
        self.allowed = _MANY_STEPS
        self.cuts = 0  # calls that were not followed
        self.defined: dict[ast.AST, Function] = {}  # functions and lambdas, as they were first met
        self.placed: set[str] = set()  # the functions that have a place
        self.building: list[Instance] = []  # objects whose constructor is being read
        self.writes = 0  # to objects that existed before: what a method gives may change with them
        self.unrepeatable = 0  # times that a result depended on more than can be compared
        self.constants: dict[ast.Constant, Term] = {}
        self.memory = Memory()

    @abstractmethod
    def call_function(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], instance: Instance | None,
        state: State, frame: Frame,
    ) -> Value:  # fmt: skip
        """The value that a function of the file returns."""

    @abstractmethod
    def followed(self, value: External) -> Value | None:
        """What a name of another file of the project stands for, None for one of somebody else's."""

    @abstractmethod
    def construct(
        self, cls: Class, args: Sequence[Value], keywords: Mapping[str, Value], state: State, frame: Frame
    ) -> Value:
        """An object of a class of the file."""

    @property
    def hurried(self) -> bool:
        """Whether so much has been read for one target that the rest of it is read in less detail."""
        return self.steps > self.allowed

    def start(self) -> None:
        """Begin another target: the more the file has taken, the less is read in detail for each."""
        self.taken += self.steps
        self.steps = 0
        self.allowed = _MANY_STEPS if self.taken < _FILE_STEPS else _FEW_STEPS

    # --- the expression at hand --------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """The value of an expression."""
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise BudgetSpent
        handler = _HANDLERS.get(type(node))
        value = handler(self, node, state, frame) if handler else opaque(ast.unparse(node)[:80])
        if type(value) is Term:  # as `look` does, for nearly everything that is read comes by here
            self.met.add(value)
            decided = state.facts.get(value)
            if decided is not None and not isinstance(decided, bool):
                value = decided
        frame.values[node] = value
        return value

    def worked_out(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """The value of an expression that several paths lead to: read again only where something is different."""
        if self.building or type(node) in _SIMPLE:
            return self.evaluate(node, state, frame)
        names = self.memory.names(node)
        held = [state.env.get(name) for name in names]
        key = (node, state.without_gradient, self.writes, *held)
        known = self.memory.find(key, state.facts)
        if known is not None:
            self.steps += 1
            self.met.update(known.met)
            frame.values.update(known.values)
            state.env.own.update(known.bound)
            return known.value
        before = self.changes(frame)
        outer, frame.values = frame.values, {}
        outside, self.met = self.met, set()
        try:
            value = self.evaluate(node, state, frame)
        finally:
            met, self.met = self.met, outside
            outside.update(met)
        if self.changes(frame) == before:
            env = state.env
            bound = [(name, env[name]) for name, old in zip(names, held, strict=True) if env.get(name) is not old]
            self.memory.keep(key, Known(value, met, relevant(met, state.facts), frame.values, bound))
        outer.update(frame.values)
        frame.values = outer
        return value

    def changes(self, frame: Frame) -> tuple[int, ...]:
        """Counts of what an expression can do beside giving its value; where one grows it has to be read again."""
        return self.cuts, self.writes, self.unrepeatable, len(frame.returns)

    def operation(
        self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr, state: State,
        frame: Frame,
    ) -> Value | None:  # fmt: skip
        """A call of the ops table, recorded at `node`; None if the table has not got it or takes other arguments."""
        if name not in ops.spellings():
            return None
        if any(isinstance(arg, Term) and arg.op == "opaque" and arg.name == _COMPLEX for arg in args):
            return opaque(_COMPLEX)
        choices, base = self.choices(args)
        named = {key: _argument(self.look(value, state)) for key, value in keywords.items()}
        results: list[Value] = []
        for chosen in choices:
            given = [_argument(self.look(value, state)) for value in chosen]
            try:
                term = ops.call(name, given, named)
            except ops.BindError:
                return None
            if term is None:
                return None
            row = ops.row(term.op)
            if row is not None and not row.pure:  # every draw is another one
                term = opaque(name, (), f"{node.lineno}:{node.col_offset}") if row.range is None else _drawn(term, node)
            if name.startswith("math."):  # of a Python number: it raises, and has no gradient
                constant = all(arg.op == "const" for arg in term.args)
                results.append(term if constant else make("detach", (term,)))
                continue
            results.append(self.record(term, node, state, frame))
        result = either(results)
        if base is not None and len(alternatives(to_term(result))) == len(alternatives(base)):
            self.kin[to_term(result)] = base
        return result

    def choices(self, args: Sequence[Value]) -> tuple[list[tuple[Value, ...]], Term | None]:
        """The argument lists that operands of several values stand for: the first few, defaults before other choices.

        Operands that are worked out from the same values are chosen together: ``x - x.amax()`` takes one ``x``.  Gives
        also what the operands are all worked out from, if that is one.
        """
        for value in args:
            if type(value) is Term and value.op == "either":
                break
        else:
            return [tuple(args)], None
        lists: list[tuple[tuple[Value, ...], dict[Term, int]]] = [((), {})]
        for value in args:
            options: tuple[Value, ...] = alternatives(value) if isinstance(value, Term) else (value,)
            if len(options) == 1 or not isinstance(value, Term):
                lists = [((*chosen, options[0]), taken) for chosen, taken in lists]
                continue
            base = self.kin.get(value, value)
            following: list[tuple[tuple[Value, ...], dict[Term, int]]] = []
            for chosen, taken in lists:
                places = (taken[base],) if base in taken else range(len(options))
                following.extend(((*chosen, options[place]), {**taken, base: place}) for place in places)
            lists = following[:_MAX_UNROLL]
        bases = {base for _, taken in lists for base in taken}
        return [chosen for chosen, _ in lists], bases.pop() if len(bases) == 1 else None

    def record(self, term: Term, node: ast.expr, state: State, frame: Frame) -> Term:
        """Note that `node` computes `term`."""
        if state.without_gradient and term.op != "const":
            term = make("detach", (term,))
        key = (node, term)
        if key not in self.places:
            if frame.snapshot is None:
                frame.snapshot = state.env.copy()
            self.placed.add(frame.qualname)
            self.places[key] = Place(node, term, frame.qualname, frame.values, frame.snapshot, frame.path, frame.depth)
        return term

    def name(self, node: ast.Name, state: State, frame: Frame) -> Value:
        value = state.env.get(node.id)
        if value is None:
            return External(f"builtins.{node.id}")
        return self.plain(value) if isinstance(value, External) else value

    def constant(self, node: ast.Constant, state: State, frame: Frame) -> Value:
        found = self.constants.get(node)
        if found is None:
            value = node.value
            if isinstance(value, complex):
                return opaque(_COMPLEX)
            plain = isinstance(value, bool | int | float | str | type(None))
            huge = isinstance(value, int) and value.bit_length() > _MAX_BITS
            found = const(value if plain and not huge else "...")
            self.constants[node] = found
        return found

    def binary(self, node: ast.BinOp, state: State, frame: Frame) -> Value:
        left = self.evaluate(node.left, state, frame)
        right = self.evaluate(node.right, state, frame)
        raises = isinstance(node.op, ast.Div | ast.Pow) and all(map(_is_python_number, (node.left, node.right)))
        if raises and known(right) is None:
            return opaque(ast.unparse(node)[:80], tuple(terms_in(left) + terms_in(right)))
        return self.arithmetic(node.op, left, right, node, state, frame)

    def arithmetic(
        self, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State, frame: Frame
    ) -> Value:
        """A binary operator on values: numbers are computed, lists joined, the rest are operations."""
        operator = _OPERATORS.get(type(sign))
        a, b = known(left), known(right)
        if a is not None and b is not None:
            return _computed(sign, a, b)
        if isinstance(left, Items | Many) and isinstance(right, Items | Many) and operator == "add":
            return _joined_lists(left, right)
        if isinstance(left, Items | Many) and operator == "mul":
            return Many(either(list(left.items))) if isinstance(left, Items) and left.items else left
        if operator is None:
            return opaque(ast.unparse(node)[:80], tuple(terms_in(left) + terms_in(right)))
        found = self.operation(f"operator.{operator}", (left, right), {}, node, state, frame)
        return found if found is not None else opaque(operator, tuple(terms_in(left) + terms_in(right)))

    def unary(self, node: ast.UnaryOp, state: State, frame: Frame) -> Value:
        value = self.evaluate(node.operand, state, frame)
        constant = known(value)
        if isinstance(node.op, ast.Not):
            return const(not constant.value) if constant is not None else opaque("not", tuple(terms_in(value)))
        if constant is not None and is_number(constant) and isinstance(node.op, ast.USub):
            return const(-constant.value)  # type: ignore[operator]
        if isinstance(node.op, ast.UAdd):
            return value
        name = "operator.neg" if isinstance(node.op, ast.USub) else "operator.invert"
        return self.operation(name, (value,), {}, node, state, frame) or opaque(name, tuple(terms_in(value)))

    def comparison(self, node: ast.Compare, state: State, frame: Frame) -> Value:
        left = self.evaluate(node.left, state, frame)
        rights = [self.evaluate(right, state, frame) for right in node.comparators]
        return self.comparing(node, left, rights, state, frame)

    def comparing(self, node: ast.Compare, left: Value, rights: list[Value], state: State, frame: Frame) -> Value:
        """A comparison of values."""
        if len(rights) == 1 and type(node.ops[0]) in _COMPARISONS and not is_option(left):
            a, b = known(left), known(rights[0])
            if a is not None and b is not None:
                return _compared(node.ops[0], a, b)
            name = f"operator.{_COMPARISONS[type(node.ops[0])]}"
            found = self.operation(name, (left, rights[0]), {}, node, state, frame)
            if found is not None:
                return found
        return opaque(ast.unparse(node)[:80], tuple(term for value in (left, *rights) for term in terms_in(value)))

    def boolean(self, node: ast.BoolOp, state: State, frame: Frame) -> Value:
        """``a or b`` as a value: a default for an option that is None, else one of them."""
        values = [self.evaluate(part, state, frame) for part in node.values]
        return either(values)

    def conditional(self, node: ast.IfExp, state: State, frame: Frame) -> Value:
        results = []
        for outcome, branch in self.decide(node.test, state, frame):
            results.append(self.evaluate(node.body if outcome else node.orelse, branch, frame))
        return either(results) if results else opaque("no branch")

    def walrus(self, node: ast.NamedExpr, state: State, frame: Frame) -> Value:
        value = self.evaluate(node.value, state, frame)
        if isinstance(node.target, ast.Name):
            state.env[node.target.id] = value
        return value

    def collection(self, node: ast.Tuple | ast.List | ast.Set, state: State, frame: Frame) -> Value:
        items: list[Value] = []
        for element in node.elts[:_MAX_ITEMS]:
            if isinstance(element, ast.Starred):
                value = self.evaluate(element.value, state, frame)
                if not isinstance(value, Items):
                    return Many(self.element(value))
                items.extend(value.items)
            else:
                items.append(self.evaluate(element, state, frame))
        return Items(tuple(items)) if max(len(node.elts), len(items)) <= _MAX_ITEMS else Many(either(items))

    def mapping(self, node: ast.Dict, state: State, frame: Frame) -> Value:
        items: dict[object, Value] = {}
        for key, value in list(zip(node.keys, node.values, strict=True))[:_MAX_ITEMS]:
            held = self.evaluate(value, state, frame)
            named = self.evaluate(key, state, frame) if key is not None else None
            name = known(named) if named is not None else None
            if name is not None:
                items[name.value] = held
            elif isinstance(named, External):  # a dtype, say
                items[named.name] = held
            elif isinstance(held, Table):
                items.update(held.items)
        return Table(items)

    def comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, state: State, frame: Frame
    ) -> Value:  # fmt: skip
        listed = self.listed(node, state, frame)
        if listed is not None:
            return listed
        inner = self.iterated(node.generators, state, frame)
        return Many(self.evaluate(node.elt, inner, frame)) if inner is not None else Items(())

    def listed(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, state: State, frame: Frame
    ) -> Items | None:  # fmt: skip
        """A comprehension over a few items that are known: each of its values."""
        first, *others = node.generators
        iterable = self.evaluate(first.iter, state, frame)
        if others or first.ifs or not isinstance(iterable, Items) or len(iterable.items) > _FEW:
            return None
        results = []
        for item in iterable.items:
            inner = state.copy()
            self.assign(first.target, item, inner, frame)
            results.append(self.evaluate(node.elt, inner, frame))
        return Items(tuple(results))

    def table_comprehension(self, node: ast.DictComp, state: State, frame: Frame) -> Value:
        inner = self.iterated(node.generators, state, frame)
        if inner is not None:
            self.evaluate(node.key, inner, frame)
            self.evaluate(node.value, inner, frame)
        return Table({})

    def iterated(self, generators: list[ast.comprehension], state: State, frame: Frame) -> State | None:
        """The state inside a comprehension, with one item for all; None if a filter lets nothing through."""
        inner = state.copy()
        for generator in generators:
            iterable = self.evaluate(generator.iter, inner, frame)
            self.assign(generator.target, self.element(iterable), inner, frame)
            for test in generator.ifs:
                passed = [branch for outcome, branch in self.decide(test, inner, frame) if outcome]
                if not passed:
                    return None
                inner = passed[0]
        return inner

    def lambda_(self, node: ast.Lambda, state: State, frame: Frame) -> Value:
        name = f"{frame.qualname}.<lambda>" if frame.qualname else "<lambda>"
        return self.defined.setdefault(node, Function(node, state.env, name, None, frame.path))

    def text(self, node: ast.JoinedStr, state: State, frame: Frame) -> Value:
        return const("f-string")

    def awaited(self, node: ast.Await | ast.YieldFrom, state: State, frame: Frame) -> Value:
        return self.evaluate(node.value, state, frame)

    def yielded(self, node: ast.Yield, state: State, frame: Frame) -> Value:
        if node.value is not None:
            frame.returns.append(self.evaluate(node.value, state, frame))
        return opaque("sent")

    def starred(self, node: ast.Starred, state: State, frame: Frame) -> Value:
        return self.evaluate(node.value, state, frame)

    # --- attributes and items ----------------------------------------------------------------------------------------

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
            case Built() if (method := _of_distribution(value, name)) is not None:
                return method
            case Items() | Many() | Table() | Built() | Partial():
                return TensorMethod(to_term(value), name) if not isinstance(value, Table) else opaque(name)
        return opaque(name, tuple(terms_in(value)))

    def plain(self, value: External) -> Value:
        """A name of another file as a number or text, if it is that there; functions are followed when called."""
        if value.name in _CONSTANTS:  # from torch import inf
            return const(_CONSTANTS[value.name])
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
        if name in ("register_buffer", "register_parameter"):
            return Partial(External("torch.nn.Module.register_buffer"), (value,), {})
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
            return _entry(value, self.evaluate(node.slice, state, frame))
        if isinstance(value, Many):
            self.evaluate(node.slice, state, frame)
            return value.item
        if isinstance(value, Term):
            return self.index(value, node, state, frame)
        self.evaluate(node.slice, state, frame)
        return value if isinstance(value, External) else opaque("item", tuple(terms_in(value)))

    def size_of(self, value: Shape, node: ast.Subscript, state: State, frame: Frame) -> Value:
        """``x.shape[1]``: the number of entries along a dimension, of all where that is not known."""
        key = known(self.evaluate(node.slice, state, frame)) if not isinstance(node.slice, ast.Slice) else None
        return _size(value.term, key.value if key is not None else ast.unparse(node.slice))

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
        if _is_pair(term) and values in ([0], [1]):
            return term if values == [0] else symbol(f"indices of {term.op}", "index")
        if len(plain) == len(values):
            result = make("index", (term,), (("key", tuple(plain)),))
        elif len(values) == 1 and isinstance(values[0], Term) and all(map(is_mask, alternatives(values[0]))):
            result = make("masked_select", (self.selected(term, values[0]), values[0]))
        else:
            result = make("pick", (term,), (("dim", None), ("index", ast.unparse(node.slice)[:60])))
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
        """One part of an index: an int, None, "...", a slice, or the term of a tensor."""
        if isinstance(node, ast.Slice):
            bounds = [
                known(self.evaluate(part, state, frame)) if part is not None else const(None)
                for part in (node.lower, node.upper, node.step)
            ]
            return ("slice", *(bound.value if bound is not None else "?" for bound in bounds))
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
            case Term() if value.op == "arange":
                return symbol("counter", "size", low=0)
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
                    before = held.attrs.get(name) if frame.qualname.endswith("__init__") else None
                    again = held.origins.get(name) is target and isinstance(before, Term) and isinstance(value, Term)
                    self.write(held, name, either([before, value]) if again and before is not None else value)
                    held.origins[name] = target
            case ast.Subscript():
                self.store(target, value, state, frame)

    def write(self, instance: Instance, name: str, value: Value) -> None:
        """Set an attribute of an object."""
        before = instance.attrs.get(name)
        instance.attrs[name] = value
        if before is not None and content(before) == content(value):
            return
        instance.made = None
        if instance not in self.building:
            self.writes += 1

    def unpacked(self, value: Value, targets: Sequence[ast.expr]) -> list[Value]:
        """The values for the parts of a tuple on the left side."""
        count = len(targets)
        if isinstance(value, Items) and len(value.items) == count:
            return list(value.items)
        if isinstance(value, Shape):
            known_places = not any(isinstance(target, ast.Starred) for target in targets)
            return [_size(value.term, place if known_places else f"{count}:{place}") for place in range(count)]
        if isinstance(value, Term) and value.op == "numel":  # some of the sizes
            return [_size(value.args[0], f"{value.attr('dim')}:{place}") for place in range(count)]
        if isinstance(value, Term) and _is_pair(value) and count == 2:
            return [value, symbol(f"indices of {value.op}", "index")]
        if isinstance(value, Term) and value.op in ("opaque", "symbol"):
            names = [ast.unparse(target) if isinstance(target, ast.Name | ast.Attribute) else "" for target in targets]
            return [make("opaque", (value,), (("name", name or f"{value.name}[{index}]"),))
                    for index, name in enumerate(names)]  # fmt: skip
        if isinstance(value, Term) and value.op not in ("const", "arange", "either"):
            return [_part(value, place) for place in range(count)]
        return [self.element(value) for _ in targets]

    def store(self, target: ast.Subscript, value: Value, state: State, frame: Frame) -> None:
        """``x[key] = value``: the name gets the value where the key selects, and keeps its own elsewhere."""
        held = self.evaluate(target.value, state, frame)
        key = self.evaluate(target.slice, state, frame) if not isinstance(target.slice, ast.Slice) else opaque("slice")
        if isinstance(held, Table):
            constant = known(key)
            if constant is not None:
                self.assign(target.value, Table({**held.items, constant.value: value}), state, frame)
        elif isinstance(held, Items | Many):
            self.assign(target.value, _replaced(held, known(key), value), state, frame)
        elif isinstance(held, Term):
            mask = to_term(key) if isinstance(key, Term) and is_mask(key) else opaque("selected", tuple(terms_in(key)))
            made = ops.family(held) == ops.LEAF and held.op != "opaque" and not is_mask(mask)
            # what is made to be filled, in turns of a loop say, holds what it is filled with
            replaced = make("overwrite", (to_term(value) if made else narrow(held, mask, False), mask, to_term(value)))
            self.record(replaced, target, state, frame)
            self.assign(target.value, replaced, state, frame)

    # --- calls -------------------------------------------------------------------------------------------------------

    def call(self, node: ast.Call, state: State, frame: Frame) -> Value:
        function = self.evaluate(node.func, state, frame)
        args: list[Value] = []
        for arg in node.args:
            value = self.evaluate(arg, state, frame)
            if isinstance(arg, ast.Starred):
                args.extend(value.items if isinstance(value, Items) else [self.element(value)])
            else:
                args.append(value)
        keywords: dict[str, Value] = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value, state, frame)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, Table):
                keywords.update({str(key): held for key, held in value.items.items()})
        result = self.apply(function, args, keywords, node, state, frame)
        self.written_in_place(node, function, args, result, state, frame)
        return result

    def written_in_place(
        self, node: ast.Call, function: Value, args: Sequence[Value], result: Value, state: State, frame: Frame
    ) -> None:  # fmt: skip
        """``x.clamp_(min=0)`` changes what ``x`` names, and so does ``losses.append(x)``."""
        if not isinstance(function, TensorMethod) or not isinstance(node.func, ast.Attribute):
            return
        changed = node.func.value
        held = frame.values.get(changed)
        if isinstance(held, Items | Many):
            grown = _extended(held, function.name, args)
            if grown is not held:
                self.assign(changed, grown, state, frame)
            return
        writes = function.name.endswith("_") and not function.name.endswith("__")
        if writes and isinstance(result, Term) and isinstance(changed, ast.Name | ast.Attribute):
            self.assign(changed, result, state, frame)

    def apply(
        self, function: Value, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr, state: State,
        frame: Frame,
    ) -> Value:  # fmt: skip
        """The value of a call."""
        match function:
            case External(name=name):
                return self.external(name, args, keywords, node, state, frame)
            case TensorMethod(term=term, name=name):
                return self.method(term, name, args, keywords, node, state, frame)
            case Function():
                return self.call_function(function, args, keywords, None, state, frame)
            case Bound(instance=instance, function=method):
                return self.call_function(method, args, keywords, instance, state, frame)
            case Class():
                return self.construct(function, args, keywords, state, frame)
            case Instance():
                found = function.cls.find("__call__") or function.cls.find("forward")
                if isinstance(found, Function):
                    return self.call_function(found, args, keywords, function, state, frame)
            case Built():
                return self.built(function, args, keywords, node, state, frame)
            case Partial():
                return self.apply(
                    function.function, (*function.args, *args), {**function.keywords, **keywords}, node, state, frame
                )
        return self.unknown(label(node), args, keywords, function, node)

    def unknown(
        self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], function: Value, node: ast.expr
    ) -> Term:
        """The result of a call that reading knows nothing of; two calls may give two results."""
        held = [term for value in (*args, *keywords.values()) for term in terms_in(value)]
        if isinstance(function, TensorMethod):
            held.insert(0, function.term)
        return opaque(name, tuple(held), f"{node.lineno}:{node.col_offset}")

    def external(
        self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr, state: State,
        frame: Frame,
    ) -> Value:  # fmt: skip
        """A call of something of another module."""
        inside = self.followed(External(name))
        if inside is not None:
            return self.apply(inside, args, keywords, node, state, frame)
        name = name.replace("torch.Tensor.", "Tensor.")
        if name.startswith("numpy.") and all((held := known(arg)) is not None and is_number(held) for arg in args):
            name = name.replace("numpy.", "math.", 1) if name.replace("numpy.", "math.", 1) in ops.spellings() else name
        handler = KNOWN.get(name)
        if handler is not None:
            found = handler(Call(self, args, keywords, node, state, frame))
            if found is not None:
                return found
        if name.startswith("torch.nn.") and name.rsplit(".", 1)[-1][:1].isupper():
            place = f"{node.lineno}:{node.col_offset}"
            return Built(name.replace("torch.nn.modules.", "torch.nn."), tuple(args), dict(keywords), place)
        if name.startswith(DISTRIBUTIONS) and name.rsplit(".", 1)[-1][:1].isupper():
            return Built(DISTRIBUTIONS + name.rsplit(".", 1)[-1], tuple(args), dict(keywords))
        found = self.operation(name, args, keywords, node, state, frame)
        wants_gradient = known(keywords.get("requires_grad", const(False)))
        if wants_gradient is not None and wants_gradient.value is True and isinstance(found, Term):
            return opaque("Parameter", tuple(terms_in(found)), f"{node.lineno}:{node.col_offset}")
        return found if found is not None else self.unknown(name, args, keywords, External(name), node)

    def method(
        self, term: Term, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr,
        state: State, frame: Frame,
    ) -> Value:  # fmt: skip
        """A call of a tensor's method."""
        if term.op == "const" and name in ("item", "float", "to"):
            return term
        if name == "size":
            dim = known(args[0]) if args else None
            return Shape(term) if not args else _size(term, dim.value if dim is not None else to_term(args[0]))
        if name in ("masked_fill", "masked_fill_", "where") and len(args) == 2:
            term = narrow(term, to_term(args[0]), name == "where")
        handler = KNOWN.get(f"Tensor.{name}")
        found = handler(Call(self, (term, *args), keywords, node, state, frame)) if handler is not None else None
        if found is None:
            found = self.operation(f"Tensor.{name}", (term, *args), keywords, node, state, frame)
        if found is None and name.endswith("_"):
            found = self.operation(f"Tensor.{name[:-1]}", (term, *args), keywords, node, state, frame)
        return found if found is not None else self.unknown(f".{name}", args, keywords, TensorMethod(term, name), node)

    def built(
        self, module: Built, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr, state: State,
        frame: Frame,
    ) -> Value:  # fmt: skip
        """A call of a module of torch."""
        if module.name == "torch.nn.Sequential":
            value: Value = args[0] if args else opaque("input")
            parts: Sequence[Value] = module.args
            if len(parts) == 1 and isinstance(parts[0], Table):
                parts = list(parts[0].items.values())
            for part in parts:
                value = self.apply(part, (value,), {}, node, state, frame)
            return value
        for spelling in ops.spellings().get(module.name, ()):
            if spelling.constructor is None:
                continue
            names = [name for name, _ in spelling.constructor.attrs]
            settings = {**dict(zip(names, module.args, strict=False)), **module.keywords}
            taken = {name: value for name, value in settings.items() if name in dict(spelling.receives)}
            found = self.operation(module.name, args, {**taken, **keywords}, node, state, frame)
            if found is not None:
                return found
        return self.unknown(module.name, args, keywords, module, node)


def _part(term: Term, place: int) -> Term:
    """One of the tensors that a tensor is unpacked into: two of them are two values."""
    if term.op == "unbind":
        return make("index", (term,), (("key", (place,)),))
    return make("pick", (term,), (("dim", 0), ("index", f"item {place}")))


def _is_python_number(node: ast.expr) -> bool:
    """Whether an expression says that it is a number of Python: ``float(x)``, ``len(x)``, ``x.item()``, ``2``."""
    match node:
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=operand):
            return _is_python_number(operand)
        case ast.BinOp(left=left, right=right):
            return _is_python_number(left) and _is_python_number(right)
        case ast.Call(func=ast.Name(id="float" | "int" | "len")) | ast.Call(func=ast.Attribute(attr="item"), args=[]):
            return True
    return False


def _size(term: Term, dim: Attr) -> Term:
    """The size of a tensor along one dimension; along one that is not known, a number of its own."""
    return make("length" if isinstance(dim, int) else "numel", (term,), (("dim", dim),))


def _entry(table: Table, key: Value) -> Value:
    """An item of a table: that of the key, or, of a table with an item for each dtype, that of float32.

    One of all items where the key is not known.
    """
    if isinstance(key, External):
        return table.items.get(key.name, opaque("item"))
    constant = known(key)
    if constant is not None:
        return table.items.get(constant.value, opaque("item"))
    if "torch.float32" in table.items:
        return table.items["torch.float32"]
    numbers = [value for value in table.items.values() if isinstance(value, Term) and value.op == "const"]
    return either(list(numbers)) if numbers and len(numbers) == len(table.items) <= _FEW else opaque("item")


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


def _drawn(term: Term, node: ast.expr) -> Term:
    """The random numbers of one place: a symbol with the range of the operation."""
    row = ops.row(term.op)
    interval = row.range() if row is not None and row.range is not None else Interval()
    return symbol(f"{term.op} at {node.lineno}:{node.col_offset}", "tensor", low=interval.low, high=interval.high)


def _extended(held: Items | Many, method: str, args: Sequence[Value]) -> Items | Many:
    """A list after a method that puts something in."""
    match method, args:
        case "append", [added]:
            new = Items((added,))
        case "insert", [_, added]:
            return _joined_lists(held, Many(added))
        case "extend", [Items() | Many() as new]:
            pass
        case _:
            return held
    return _joined_lists(held, new)


def _joined_lists(first: Items | Many, second: Items | Many) -> Items | Many:
    """One list after the other."""
    if isinstance(first, Items) and isinstance(second, Items) and len(first.items) + len(second.items) <= _MAX_ITEMS:
        return Items(first.items + second.items)
    items = [part for value in (first, second) for part in (value.items if isinstance(value, Items) else [value.item])]
    return Many(either(items))


def _replaced(held: Items | Many, key: Term | None, value: Value) -> Items | Many:
    """A list after one of its items was set."""
    index = key.value if key is not None else None
    if isinstance(held, Items) and isinstance(index, int) and -len(held.items) <= index < len(held.items):
        items = list(held.items)
        items[index] = value
        return Items(tuple(items))
    return _joined_lists(held, Many(value))


def _argument(value: Value) -> Attr:
    """A value as the ops table takes it."""
    if type(value) is Items:
        return tuple(_argument(item) for item in value.items)
    return to_term(value)


def _computed(sign: ast.operator, a: Term, b: Term) -> Value:
    """Arithmetic on known numbers (texts and the like become opaque)."""
    x, y = a.value, b.value
    if not isinstance(x, int | float) or not isinstance(y, int | float):
        return opaque("text")
    if isinstance(sign, ast.Pow) and (abs(y) > 64 or abs(x) > 1e6):
        return opaque("power")
    try:
        result = _ARITHMETIC[type(sign)](x, y)
    except (ArithmeticError, ValueError, KeyError, TypeError):
        return opaque("arithmetic")
    if isinstance(result, int) and result.bit_length() > _MAX_BITS:
        return opaque("number")
    return const(result) if isinstance(result, int | float) and not isinstance(result, complex) else opaque("number")


_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.FloorDiv: lambda x, y: x // y,
    ast.Mod: lambda x, y: x % y,
    ast.Pow: lambda x, y: x**y,
}


def _compared(sign: ast.cmpop, a: Term, b: Term) -> Value:
    x, y = a.value, b.value
    if isinstance(sign, ast.Eq | ast.NotEq):
        return const((x == y) == isinstance(sign, ast.Eq))
    if not isinstance(x, int | float) or not isinstance(y, int | float):
        return opaque("comparison")
    match sign:
        case ast.Gt():
            return const(x > y)
        case ast.GtE():
            return const(x >= y)
        case ast.Lt():
            return const(x < y)
    return const(x <= y)


def _is_pair(term: Term) -> bool:
    """Whether the operation gives values and indices (a reduction does so only along a dimension)."""
    row = ops.row(term.op)
    return row is not None and row.pair and (row.family != ops.REDUCE or term.attr("dim") is not None)


_HANDLERS: Mapping[type[ast.expr], Callable[..., Value]] = {
    ast.Name: Expressions.name, ast.Constant: Expressions.constant, ast.BinOp: Expressions.binary,
    ast.UnaryOp: Expressions.unary, ast.Compare: Expressions.comparison, ast.BoolOp: Expressions.boolean,
    ast.IfExp: Expressions.conditional, ast.NamedExpr: Expressions.walrus, ast.Tuple: Expressions.collection,
    ast.List: Expressions.collection, ast.Set: Expressions.collection, ast.Dict: Expressions.mapping,
    ast.ListComp: Expressions.comprehension, ast.SetComp: Expressions.comprehension,
    ast.GeneratorExp: Expressions.comprehension, ast.DictComp: Expressions.table_comprehension,
    ast.Lambda: Expressions.lambda_, ast.JoinedStr: Expressions.text, ast.Await: Expressions.awaited,
    ast.YieldFrom: Expressions.awaited, ast.Yield: Expressions.yielded, ast.Starred: Expressions.starred,
    ast.Attribute: Expressions.attribute, ast.Subscript: Expressions.subscript, ast.Call: Expressions.call,
}  # fmt: skip
