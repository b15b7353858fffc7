"""Walking: the nodes of a syntax tree, without those that say only whether a name is read or bound."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_LEAVES = ("ctx", "id", "attr", "arg", "kind", "type_comment")  # fields that hold no other node of the program
_PARTS = {
    kind: tuple(name for name in kind._fields if name not in _LEAVES)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


def below(node: ast.AST) -> list[ast.AST]:
    """The nodes right below a node."""
    found: list[ast.AST] = []
    for name in _PARTS[type(node)]:
        value = getattr(node, name, None)
        if type(value) is list:
            for part in value:
                if isinstance(part, ast.AST):
                    found.append(part)
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def inside(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, in any order, which `ast.walk` takes half as long again for."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if _PARTS[type(node)]:
            waiting.extend(below(node))


def written(node: ast.expr) -> str:
    """An expression as `ast.unparse` writes it, which takes long for a name with dots."""
    names: list[str] = []
    part = node
    while type(part) is ast.Attribute:
        names.append(part.attr)
        part = part.value
    if type(part) is not ast.Name:
        return ast.unparse(node)
    names.append(part.id)
    return ".".join(reversed(names))
