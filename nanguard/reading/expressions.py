"""Reading expressions: what an expression of Python computes, as a value of `values`.

Nothing is run or imported.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Mapping

from nanguard.ops.names import USUAL
from nanguard.reading.applying import Applying
from nanguard.reading.constants import MAX_BITS, compared, computed, is_python_number
from nanguard.reading.containers import FEW, MAX_ITEMS, joined_lists
from nanguard.reading.recording import COMPLEX, FAR, MAX_STEPS, BudgetSpent
from nanguard.reading.state import Frame, State
from nanguard.reading.values import (
    External,
    Function,
    Items,
    Many,
    Table,
    Value,
    either,
    is_option,
    known,
    opaque,
    terms_in,
)
from nanguard.term import Term, const, is_number

_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.MatMult: "matmul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
}  # fmt: skip
_COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip


class Expressions(Applying):
    """Evaluates expressions; the calls of functions of the file are left to the subclass."""

    def evaluate(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """The value of an expression."""
        self.steps += 1 if frame.path == self.path else FAR
        if self.steps > MAX_STEPS:
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

    def name(self, node: ast.Name, state: State, frame: Frame) -> Value:
        value = state.env.get(node.id)
        if value is None:
            return self.from_a_star(node.id, state) or External(f"builtins.{node.id}")
        return self.plain(value) if isinstance(value, External) else value

    def from_a_star(self, name: str, state: State) -> Value | None:
        """What ``from module import *`` brings under a name, or is sure to bring: torch is called torch."""
        if "*" not in state.env or hasattr(builtins, name):
            return None
        key = "*"
        while (module := state.env.get(key)) is not None:
            found = External(f"{module.name}.{name}") if isinstance(module, External) else None
            if found is not None and self.followed(found) is not None:
                return self.plain(found)
            key += "*"
        return External(USUAL[name]) if name in USUAL else None

    def constant(self, node: ast.Constant, state: State, frame: Frame) -> Value:
        found = self.constants.get(node)
        if found is None:
            value = node.value
            if isinstance(value, complex):
                return opaque(COMPLEX)
            plain = isinstance(value, bool | int | float | str | type(None))
            huge = isinstance(value, int) and value.bit_length() > MAX_BITS
            found = const(value if plain and not huge else "...")
            self.constants[node] = found
        return found

    def binary(self, node: ast.BinOp, state: State, frame: Frame) -> Value:
        left = self.evaluate(node.left, state, frame)
        right = self.evaluate(node.right, state, frame)
        raises = isinstance(node.op, ast.Div | ast.Pow) and all(map(is_python_number, (node.left, node.right)))
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
            return computed(sign, a, b)
        if isinstance(left, Items | Many) and isinstance(right, Items | Many) and operator == "add":
            return joined_lists(left, right)
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
                return compared(node.ops[0], a, b)
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
        for element in node.elts[:MAX_ITEMS]:
            if isinstance(element, ast.Starred):
                value = self.evaluate(element.value, state, frame)
                if not isinstance(value, Items):
                    return Many(self.element(value))
                items.extend(value.items)
            else:
                items.append(self.evaluate(element, state, frame))
        return Items(tuple(items)) if max(len(node.elts), len(items)) <= MAX_ITEMS else Many(either(items))

    def mapping(self, node: ast.Dict, state: State, frame: Frame) -> Value:
        items: dict[object, Value] = {}
        for key, value in list(zip(node.keys, node.values, strict=True))[:MAX_ITEMS]:
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
        if others or first.ifs or not isinstance(iterable, Items) or len(iterable.items) > FEW:
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
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.shown.update(terms_in(self.evaluate(part.value, state, frame)))
        return const("f-string")

    def awaited(self, node: ast.Await | ast.YieldFrom, state: State, frame: Frame) -> Value:
        return self.evaluate(node.value, state, frame)

    def yielded(self, node: ast.Yield, state: State, frame: Frame) -> Value:
        if node.value is not None:
            frame.returns.append(self.evaluate(node.value, state, frame))
        return opaque("sent")

    def starred(self, node: ast.Starred, state: State, frame: Frame) -> Value:
        return self.evaluate(node.value, state, frame)


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
