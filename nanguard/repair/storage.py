"""Storage: which expressions share it, and what writes into it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from nanguard import ops
from nanguard.repair.ground import dotted, names_in

_HARMLESS = ("requires_grad_", "retain_grad_", "share_memory_")  # they leave the values as they are
_COPIES = ("clone",)  # what copies, though it is the value as it is


def of_torch(call: ast.Call) -> bool:
    """Whether a call is, by its name, one of the ops table."""
    return bool(operations(call))


def operations(call: ast.Call) -> frozenset[str]:
    """The operations of the table that a call may be, by its last name."""
    func = call.func
    if isinstance(func, ast.Call):  # nn.Sigmoid()(x)
        func = func.func
    name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
    return _by_last_name().get(name.rstrip("_"), frozenset())


@cache
def _by_last_name() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for full, listed in ops.spellings().items():
        found.setdefault(full.rpartition(".")[2], set()).update(spelling.op for spelling in listed)
    return {name: frozenset(listed) for name, listed in found.items()}


def _families(call: ast.Call) -> set[str]:
    return {ops.rows()[op].family for op in operations(call)}


def shares(value: ast.expr) -> Iterator[ast.expr]:
    """The parts of an expression whose storage its result may share."""
    match value:
        case ast.BinOp() | ast.UnaryOp() | ast.Compare() | ast.Constant():
            return
        case ast.Call(func=ast.Attribute(attr=name)) if name in _COPIES:
            return
        case ast.Call(func=ast.Attribute(value=inner, attr=name)) if name.endswith("_"):
            yield from shares(inner)
        case ast.Call() if _families(value) and not _families(value) & {ops.MOVEMENT, ops.CAST}:
            return
        case ast.Subscript(value=inner) | ast.Attribute(value=ast.Subscript() | ast.Call() as inner):
            yield from shares(inner)
        case ast.ListComp(elt=inner) | ast.GeneratorExp(elt=inner):
            yield from shares(inner)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                yield from shares(part)
        case ast.Call(func=ast.Attribute(value=inner), args=args):
            yield from shares(inner)
            for arg in args:
                yield from shares(arg)
        case _:
            yield value


def written_by(node: ast.AST) -> Iterator[str]:
    """The names whose storage a node writes into."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name.endswith("_") and not name.startswith("__"):
            if name not in _HARMLESS:
                yield from roots(owner)
                if node.args and isinstance(node.args[0], ast.expr):
                    yield from roots(node.args[0])
        case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name.endswith("_"):
            yield from roots(first)
        case ast.Call(func=ast.Call(keywords=keywords), args=[first, *_]) if any(k.arg == "inplace" for k in keywords):
            yield from roots(first)  # nn.ReLU(inplace=True)(x)
        case ast.AugAssign(target=target):
            yield from roots(target)
        case ast.Attribute(value=owner, attr="data", ctx=ast.Store()):
            yield from roots(owner)
        case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
            yield from roots(owner)
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == "out":
                yield from roots(keyword.value)
            if keyword.arg == "inplace" and node.args:
                yield from roots(node.args[0])


def through(node: ast.AST) -> str | None:
    """The name, or attribute of ``self``, through which a method, an index or an assignment writes."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner)):
            if any(keyword.arg in ("out", "inplace") for keyword in node.keywords):
                return None
        case (
            ast.AugAssign(target=ast.Subscript(value=owner)) | ast.AugAssign(target=owner) | ast.Subscript(value=owner)
        ):
            pass
        case _:
            return None
    return dotted(owner)


def stored_by(target: ast.expr) -> Iterator[str]:
    """The names that an assignment binds or writes through, not those that say where."""
    match target:
        case ast.Subscript(value=owner):
            yield from names_in([owner])
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from stored_by(part)
        case _:
            yield from names_in([target])


def roots(node: ast.expr) -> set[str]:
    return names_in(list(shares(node)))
