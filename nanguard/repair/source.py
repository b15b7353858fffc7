"""Source: terms as Python source, in the words of the program where it has some."""

from __future__ import annotations

import ast
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from nanguard import ops
from nanguard.ops.row import REQUIRED, Op
from nanguard.term import UNKNOWN, Attr, Term, fill, infix, make, number, walk

_ATOM, _UNARY = 9, 6
_MOST = 200  # operations in a replacement: a longer one nobody reads
# what they take is not all in their terms
_WORDLESS = ("opaque", "either", "pick", "sort", "unbind", "stack", "to", "dropout")


class Unprintable(Exception):
    """A term has a part for which the program has no word at that place."""


Move = tuple[str, tuple[Term, ...], tuple[tuple[str, Attr], ...]]  # a movement without what it moves


def move(term: Term) -> Move:
    """The movement at the root of a term."""
    return term.op, term.args[1:], term.attrs


@dataclass(frozen=True, slots=True)
class Words:
    """What a place of the program calls things: terms, and modules and functions by their full dotted names."""

    terms: Mapping[Term, str]
    modules: Mapping[str, str]
    moves: Mapping[Move, tuple[str, str]] = field(default_factory=dict)  # what stands before and behind the operand
    settings: Mapping[tuple[str, Attr], str] = field(default_factory=dict)  # attributes that have a name: ``dim=axis``

    def function(self, name: str) -> str:
        """A function of torch as the place can write it; by its full name where nothing there reaches it."""
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


def source_of(term: Term, words: Words) -> str:
    """The term as an expression of Python; raises `Unprintable`."""
    if _written_out(term, words, {}) > _MOST:
        raise Unprintable(term.op)
    return _write(term, words, 0)


def _written_out(term: Term, words: Words, known: dict[Term, int]) -> int:
    """How many operations the source of a term has: what is shared is written as often as it is used."""
    if term in words.terms or not term.args:
        return 1
    if term not in known:
        known[term] = 1 + sum(_written_out(arg, words, known) for arg in term.args)
    return known[term]


def inwards(term: Term, words: Words) -> Term:
    """The term with movements of entries done to the operands of elementwise operations, where these have words.

    ``log(sigmoid(x[mask]))`` has the normal form ``log(sigmoid(x))[mask]``; the program has ``x[mask]``.
    """
    return _inwards(term, words, {})


def _inwards(term: Term, words: Words, done: dict[Term, Term]) -> Term:
    if term in words.terms or term.op == "const" or not term.args:
        return term
    if term not in done:
        inner = _inwards(term.args[0], words, done)
        moved = _moved(term, inner, words, done)
        done[term] = (
            make(term.op, (inner, *(_inwards(arg, words, done) for arg in term.args[1:])), term.attrs)
            if moved is None
            else make(inner.op, moved, inner.attrs)
        )
    return done[term]


def _moved(term: Term, inner: Term, words: Words, done: dict[Term, Term]) -> tuple[Term, ...] | None:
    """The operands of what a movement moves, each moved by itself; None where that may be something else.

    Where there are several that are no numbers, they may be of other shapes and stretched to one: such are moved only
    if the program has them moved.
    """
    if ops.family(term) != ops.MOVEMENT or inner in words.terms or ops.family(inner) != ops.ELEMENTWISE:
        return None
    single = sum(not _is_number(arg) for arg in inner.args) == 1
    moved = tuple(
        arg if _is_number(arg) else _inwards(make(term.op, (arg, *term.args[1:]), term.attrs), words, done)
        for arg in inner.args
    )
    return moved if single or not any(_has_movement(arg, words) for arg in moved) else None


def _is_number(term: Term) -> bool:
    return term.op == "const" or term.attr("kind") in ("number", "size")


def _has_movement(term: Term, words: Words) -> bool:
    """Whether a term moves entries in a way for which the program has no words."""
    below = walk(term, known=words.terms)
    return any(ops.family(node) == ops.MOVEMENT for node in below)


def _write(term: Term, words: Words, level: int) -> str:
    known = words.terms.get(term)
    if known is not None:
        return known if level <= strength(known) else f"({known})"
    if term.op == "const":
        text = repr(term.value)
        if isinstance(term.value, float) and not math.isfinite(term.value):
            text = f"float({text!r})"
        return f"({text})" if level > _UNARY and text.startswith("-") else text
    if ops.family(term) == ops.CAST and term.args[0].op == "const" and term.attr("dtype") is None:
        return f"{words.function('torch.tensor')}({_write(term.args[0], words, 0)})"
    if term.args and move(term) in words.moves:
        before, behind = words.moves[move(term)]
        return f"{before}{_write(term.args[0], words, 0 if before else _ATOM)}{behind}"
    if term.op == "index" and term.attr("key") is not UNKNOWN:
        return f"{_write(term.args[0], words, _ATOM)}[{_key(term.attr('key'))}]"
    row = ops.row(term.op)
    if row is None or term.op in _WORDLESS or row.family == ops.LEAF:  # whose dtype and device are not in its term
        raise Unprintable(term.op)
    sign = infix(term.op)
    if sign is not None:
        right = sign[1] if sign[0] == "**" else sign[1] + 1
        left = sign[1] + 1 if sign[0] == "**" else sign[1]
        symbol, operand = sign[0], _write(term.args[1], words, right)
        if symbol == "-" and operand.startswith("-") and _is_literal(operand[1:]):  # less a negative number
            symbol, operand = "+", operand[1:]
        text = f"{_write(term.args[0], words, left)} {symbol} {operand}"
        return f"({text})" if level > sign[1] else text
    if term.op == "neg" and term.args[0].op == "mul" and number(term.args[0].args[0]) == -1:  # -(-1.0 * x)
        return _write(term.args[0].args[1], words, level)
    if term.op == "neg":
        text = f"-{_write(term.args[0], words, _UNARY)}"
        return f"({text})" if level > _UNARY else text
    if row.family == ops.CAST and row.torch is None:
        return _write(term.args[0], words, level)
    return _call(term, row, words, level)


