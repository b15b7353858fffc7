"""Spelling: one of the ways in which a call of the ops table can be written in a program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random

import torch

from fuzzing.tree import Node, is_mask
from nanguard import ops
from nanguard.ops import Spelling
from nanguard.ops.row import REQUIRED, takes
from nanguard.term import Attr

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!=", "and_": "&", "or_": "|",
    "xor": "^",
}  # fmt: skip
# What the table calls by the name of another operation, though its values differ: it is run and measured as the other.
DIFFERENT = frozenset({
    "torch.fmod", "Tensor.fmod", "torch.nansum", "torch.nanmean", "torch.triu", "Tensor.triu", "torch.fmax",
    "torch.fmin", "torch.float_power", "torch.quantile", "Tensor.quantile", "torch.fliplr", "torch.flipud",
    "torch.topk", "Tensor.topk", "torch.narrow", "Tensor.narrow", "torch.argmin", "Tensor.argmin",
})  # fmt: skip
_LEFT_OUT = frozenset({
    "builtins.float", "builtins.int", "builtins.len", "builtins.range", "Tensor.item", "Tensor.cuda", "Tensor.tolist",
    "Tensor.numpy", "torch.from_numpy", "Tensor.half", "Tensor.bfloat16", "Tensor.to", "Tensor.type",
    "torch.as_tensor", "torch.tensor", "Tensor.type_as", "Tensor.long", "Tensor.int", "Tensor.short", "Tensor.byte",
    "Tensor.double", "builtins.round", "torch.nn.Softmax2d", "Tensor.float", "Tensor.requires_grad_",
    "Tensor.retain_grad", "torch.atleast_1d", "torch.atleast_2d",
})  # fmt: skip


# They take numbers beside the first operand.
_NUMBERS_BESIDE = frozenset({"hardtanh", "threshold", "elu", "celu", "leakyrelu", "leaky_relu", "softplus"})


def _is_given(node: Node) -> bool:
    """Whether a node is a number that is written out."""
    return node.op == "number" and node.value is not None


def _exists(name: str) -> bool:
    """Whether torch has a function; the table may name more, and those of Python numbers."""
    root, *parts = name.split(".")
    if root in ("operator", "builtins"):
        return True
    found: object = torch if root == "torch" else torch.Tensor
    for part in parts:
        found = getattr(found, part, None)
    return root in ("torch", "Tensor") and found is not None


@cache
def _spelled(op: str) -> tuple[Spelling, ...]:
    found = (spelling for listed in ops.spellings().values() for spelling in listed if spelling.op == op)
    return tuple(
        spelling for spelling in found
        if spelling.name not in DIFFERENT | _LEFT_OUT and _exists(spelling.name)
    )  # fmt: skip


def ways(node: Node) -> list[tuple[Spelling, dict[str, Node | Attr]]]:
    """The spellings that take the operands and attributes of a node, with these by the names of parameters."""
    return [(spelling, given) for spelling in _spelled(node.op) for given in _given(spelling, node)]


def _given(spelling: Spelling, node: Node) -> Iterator[dict[str, Node | Attr]]:
    row = ops.rows()[node.op]
    given: dict[str, Node | Attr] = {}
    if spelling.template is None:
        names = [name for name, _ in spelling.signature.operands]
        if len(names) != len(node.parts):
            return
        given.update(zip(names, node.parts, strict=True))
        attrs = node.attributes
    else:
        if spelling.template.op != node.op:
            return
        attrs = {}
        written = [*zip(spelling.template.args, node.parts, strict=True)]
        for template, part in written:
            inner = template.args[0] if template.op == "assume" else template
            if inner.op == "variable" and inner.name not in given:
                given[inner.name] = part
            elif not (inner.op == "const" and part.op == "number" and part.value == inner.value):
                return
        for (_, wanted), (_, written_as) in zip(node.attrs, spelling.template.attrs, strict=True):
            hole = getattr(written_as, "name", None)
            if hole is not None:
                attrs[hole] = wanted
            elif wanted != written_as:
                return
    taken = {
        name for name, _ in (*spelling.signature.attrs, *(spelling.constructor.attrs if spelling.constructor else ()))
    }
    defaults = dict(row.signature.attrs)
    for name, value in attrs.items():
        if name in taken:
            given[name] = value
        elif value != defaults.get(name):
            return
    defaults_of = dict(spelling.receives)
    if not all(takes(kind, given.get(name, defaults_of[name])) for name, kind in spelling.signature.kinds):
        return
    for name, default in spelling.receives:
        if name not in given and default is REQUIRED:
            return
        if given.get(name) is None and default is REQUIRED and name not in dict(spelling.signature.operands):
            return
    yield given


def written(node: Node, texts: Mapping[Node, str], random: Random) -> str | None:
    """A node as an expression, its operands as they are written; None where no spelling of the table fits."""
    if node.op == "number":
        return literal(node.value)
    listed = [way for way in ways(node) if _takes(way[0], node)]
    if not listed:
        return None
    infix = [way for way in listed if way[0].name.startswith("operator.") and not _in_place(way[0])]
    calm = [way for way in listed if not _in_place(way[0])]
    if infix and random.random() < 0.4:
        listed = infix
    elif calm and random.random() < 0.85:
        listed = calm
    spelling, given = random.choice(listed)
    return _text(spelling, given, node, texts, random)


def _in_place(spelling: Spelling) -> bool:
    """Whether a spelling writes into its first operand."""
    name = spelling.name.removeprefix("operator.")
    return (name.endswith("_") and name not in ("and_", "or_")) or (name[0] == "i" and name[1:] in _SIGNS)


def literal(value: object) -> str:
    """A number as Python writes it."""
    text = repr(value)
    return {"inf": "float('inf')", "-inf": "-float('inf')", "nan": "float('nan')"}.get(text, text)


def _takes(spelling: Spelling, node: Node) -> bool:
    """Whether torch takes the operands: Python numbers, and what is written into."""
    given = next(_given(spelling, node))
    first = given.get(spelling.receives[0][0])
    assert isinstance(first, Node)
    made = {name for name, _ in spelling.constructor.attrs} if spelling.constructor is not None else set()
    every = spelling.name.rpartition(".")[2].lower() in _NUMBERS_BESIDE
    settings = [part for name, part in given.items() if every or name in made]
    if any(isinstance(part, Node) and part is not first and not _is_given(part) for part in settings):
        return False
    if first.op == "number":
        operators = spelling.name.startswith("operator.") and not _in_place(spelling)
        return (operators and not ops.rows()[node.op].tensors) or spelling.name in ("torch.xlogy", "torch.pow")
    return not _in_place(spelling) or (first.shape == node.shape and is_mask(first) == is_mask(node))


def _text(
    spelling: Spelling, given: Mapping[str, Node | Attr], node: Node, texts: Mapping[Node, str], random: Random
) -> str:  # fmt: skip
    tensors = ops.rows()[node.op].tensors
    operands: list[tuple[str, str | None]] = []
    for name, default in spelling.signature.operands:
        part = given.get(name)
        if not isinstance(part, Node):
            operands.append((name, None))
        elif part.op == "number":
            text = literal(part.value)
            if tensors and part.value is not None:
                text = f"torch.tensor({text})"
            operands.append((name, None if part.value is None and default is None else text))
        else:
            operands.append((name, texts[part]))
    name = spelling.name
    if name.startswith("operator."):
        return _operator(name.removeprefix("operator."), [text or "" for _, text in operands], random)
    if name.startswith("builtins."):
        return f"{name.removeprefix('builtins.')}({operands[0][1]})"
    attrs = [(key, given[key]) for key, _ in spelling.signature.attrs if key in given]
    settings = ""
    if spelling.constructor is not None:
        keys = [key for key, _ in spelling.constructor.attrs]
        built = [(key, v.value if isinstance(v, Node) else v) for key, v in given.items() if key in keys]
        settings = ", ".join(f"{key}={literal(value)}" for key, value in built)
        attrs = [(key, value) for key, value in attrs if key not in keys]
        operands = [(key, text) for key, text in operands if key not in keys]
    head, rest = operands[0][1] or "", operands[1:]
    arguments = _arguments(spelling, rest, attrs, random)
    pair = _gives_pair(spelling, given)
    end = random.choice((".values", "[0]")) if pair else ""
    if name.startswith("Tensor."):
        method = name.removeprefix("Tensor.")
        if method.endswith("_"):
            head = f"{_group(head)}.clone()"
        return f"{_group(head)}.{method}({', '.join(arguments)}){end}"
    if spelling.constructor is not None:
        return f"{name.replace('torch.nn.', 'nn.', 1)}({settings})({', '.join([head, *arguments])})"
    first = f"input={head}" if _named_first(spelling, arguments) and random.random() < 0.1 else head
    return f"{name.replace('torch.nn.functional.', 'F.', 1)}({', '.join([first, *arguments])}){end}"


def _named_first(spelling: Spelling, arguments: list[str]) -> bool:
    return all(re.match(r"\w+=", text) for text in arguments) and spelling.name.count(".") == 1


def _arguments(
    spelling: Spelling, rest: list[tuple[str, str | None]], attrs: list[tuple[str, Node | Attr]], random: Random
) -> list[str]:  # fmt: skip
    """What comes after the first operand: by position as far as that goes, or by keyword."""
    result: list[str] = []
    keyword = False
    for name, text in rest:
        if text is None:
            keyword = True
        elif keyword or (
            name in ("min", "max", "eps", "other", "exponent") and random.random() < 0.2 and "__" not in spelling.name
        ):
            keyword = True
            result.append(f"{name}={text}")
        else:
            result.append(text)
    defaults = dict(spelling.signature.attrs)
    named = dict(attrs)
    for name, _ in spelling.signature.attrs:
        if name not in named:
            keyword = True  # what comes after it has another place
            continue
        value = named[name]
        if isinstance(value, Node):
            value = value.value
        if value == defaults.get(name) and type(value) is type(defaults.get(name)):
            keyword = True
        elif keyword or random.random() < 0.6 or (name == "correction" and value not in (0, 1)):
            keyword = True
            result.append(f"{name}={literal(value)}")
        elif spelling.signature.star and isinstance(value, tuple) and random.random() < 0.5:
            result.extend(map(repr, value))
            keyword = True
        else:  # by position it is `unbiased`, which is true or false
            result.append(literal(bool(value) if name == "correction" else value))
    return result


def _gives_pair(spelling: Spelling, given: Mapping[str, Node | Attr]) -> bool:
    last = spelling.name.rpartition(".")[2]
    return last == "sort" or (last in ("max", "min", "median") and given.get("dim") is not None)


def _group(text: str) -> str:
    return (
        text
        if text.replace(".", "").isdigit()
        or text.isidentifier()
        or (text.endswith(")") and text[0].isalpha() and _closed(text))
        else f"({text})"
    )


def _closed(text: str) -> bool:
    """Whether a text is one call: its operators are all inside of brackets."""
    depth = 0
    for sign in text:
        depth += sign in "([{"
        depth -= sign in ")]}"
        if depth == 0 and sign in "+-*/%@<>=&|^ ~":
            return False
    return True


def _operator(name: str, operands: list[str], random: Random) -> str:
    if name == "neg":
        return f"-{_group(operands[0])}"
    if name == "invert":
        return f"~{_group(operands[0])}"
    if name == "abs":
        return f"abs({operands[0]})"
    sign = _SIGNS.get(name) or _SIGNS[name.removeprefix("i")]
    left, right = operands
    if name not in _SIGNS:  # in place: the layout makes a statement of it
        return f"@{left}\n{sign}=\n{right}"
    return f"{_group(left)} {sign} {_group(right)}"
