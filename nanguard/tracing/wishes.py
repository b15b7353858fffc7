"""Wishes: states in which a condition that the program tests before it raises is as it should be."""

from __future__ import annotations

import ast
import operator
from dataclasses import replace

from nanguard.tracing import naming
from nanguard.tracing.changes import Found, given_value, relayout, square, with_rank
from nanguard.tracing.clues import Clue
from nanguard.tracing.guesses import LAYOUTS, C, Guess, N, Plain, Several, Tensor, Thing
from nanguard.tracing.plan import Plan


def wish(clue: Clue, test: ast.expr, wanted: bool, plan: Plan) -> Found:
    """States in which a condition is as it should be."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from wish(clue, operand, not wanted, plan)
        case ast.BoolOp(values=values):
            for value in values:
                yield from wish(clue, value, wanted, plan)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            yield from _compared(clue, left, op, right, wanted, plan)
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), kinds]) if wanted:
            yield from _instance(clue, name, kinds, plan)
        case ast.Call(func=ast.Attribute(attr="is_tensor"), args=[ast.Name(id=name)]) if wanted:
            if name in clue.names:
                yield clue.state.put(clue.names[name], Tensor((N, C)))
        case ast.Call(func=ast.Name(id="all" | "any"), args=[ast.GeneratorExp(elt=inner)]):
            yield from wish(clue, inner, wanted, plan)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="is_floating_point")) if name in clue.names:
            guess = clue.state.get(clue.names[name])
            if isinstance(guess, Tensor):
                yield clue.state.put(clue.names[name], replace(guess, values="normal" if wanted else "labels"))
        case ast.Name(id=name) if name in plan.parameters:
            yield clue.state.put(name, Plain(wanted))


def _compared(clue: Clue, left: ast.expr, op: ast.cmpop, right: ast.expr, wanted: bool, plan: Plan) -> Found:
    equal = isinstance(op, ast.Eq | ast.Is | ast.In) == wanted
    name, what = _asked(left)
    other, what_other = _asked(right)
    numbers = _integers(right, clue)
    if isinstance(op, ast.Gt | ast.GtE | ast.Lt | ast.LtE):
        larger = isinstance(op, ast.Gt | ast.GtE) == wanted
        strict = isinstance(op, ast.Gt | ast.Lt) == wanted
        numbers = [n + (strict if larger else -strict) for n in numbers]
        equal = True
    guess = clue.state.get(clue.names.get(name, name))
    target = clue.names.get(name, name)
    if isinstance(op, ast.Is | ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
        if equal:
            yield clue.state.put(target, None)
        else:
            yield from given_value(clue, target, plan)
        return
    if not equal:
        return
    if what == "rank" and isinstance(guess, Tensor):
        for number in numbers:
            for layout in LAYOUTS.get(number, ()):
                yield relayout(clue.state, layout)
                yield clue.state.put(target, replace(guess, shape=layout))
    elif what == "shape" and isinstance(guess, Tensor):
        second = clue.state.get(clue.names.get(other, other))
        if isinstance(second, Tensor):
            yield clue.state.put(target, replace(guess, shape=second.shape))
            yield clue.state.put(clue.names.get(other, other), replace(second, shape=guess.shape))
    elif what.startswith("size") and isinstance(guess, Tensor):
        yield from _size_wanted(clue, target, guess, what, numbers)
        second = clue.state.get(clue.names.get(other, other))
        if isinstance(second, Tensor) and what_other.startswith("size"):
            yield clue.state.put(clue.names.get(other, other), replace(second, shape=guess.shape))
            yield clue.state.put(target, replace(guess, shape=second.shape))
            yield square(clue.state)
    elif what == "length":
        yield from _length_wanted(clue, target, guess, numbers)
    elif what == "dtype" and isinstance(guess, Tensor):
        names = [n.attr for n in ast.walk(right) if isinstance(n, ast.Attribute)]
        for dtype in names:
            yield clue.state.put(target, _of_dtype(guess, dtype))
    elif what == "value":
        for constant in (n.value for n in ast.walk(right) if isinstance(n, ast.Constant)):
            if isinstance(guess, Plain | None) and target in plan.parameters:
                yield clue.state.put(target, Plain(constant))


def _size_wanted(clue: Clue, target: str, guess: Tensor, what: str, numbers: list[int]) -> Found:
    place = int(what[4:] or 0)
    for number in numbers:
        shape = list(guess.shape)
        if -len(shape) <= place < len(shape) and 0 < number < 4096:
            dim = shape[place]
            if isinstance(dim, str):
                yield clue.state.resize(dim, number)
            shape[place] = number
            yield clue.state.put(target, replace(guess, shape=tuple(shape)))
            state = clue.state
            for name, one in state.tensors():
                if len(one.shape) == len(shape):
                    state = state.put(name, replace(one, shape=tuple(shape)))
            yield state
        elif number > 0:
            yield from with_rank(clue, (place + 1) if place >= 0 else -place)


def _length_wanted(clue: Clue, target: str, guess: Guess | None, numbers: list[int]) -> Found:
    for number in numbers:
        if isinstance(guess, Several) and guess.items:
            yield clue.state.put(target, replace(guess, items=(guess.items[0],) * number))
        elif isinstance(guess, Tensor) and guess.shape and number > 0:
            if number in LAYOUTS and isinstance(guess.shape[0], str):
                yield clue.state.resize(guess.shape[0], number)
            yield clue.state.put(target, replace(guess, shape=(number, *guess.shape[1:])))


def _of_dtype(guess: Tensor, dtype: str) -> Tensor:
    if dtype in ("long", "int64"):
        return replace(guess, values="labels")
    if dtype == "bool":
        return replace(guess, values="mask")
    if dtype.startswith(("int", "uint")):
        return replace(guess, values="labels", dtype=dtype)
    if dtype.startswith(("float", "half", "double", "complex")):
        return replace(
            guess,
            values="normal" if guess.integral else guess.values,
            dtype="" if dtype in ("float32", "float") else dtype,
        )
    return guess


def _asked(node: ast.expr) -> tuple[str, str]:
    """The variable that one side of a comparison is about, and what of it."""
    match node:
        case ast.Name(id=name):
            return name, "value"
        case ast.Call(func=ast.Name(id="len"), args=[inner]):
            name, what = _asked(inner)
            return name, "rank" if what == "shape" else "length"
        case ast.Attribute(value=ast.Name(id=name), attr="shape"):
            return name, "shape"
        case ast.Attribute(value=ast.Name(id=name), attr="ndim"):
            return name, "rank"
        case ast.Attribute(value=ast.Name(id=name), attr="dtype"):
            return name, "dtype"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="dim" | "ndimension")):
            return name, "rank"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="size"), args=[]):
            return name, "shape"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="size"), args=[key]):
            return name, f"size{_integer(key)}"
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=name), attr="shape"), slice=ast.Slice()):
            return name, "shape"
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=name), attr="shape"), slice=key):
            return name, f"size{_integer(key)}"
    return "", ""


def _integers(node: ast.expr, clue: Clue) -> list[int]:
    """The numbers that an expression, or each item of a list of them, comes to in the failed run."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return [number for part in parts if (number := _number(part, clue)) is not None]


