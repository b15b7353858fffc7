"""Term: the one representation between the front ends and the back ends, and its expression language.

A term is an immutable, hash-consed node ``(op, operands, attributes)``.  Two equal terms are one object, so identity
is equality and a term can key a memo table.  Where in a file a term stands is kept beside it (`finding.Span`), since
equal terms stand in several places.

The expression language writes terms as text: ``log(1 - sigmoid(x))``, ``sum(exp(x), dim=d, keepdim=k)``.  Rules,
identities and the meanings of composite operations are written in it.  It is read with `ast.parse` and a whitelist,
so that text from a stranger's rule file can only ever become a term.
"""

from __future__ import annotations

import ast
import weakref
import zlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

Attr = object  # None, bool, int, float, str, a tuple of these, UNKNOWN or a Hole


class ExpressionError(ValueError):
    """Text that is not an expression of the rule language; the message says which part is not."""


@dataclass(frozen=True, slots=True)
class Hole:
    """An attribute variable of a pattern: ``d`` in ``softmax(x, dim=d)``."""

    name: str


class _Unknown:
    """The value of an attribute that reading could not find out; it equals nothing but itself."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN = _Unknown()


@dataclass(slots=True, eq=False, weakref_slot=True)
class Term:
    """A node of the term graph; build it with `make`, `const`, `var` or `symbol`, never directly.

    Nothing changes one once it is built, which the types say: to enforce it on each assignment takes longer than all
    else that is done for a new node.
    """

    op: Final[str]
    args: Final[tuple[Term, ...]]
    attrs: Final[tuple[tuple[str, Attr], ...]]
    size: Final[int]  # nodes of the term written out as a tree
    value: Final[Attr] = None  # of a constant
    numeric: Final[bool] = False  # whether it is a constant that is a number; booleans are none
    hashed: int | None = field(default=None, init=False, repr=False)  # the digest, once it has been asked for

    @property
    def digest(self) -> int:
        """The same in every process: what operands of a commutative operation are ordered by."""
        if self.hashed is None:
            for node in walk(self, known=_HASHED):
                node.hashed = _digest(node)
            assert self.hashed is not None
        return self.hashed

    def attr(self, name: str, default: Attr = None) -> Attr:
        """The value of the attribute `name`, or `default` where the term has none."""
        for key, value in self.attrs:
            if key == name:
                return value
        return default

    @property
    def name(self) -> str:
        """The name of a variable, a symbol or an opaque leaf."""
        return str(self.attr("name"))

    def __repr__(self) -> str:
        return show(self)


_Key = tuple[object, ...]


_terms: dict[_Key, weakref.ref[Term]] = {}
_FEW = 50_000  # entries of the table below which it is not gone through
_kept = _FEW  # entries that were left when it was last gone through


def _tidy() -> None:
    """Take the terms that are gone out of the table, once it has grown to twice its size.

    A key holds the operands of its term, and a term is entered after its operands: going backwards, what only entries
    that are taken out have held is gone before it is come to.  It costs less than a callback for each term that goes.
    """
    global _kept
    keys = list(_terms)
    while keys:
        key = keys.pop()  # the list lets go of it, too
        if _terms[key]() is None:
            del _terms[key]
    _kept = max(len(_terms), _FEW)


def make(op: str, args: tuple[Term, ...] = (), attrs: tuple[tuple[str, Attr], ...] = ()) -> Term:
    """The one term with this operation, these operands and these attributes.

    The types of the attribute values are part of the key: ``1``, ``1.0`` and ``True`` are three constants.
    """
    key: _Key
    if not attrs:
        key = (op, args)
    elif len(attrs) == 1:
        key = (op, args, attrs, type(attrs[0][1]))
    else:
        key = (op, args, attrs, *[type(value) for _, value in attrs])
    known = _terms.get(key)
    if known is not None and (term := known()) is not None:
        return term
    return _new(key, op, args, attrs)


def _new(key: _Key, op: str, args: tuple[Term, ...], attrs: tuple[tuple[str, Attr], ...]) -> Term:
    size = 1
    for arg in args:
        size += arg.size
    value = attrs[0][1] if op == "const" else None
    term = Term(op, args, attrs, size, value, type(value) in (int, float))
    if len(_terms) >= 2 * _kept:
        _tidy()
    _terms[key] = weakref.ref(term)
    return term


def _digest(term: Term) -> int:
    """The digest of a term whose operands have theirs."""
    text = f"{term.op}{term.attrs}{[arg.hashed for arg in term.args]}"
    return zlib.crc32(text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass"))


class _Hashed:
    """The terms whose digests are known."""

    def __contains__(self, term: object) -> bool:
        return isinstance(term, Term) and term.hashed is not None


_HASHED = _Hashed()


def const(value: Attr) -> Term:
    """The constant `value`: a number, a string, a bool or None."""
    return make("const", (), (("value", value),))


def var(name: str) -> Term:
    """A variable of a pattern."""
    return make("variable", (), (("name", name),))


def symbol(name: str, kind: str = "tensor", **facts: Attr) -> Term:
    """A leaf of a program: an argument, an attribute of ``self``, a size.

    `kind` is one of ``tensor``, ``number``, ``size`` (an integer >= 0), ``mask`` (booleans) and ``index``
    (integers).  `facts` may hold ``low`` and ``high``, bounds of its value that are known,
    and ``low_open`` and ``high_open``, whether these are not reached.
    """
    return make("symbol", (), (("name", name), ("kind", kind), *sorted(facts.items())))


def is_number(term: Term) -> bool:
    """Whether the term is a numeric constant (booleans are not)."""
    return term.numeric


def number(term: Term) -> float | None:
    """The value of a numeric constant as a float, None for any other term."""
    if not term.numeric:
        return None
    try:
        return float(term.value)  # type: ignore[arg-type]
    except OverflowError:
        return None


def walk(*terms: Term, known: Container[Term] = ()) -> Iterator[Term]:
    """The distinct terms below and including `terms`, operands before the terms that use them.

    What is in `known` is left out, with all that is below it.
    """
    opened: set[Term] = set()
    done: set[Term] = set()
    stack = [term for term in reversed(terms) if term not in known]
    while stack:
        node = stack[-1]
        if node in opened:
            stack.pop()
            if node not in done:
                done.add(node)
                yield node
        elif node.args:
            opened.add(node)
            stack.extend([arg for arg in reversed(node.args) if arg not in opened and arg not in known])
        else:
            stack.pop()
            opened.add(node)
            done.add(node)
            yield node


def is_entry(node: Term) -> bool:
    """Whether a term is what stands in a table under a name: ``batch["x"]`` is a tensor, and ``batch`` is none."""
    key = node.attr("key") if node.op == "index" else None
    return isinstance(key, tuple) and any(isinstance(part, str) and part != "..." for part in key)


def rebuild(term: Term, change: Callable[[Term, tuple[Term, ...]], Term]) -> Term:
    """The term made anew from below: `change` gets each node with its changed operands."""
    done: dict[Term, Term] = {}
    for node in walk(term):
        done[node] = change(node, tuple(done[arg] for arg in node.args))
    return done[term]


def substitute(term: Term, mapping: Mapping[Term, Term]) -> Term:
    """`term` with each subterm that is a key of `mapping` replaced (outermost first, not inside a replacement)."""
    return _substituted(term, mapping, {})


def _substituted(node: Term, mapping: Mapping[Term, Term], done: dict[Term, Term]) -> Term:
    if node in mapping:
        return mapping[node]
    if node not in done:
        args = tuple([_substituted(arg, mapping, done) for arg in node.args])
        done[node] = node if args == node.args else make(node.op, args, node.attrs)
    return done[node]


def fill(template: Term, bindings: Mapping[str, Term], attributes: Mapping[str, Attr]) -> Term:
    """A template with its variables and attribute variables replaced by what they are bound to."""

    def change(node: Term, args: tuple[Term, ...]) -> Term:
        if node.op == "variable":
            return bindings.get(node.name, node)
        attrs = tuple(
            (key, attributes.get(value.name, value) if isinstance(value, Hole) else value) for key, value in node.attrs
        )
        return make(node.op, args, attrs)

    return rebuild(template, change)


# --- the expression language -----------------------------------------------------------------------------------------

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_COMPARE = {ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne"}
_NAMES: dict[str, Attr] = {"none": None, "true": True, "false": False, "inf": float("inf"), "nan": float("nan")}
_LONGEST = 2000  # characters: no rule is longer, and the parser's cost stays bounded
_DEEPEST = 60

Signature = Callable[[str], tuple[tuple[str, ...], Mapping[str, Attr]] | None]


def parse(text: str, signature: Signature) -> Term:
    """The term that `text` writes; names become variables.

    `signature` gives for the name of an operation its operands and its attributes with their defaults, or None for a
    name that is no operation.  Raises `ExpressionError` for anything the language has not got.
    """
    if len(text) > _LONGEST:
        raise ExpressionError(f"an expression is at most {_LONGEST} characters long, this one has {len(text)}")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"not an expression: {text!r} ({error})") from None
    return _Parser(text, signature).term(body, 0)


@dataclass(frozen=True, slots=True)
class _Parser:
    text: str
    signature: Signature

    def term(self, node: ast.expr, depth: int) -> Term:
        if depth > _DEEPEST:
            raise ExpressionError(f"nested deeper than {_DEEPEST}: {self.text!r}")
        match node:
            case ast.Name(id=name):
                return const(_NAMES[name]) if name in _NAMES else var(name)
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return const(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return const(-value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return make("neg", (self.term(operand, depth + 1),))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return make(_BINARY[type(op)], (self.term(left, depth + 1), self.term(right, depth + 1)))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return make(_COMPARE[type(op)], (self.term(left, depth + 1), self.term(right, depth + 1)))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
                return self.call(name, args, keywords, depth)
        raise ExpressionError(f"{ast.unparse(node)!r} is not part of the rule language: {self.text!r}")

    def call(self, name: str, args: list[ast.expr], keywords: list[ast.keyword], depth: int) -> Term:
        found = self.signature(name)
        if found is None:
            raise ExpressionError(f"unknown operation {name!r} in {self.text!r}")
        operands, defaults = found
        given: dict[str, ast.expr] = dict(zip((*operands, *defaults), args, strict=False))
        if len(args) > len(operands) + len(defaults):
            raise ExpressionError(f"{name} takes {len(operands) + len(defaults)} arguments: {self.text!r}")
        for keyword in keywords:
            if keyword.arg is None or keyword.arg in given or keyword.arg not in (*operands, *defaults):
                raise ExpressionError(f"{name} has no argument {keyword.arg!r} to give here: {self.text!r}")
            given[keyword.arg] = keyword.value
        missing = [operand for operand in operands if operand not in given]
        if missing:
            raise ExpressionError(f"{name} needs the operand {missing[0]!r}: {self.text!r}")
        terms = tuple(self.term(given[operand], depth + 1) for operand in operands)
        attrs = tuple((key, self.attr(given[key]) if key in given else value) for key, value in defaults.items())
        return make(name, terms, attrs)

    def attr(self, node: ast.expr) -> Attr:
        match node:
            case ast.Name(id=name):
                return _NAMES[name] if name in _NAMES else Hole(name)
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Tuple(elts=elements):
                return tuple(self.attr(element) for element in elements)
        raise ExpressionError(f"{ast.unparse(node)!r} is no attribute value: {self.text!r}")


_INFIX = {
    "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 5), "div": ("/", 5), "pow": ("**", 7),
    "gt": (">", 2), "ge": (">=", 2), "lt": ("<", 2), "le": ("<=", 2), "eq": ("==", 2), "ne": ("!=", 2),
}  # fmt: skip


def infix(op: str) -> tuple[str, int] | None:
    """The operator sign of an operation and how tightly it binds, None for one that is written as a call."""
    return _INFIX.get(op)


_SHOWN = 2000  # operations of a term that is written out: what is shared is written as often as it is used


def show(term: Term, level: int = 0) -> str:
    """The term as text of the expression language (for messages, tests and debugging)."""
    if term.op == "const":
        return repr(term.value)
    if term.op in ("variable", "symbol"):
        return term.name
    if term.size > _SHOWN:
        return f"{term.op}(...)"
    sign = infix(term.op)
    if sign is not None and len(term.args) >= 2:
        text = f" {sign[0]} ".join(show(arg, sign[1] + (index > 0)) for index, arg in enumerate(term.args))
        return f"({text})" if level > sign[1] else text
    if term.op == "neg":
        return f"-{show(term.args[0], 6)}" if level <= 6 else f"(-{show(term.args[0], 6)})"
    parts = [show(arg) for arg in term.args]
    parts += [f"{key}={value!r}" for key, value in term.attrs if value is not None]
    return f"{term.op}({', '.join(parts)})"
