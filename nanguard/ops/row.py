"""The shape of a row of the ops table, and how the spellings of an operation are written and bound.

A signature is written ``operands ; attributes``: ``"x ; dim=None, keepdim=False"``.  Operands are terms, attributes
plain values.  ``*dim`` as the first attribute takes the remaining positional arguments (``x.sum(0, 1)``).

A spelling is a dotted name, alone when it takes its arguments as the row does, else with a signature of its own, and
with an expression where its arguments mean something else.  A kind behind a parameter says which arguments it takes:
`int` one number, not a tuple of some, `float` a number, a value itself alone::

    torch.sigmoid
    torch.clamp_min(x, min) -> clamp(x, min, none)
    torch.norm(x; p: 'nuc') -> matrix_norm(x, ord='nuc')
    nn.Softmax[dim=None]                    a module: the arguments of its constructor, then those of the row

``F.`` and ``nn.`` are short for ``torch.nn.functional.`` and ``torch.nn.``, ``Tensor.`` marks a method.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from nanguard.matching.interval import Interval
from nanguard.term import UNKNOWN, Attr, Term, const, fill, make

ELEMENTWISE, REDUCE, AXIS, MOVEMENT, CAST, LEAF, COMPOSITE = (
    "elementwise", "reduce", "axis", "movement", "cast", "leaf", "composite",
)  # fmt: skip

Range = Callable[..., Interval]
Exact = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters of a spelling: operands and attributes with their defaults; REQUIRED marks those without one."""

    operands: tuple[tuple[str, Attr], ...]
    attrs: tuple[tuple[str, Attr], ...]
    star: bool = False  # the first attribute takes the remaining positional arguments
    kinds: tuple[tuple[str, str], ...] = ()  # the arguments that some parameters take, as written


REQUIRED = object()


@cache
def signature(text: str) -> Signature:
    """Read a signature as the table writes it."""
    operands, _, attrs = text.partition(";")
    star = attrs.strip().startswith("*")
    attrs = attrs.strip().removeprefix("*")
    return Signature(_parameters(operands), _parameters(attrs), star, _kinds(attrs) if ":" in attrs else ())


def _arguments(text: str) -> ast.arguments:
    return ast.parse(f"def f({text}): pass").body[0].args  # type: ignore[attr-defined, no-any-return]


def _kinds(text: str) -> tuple[tuple[str, str], ...]:
    found = ((argument.arg, argument.annotation) for argument in _arguments(text).args)
    return tuple((name, ast.unparse(kind)) for name, kind in found if kind is not None)


def takes(kind: str, value: Attr) -> bool:
    """Whether a parameter of a kind takes an argument; one that is not known it may."""
    value = as_attr(value)
    value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    match kind:
        case "int":
            return not isinstance(value, tuple)
        case "float":
            return not isinstance(value, str | None)
    return bool(value == ast.literal_eval(kind))


def _parameters(text: str) -> tuple[tuple[str, Attr], ...]:
    if not text.strip():
        return ()
    arguments = _arguments(text)
    missing = [REQUIRED] * (len(arguments.args) - len(arguments.defaults))
    defaults = [*missing, *(ast.literal_eval(default) for default in arguments.defaults)]
    return tuple(zip((argument.arg for argument in arguments.args), defaults, strict=True))


