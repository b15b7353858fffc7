"""Source: terms as Python source, in the words of the program where it has some."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from nanguard import ops
from nanguard.ops.row import REQUIRED, Op
from nanguard.term import UNKNOWN, Attr, Term, fill, infix

_ATOM, _UNARY = 9, 6


class Unprintable(Exception):
    """A term has a part for which the program has no word at that place."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a place of the program calls things: terms, and modules and functions by their full dotted names."""

    terms: Mapping[Term, str]
    modules: Mapping[str, str]

    def function(self, name: str) -> str:
        """A function of torch as the place can write it."""
        full = ops.full_name(name)
        if full in self.modules:
            return self.modules[full]
        parent, _, last = full.rpartition(".")
        while parent:
            if parent in self.modules:
                return f"{self.modules[parent]}.{last}"
            parent, _, middle = parent.rpartition(".")
            last = f"{middle}.{last}"
        return full

    def importing(self) -> bool:
        """Whether the place has torch under some name, so that its functions can be written."""
        return any(name == "torch" or name.startswith("torch.") for name in self.modules)


def source_of(term: Term, words: Words) -> str:
    """The term as an expression of Python; raises `Unprintable`."""
    return _write(term, words, 0)


def _write(term: Term, words: Words, level: int) -> str:
    known = words.terms.get(term)
    if known is not None:
        return known if level <= strength(known) else f"({known})"
    if term.op == "const":
        text = repr(term.value)
        return f"({text})" if level > _UNARY and text.startswith("-") else text
    row = ops.row(term.op)
    if row is None or term.op in ("opaque", "either"):
        raise Unprintable(term.op)
    sign = infix(term.op)
    if sign is not None:
        right = sign[1] if sign[0] == "**" else sign[1] + 1
        left = sign[1] + 1 if sign[0] == "**" else sign[1]
        text = f"{_write(term.args[0], words, left)} {sign[0]} {_write(term.args[1], words, right)}"
        return f"({text})" if level > sign[1] else text
    if term.op == "neg":
        text = f"-{_write(term.args[0], words, _UNARY)}"
        return f"({text})" if level > _UNARY else text
    if row.family == ops.CAST and row.torch is None:
        return _write(term.args[0], words, level)
    return _call(term, row, words, level)


def _call(term: Term, row: Op, words: Words, level: int) -> str:
    if row.torch is None or row.torch.startswith("operator."):
        meaning = ops.meaning(term.op)
        if meaning is None:
            raise Unprintable(term.op)
        return _write(fill(meaning, dict(zip(row.operands, term.args, strict=True)), dict(term.attrs)), words, level)
    operands = [_write(arg, words, 0) for arg in _given(row, term)]
    attributes = [f"{key}={value!r}" for key, value in _written(row, term)]
    if row.torch.startswith("Tensor."):
        method = row.torch.removeprefix("Tensor.")
        return f"{_write(term.args[0], words, _ATOM)}.{method}({', '.join(operands[1:] + attributes)})"
    return f"{words.function(row.torch)}({', '.join(operands + attributes)})"


def _given(row: Op, term: Term) -> list[Term]:
    """The operands without the trailing ones that are None by default."""
    args = list(term.args)
    defaults = [default for _, default in row.signature.operands]
    while args and args[-1].op == "const" and args[-1].value is None and defaults[len(args) - 1] is None:
        args.pop()
    return args


def _written(row: Op, term: Term) -> list[tuple[str, Attr]]:
    """The attributes that differ from their defaults."""
    result = []
    for key, default in row.signature.attrs:
        value = term.attr(key)
        if value is UNKNOWN:
            raise Unprintable(key)
        if default is REQUIRED or value != default:
            result.append((key, value))
    return result


def strength(text: str) -> int:
    """How tightly a text binds: an atom may stand anywhere, a sum needs brackets under a product."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return 0
    match node:
        case ast.Name() | ast.Attribute() | ast.Call() | ast.Subscript() | ast.Constant():
            return _ATOM
        case ast.UnaryOp(op=ast.USub()):
            return _UNARY
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return 4
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            return 5
    return 0


