"""Applying: calls of functions, methods, classes and modules, as far as reading knows what they compute."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from nanguard import ops
from nanguard.ops.names import ARRAYS, on_numbers, shows
from nanguard.reading.calls import ADDING, KNOWN, Call, label
from nanguard.reading.containers import extended
from nanguard.reading.members import Members, size
from nanguard.reading.state import Frame, State
from nanguard.reading.values import (
    DISTRIBUTIONS,
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
    Table,
    TensorMethod,
    Value,
    either,
    known,
    opaque,
    terms_in,
    to_term,
)
from nanguard.term import Term, const, is_number, make


class Applying(Members):
    """Finds out what is called, and what the call gives."""

    def call(self, node: ast.Call, state: State, frame: Frame) -> Value:
        function = self.evaluate(node.func, state, frame)
        args: list[Value] = []
        for arg in node.args:
            value = self.evaluate(arg, state, frame)
            if isinstance(arg, ast.Starred):
                args.extend(value.items if isinstance(value, Items) else self.unlisted(value))
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

    def unlisted(self, value: Value) -> list[Value]:
        """The arguments that a list of unknown length gives: one that stands for all, and the last if that is known."""
        if isinstance(value, Many) and value.last is not None:
            return [opaque("item"), value.last]
        return [self.element(value)]

    def written_in_place(
        self, node: ast.Call, function: Value, args: Sequence[Value], result: Value, state: State, frame: Frame
    ) -> None:  # fmt: skip
        """``x.clamp_(min=0)`` changes what ``x`` names, and so does ``losses.append(x)``."""
        if isinstance(result, Built) and isinstance(node.func, ast.Attribute) and _adds(function):
            self.assign(node.func.value, result, state, frame)
        if not isinstance(function, TensorMethod) or not isinstance(node.func, ast.Attribute):
            return
        changed = node.func.value
        held = frame.values.get(changed)
        if isinstance(held, Items | Many):
            grown = extended(held, function.name, args)
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
            case Choice(values=values):
                return either([self.apply(value, args, keywords, node, state, frame) for value in values])
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
        (self.shown if shows(label(node)) else self.handed).update(held)
        made = opaque(name, tuple(held), f"{node.lineno}:{node.col_offset}")
        return make("detach", (made,)) if name.startswith(ARRAYS) else made

    def external(
        self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr, state: State,
        frame: Frame,
    ) -> Value:  # fmt: skip
        """A call of something of another module."""
        inside = self.followed(External(name))
        if inside is not None:
            return self.apply(inside, args, keywords, node, state, frame)
        name = name.replace("torch.Tensor.", "Tensor.")
        plain = on_numbers(name)
        if plain != name and plain in ops.spellings() and all(map(_is_single_number, args)):
            name = plain
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
        if found is None and name.startswith("torch.") and name.endswith("_"):  # torch.log_(x) gives what it writes
            found = self.operation(name[:-1], args, keywords, node, state, frame)
        wants_gradient = known(keywords.get("requires_grad", const(False)))
        if wants_gradient is not None and wants_gradient.value is True and isinstance(found, Term):
            held = () if ops.random(found) else tuple(terms_in(found))  # drawn once and learnt from then on
            return opaque("Parameter", held, f"{node.lineno}:{node.col_offset}")
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
            return Shape(term) if not args else size(term, dim.value if dim is not None else to_term(args[0]))
        if name == "masked_select" and args and isinstance(args[0], Term):
            term = self.selected(term, args[0])
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


def _is_single_number(value: Value) -> bool:
    """Whether a value is a number of Python: a constant, a size, or what is worked out from such."""
    if not isinstance(value, Term):
        return False
    if value.op == "const":
        return is_number(value)
    worked_out = bool(value.args) and ops.family(value) == ops.ELEMENTWISE
    return ops.size(value) or (worked_out and all(map(_is_single_number, value.args)))


def _adds(function: Value) -> bool:
    """Whether a method of a module puts another one behind those that it has."""
    return (
        isinstance(function, Partial) and isinstance(function.function, External) and function.function.name in ADDING
    )