_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def _number(node: ast.expr, clue: Clue) -> int | None:
    """The number that an expression of constants, variables and numbers of dimensions comes to."""
    match node:
        case ast.Constant(value=value) if type(value) is int:
            return value
        case ast.Name() | ast.Attribute() if ast.unparse(node) in clue.numbers:
            return clue.numbers[ast.unparse(node)]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            one, other = _number(left, clue), _number(right, clue)
            return None if one is None or other is None else int(_ARITHMETIC[type(op)](one, other))
    name, what = _asked(node)
    guess = clue.state.get(clue.names.get(name, name))
    return len(guess.shape) if what == "rank" and isinstance(guess, Tensor) else None


def _integer(node: ast.expr) -> int:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return 0
    return value if isinstance(value, int) else 0


def _instance(clue: Clue, name: str, kinds: ast.expr, plan: Plan) -> Found:
    """An argument of one of the types that are asked for."""
    target = clue.names.get(name, name)
    if target not in plan.parameters:
        return
    guess = clue.state.get(target)
    made = guess if isinstance(guess, Tensor) else Tensor((N, C))
    words = [
        n.attr if isinstance(n, ast.Attribute) else n.id
        for n in ast.walk(kinds)
        if isinstance(n, ast.Attribute | ast.Name)
    ]
    for word in words:
        lower = word.lower()
        if "tensor" in lower:
            yield clue.state.put(target, made)
        elif lower in ("list", "tuple", "sequence", "iterable"):
            yield clue.state.put(target, Several((made, made), "tuple" if lower == "tuple" else "list"))
        elif lower in ("dict", "mapping"):
            keys = tuple(dict.fromkeys(plan.parameters[target].use.keys)) or ("a",)
            yield clue.state.put(target, Several((made,) * len(keys), "dict", keys))
        elif lower in ("float", "int", "number", "real", "integral"):
            number = naming.number(target)
            yield clue.state.put(target, Plain(float(number or 0.5) if lower == "float" else int(number or 2)))
        elif lower == "str":
            yield clue.state.put(target, Plain("mean"))
        elif lower == "bool":
            yield clue.state.put(target, Plain(True))
        elif lower == "ndarray":
            yield clue.state.put(target, Thing("array", held=made))
        elif lower == "module":
            yield clue.state.put(target, Thing("module"))
        elif lower in ("normal", "distribution"):
            yield clue.state.put(target, Thing("normal", held=made))