def _is_literal(text: str) -> bool:
    return isinstance(ast.parse(text, mode="eval").body, ast.Constant)


def _of_numbers(term: Term, row: Op, words: Words) -> str:
    """A function of numbers, which torch's has none of: worked out, or a call of Python's own."""
    name = f"math.{term.op}"
    if name not in row.spellings:
        raise Unprintable(term.op)
    values = [number(arg) for arg in term.args]
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        try:
            return repr(getattr(math, term.op)(*known))
        except (ValueError, OverflowError) as error:
            raise Unprintable(term.op) from error
    if "math" not in words.modules:
        raise Unprintable(name)
    return f"{words.modules['math']}.{term.op}({', '.join(_write(arg, words, 0) for arg in term.args)})"


def _call(term: Term, row: Op, words: Words, level: int) -> str:
    if row.family == ops.ELEMENTWISE and term.op != "where" and all(map(_is_number, term.args)):
        return _of_numbers(term, row, words)
    if row.torch is None or row.torch.startswith("operator."):
        meaning = ops.meaning(term.op)
        if meaning is None:
            raise Unprintable(term.op)
        return _write(fill(meaning, dict(zip(row.operands, term.args, strict=True)), dict(term.attrs)), words, level)
    if term.op == "logsumexp" and term.attr("dim") is None:  # torch wants to be told
        term = make(
            term.op,
            (make("flatten", term.args, (("start_dim", 0), ("end_dim", -1))),),
            (("dim", 0), ("keepdim", False)),
        )
    operands = _operands(row, term, words)
    if row.family == ops.COMPOSITE:  # torch has those with a default (an eps) behind attributes
        operands = _by_name(row, term, operands)
    attributes = [
        f"{key}={words.settings.get((key, value)) or repr(value)}" for key, value in _written(row, term, words.settings)
    ]
    if row.torch.startswith("Tensor."):
        method = row.torch.removeprefix("Tensor.")
        return f"{_write(term.args[0], words, _ATOM)}.{method}({', '.join(operands[1:] + attributes)})"
    return f"{words.function(row.torch)}({', '.join(operands + attributes)})"


def _operands(row: Op, term: Term, words: Words) -> list[str]:
    """The operands, by their names behind one that is left out: ``torch.clamp(x, max=80)``."""
    written: list[str] = []
    left_out = False
    for (name, default), arg in zip(row.signature.operands, _given(row, term), strict=False):
        if default is None and arg.op == "const" and arg.value is None:
            left_out = True
            continue
        text = _write(arg, words, 0)
        written.append(f"{name}={text}" if left_out else text)
    return written


def _key(key: Attr) -> str:
    """What stands between the brackets of an index: ``:, 0``."""
    match key:
        case ("slice", start, stop, step):
            text = ":".join("" if bound is None else repr(bound) for bound in (start, stop))
            return text if step is None else f"{text}:{step!r}"
        case tuple():
            return ", ".join(map(_key, key))
    return str(key)


def _given(row: Op, term: Term) -> list[Term]:
    """The operands without the trailing ones that are None by default."""
    args = list(term.args)
    defaults = [default for _, default in row.signature.operands]
    while args and args[-1].op == "const" and args[-1].value is None and defaults[len(args) - 1] is None:
        args.pop()
    return args


def _by_name(row: Op, term: Term, operands: list[str]) -> list[str]:
    """The operands as written, those with a default by their names and only where they differ from it."""
    listed = zip(row.signature.operands, term.args, operands, strict=False)
    return [
        text if default is REQUIRED else f"{name}={text}"
        for (name, default), arg, text in listed
        if default is REQUIRED or arg.op != "const" or arg.value != default
    ]


def _written(row: Op, term: Term, named: Container[tuple[str, Attr]]) -> list[tuple[str, Attr]]:
    """The attributes that differ from their defaults, or that the program has a name for."""
    result = []
    for key, default in row.signature.attrs:
        value = term.attr(key)
        if value is UNKNOWN:
            raise Unprintable(key)
        if default is REQUIRED or value != default or (key, value) in named:
            starred = row.family == ops.MOVEMENT and row.signature.star and isinstance(value, int)
            result.append((key, (value,) if starred else value))
    return result


def strength(text: str) -> int:
    """How tightly a text binds: an atom may stand anywhere, a sum needs brackets under a product."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:  # a walrus needs brackets anywhere
        return -1
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