@dataclass(frozen=True, slots=True)
class Op:
    """A canonical operation.

    `torch` is the dotted name by which it is run, emitted to fx and printed; `means` what it computes in terms of
    other operations (then `range` and `exact` follow from it where they are not given); `range` maps the intervals of
    the operands to that of the result; `exact` computes it on dual numbers over balls, entry by entry.
    """

    name: str
    signature: Signature
    family: str
    torch: str | None = None
    spellings: tuple[str, ...] = ()
    means: str | None = None
    range: Range | None = None
    exact: Exact | None = None
    commutes: bool = False
    pure: bool = True
    pair: bool = False  # it gives values and their indices: ``values, indices = x.sort()``
    tensors: bool = False  # torch's function takes no Python number beside a tensor
    mask: bool = False  # it gives true or false for each entry, and so can select entries
    plain: bool = False  # arithmetic that no rule of float32 is about on its own
    probability: bool = False  # it makes probabilities of logits
    selects: bool = False  # it gives some of the entries of its operand
    masked: tuple[int, ...] = ()  # the operands of which a mask takes some entries, and drops the others
    decides: int | None = None  # the operand that is this mask
    catches: bool = False  # it tells, or replaces, entries that are nan or infinite
    flat: bool = False  # its derivative is 0 wherever it has one: a count, an index, a whole number
    cuts: bool = False  # no gradient comes back through it: what it gives is no float, or cut off
    nests: bool = False  # a reduction of the same reduction is one: a sum of sums
    size: bool = False  # it gives a number of entries, whatever these are
    square: bool = False  # it takes square matrices
    singular: bool = False  # it, or its derivative, can be non-finite at a finite argument

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the operands, in order."""
        return tuple(name for name, _ in self.signature.operands)


@dataclass(frozen=True)
class Spelling:
    """One way to write an operation."""

    name: str
    op: str
    signature: Signature
    constructor: Signature | None = None  # for a module
    template: Term | None = None
    alone: tuple[tuple[str, Attr], ...] | None = None  # the attributes of a call with all operands and no more

    @cached_property
    def receives(self) -> tuple[tuple[str, Attr], ...]:
        """The parameters in the order in which they are taken from positional arguments."""
        return (*self.signature.operands, *self.signature.attrs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of these parameters."""
        return tuple(name for name, _ in self.receives)


_SPELLING = re.compile(r"^(?P<name>[\w.]+)(\[(?P<ctor>.*)\])?(\((?P<params>.*?)\))?(\s*->\s*(?P<template>.+))?$")


_LISTED = re.compile(r"[\w.]+(?:\[[^\]]*\])?(?:\([^)]*\))?")


def listed(text: str, name: str) -> tuple[str, ...]:
    """The spellings of a list that has spaces between them; `{}` stands for the name of the operation."""
    return tuple(_LISTED.findall(text.replace("{}", name)))


def read_spelling(text: str, op: Op, parse: Callable[[str], Term]) -> Spelling:
    """Read a spelling of the row `op`; `parse` reads an expression."""
    match = _SPELLING.match(text.strip())
    if match is None:
        raise ValueError(f"not a spelling: {text!r}")
    name = match["name"].replace("F.", "torch.nn.functional.", 1) if match["name"].startswith("F.") else match["name"]
    if name.startswith("nn."):
        name = "torch." + name
    constructor = signature(f"; {match['ctor']}") if match["ctor"] is not None else None
    own = signature(match["params"]) if match["params"] is not None else op.signature
    template = parse(match["template"]) if match["template"] else None
    return Spelling(name, op.name, own, constructor, template, None if template else _defaults(own, op))


def _defaults(own: Signature, row: Op) -> tuple[tuple[str, Attr], ...] | None:
    """The attributes of an operation that a spelling does not give, None where one must be given."""
    given = dict(own.attrs)
    attrs = tuple((name, as_attr(given.get(name, default))) for name, default in row.signature.attrs)
    operands = {name for name, _ in own.operands}
    return None if any(value is REQUIRED or name in operands for name, value in (*attrs, *own.attrs)) else attrs


class BindError(TypeError):
    """The arguments of a call do not fit the spelling."""


# Keyword names that mean the first operand, whatever the row calls it.
_FIRST = ("input", "self")
_RENAMED = {"axis": "dim", "keepdims": "keepdim", "ddof": "correction", "unbiased": "correction", "p": "ord"}


# flags of old losses, with the reduction that they mean where they are false
_FLAGS = (("size_average", "sum"), ("reduce", "none"))


def parameter(names: Sequence[str], key: str) -> str:
    """The parameter that a keyword gives, among those of a spelling."""
    if key in names:
        return key
    return names[0] if key in _FIRST and names else _RENAMED.get(key, key)


def bind(spelling: Spelling, args: Sequence[Attr], keywords: Mapping[str, Attr]) -> dict[str, Attr]:
    """Arguments by the parameter names of `spelling`; keywords it does not know (dtype, out, device) are left out.

    Raises `BindError` if an operand is missing or there are too many arguments.
    """
    receives, names = spelling.receives, spelling.names
    plain = len(spelling.signature.operands) if spelling.signature.star else len(names)
    given: dict[str, Attr] = dict(zip(names[:plain], args, strict=False))
    rest = args[plain:]
    if rest and spelling.signature.star:
        flags = rest
        while flags and not _is_flag(flags[0]):
            flags = flags[1:]
        first = rest[: len(rest) - len(flags)]
        if first:
            given[names[plain]] = first[0] if len(first) == 1 else tuple(first)
        given.update(zip(names[plain + 1 :], flags, strict=False))  # x.sum(1, True), x.std(False)
    elif rest and not any(isinstance(value, str) for value in rest):
        raise BindError(f"{spelling.name} takes {len(names)} arguments")
    for key, value in keywords.items():
        name = parameter(names, key)
        if name in names and name not in given:
            given[name] = value
    for name, default in receives:
        if name not in given:
            if default is REQUIRED:
                raise BindError(f"{spelling.name} needs {name}")
            given[name] = default
    for name, reduction in _FLAGS:
        if "reduction" in given and as_attr(given.get(name)) is False:
            given["reduction"] = reduction
    for name, kind in spelling.signature.kinds:
        if not takes(kind, given[name]):
            raise BindError(f"{spelling.name} takes {kind} for {name}")
    return given


def left_out(spelling: Spelling, keywords: Iterable[str]) -> tuple[str, ...]:
    """The keywords of a call that mean nothing to a spelling."""
    return tuple(key for key in keywords if parameter(spelling.names, key) not in spelling.names)


def _is_flag(value: Attr) -> bool:
    """Whether an argument is true or false."""
    return isinstance(as_attr(value), bool)


def as_term(value: Attr) -> Term:
    """An argument as an operand."""
    return value if type(value) is Term else const(value)


def as_attr(value: Attr) -> Attr:
    """An argument as an attribute: the value of a constant, UNKNOWN for a term that is none."""
    if isinstance(value, Term):
        return value.value if value.op == "const" else UNKNOWN
    if isinstance(value, list | tuple):
        items = tuple(as_attr(item) for item in value)
        return UNKNOWN if UNKNOWN in items else items
    return value


def term_of(spelling: Spelling, row: Op, args: Sequence[Attr], keywords: Mapping[str, Attr]) -> Term:
    """The term of a call of `spelling`; raises `BindError` if the arguments do not fit."""
    if spelling.alone is not None and not keywords and len(args) == len(spelling.signature.operands):
        return make(row.name, tuple([as_term(arg) for arg in args]), spelling.alone)
    return build(spelling, row, bind(spelling, args, keywords))


def build(spelling: Spelling, row: Op, given: Mapping[str, Attr]) -> Term:
    """The term that a call of `spelling` with the arguments `given` means."""
    if spelling.template is not None:
        terms = {name: as_term(given[name]) for name, _ in spelling.receives if not isinstance(given[name], tuple)}
        return fill(spelling.template, terms, {name: as_attr(given[name]) for name, _ in spelling.receives})
    operands = tuple([as_term(given[name]) for name, _ in spelling.signature.operands])
    if not row.signature.attrs:
        return make(row.name, operands)
    attrs = tuple([(name, as_attr(given.get(name, default))) for name, default in row.signature.attrs])
    if any(name == "dim" and _is_tensor(given.get(name)) for name, _ in attrs):
        raise BindError(f"{spelling.name} takes a number for dim")  # torch.max(x, other) is another operation
    return make(row.name, operands, attrs)


def _is_tensor(value: Attr) -> bool:
    """Whether an argument is a tensor for sure, not a number that is not known."""
    return isinstance(value, Term) and value.op != "const" and value.attr("kind") not in ("number", "size")
