"""Imports: where a file gets the import of torch that a replacement needs."""

from __future__ import annotations

import ast

from nanguard.finding import Edit, Span
from nanguard.repair.ground import Ground
from nanguard.repair.reaching import binds

_IMPORTS = (ast.Import, ast.ImportFrom)


def torch_import(path: str, ground: Ground) -> Edit | None:
    """The edit that imports torch for the whole file; None where the file means something else by ``torch``.

    It comes after the docstring, the imports from ``__future__`` and the other imports at the top.
    """
    others = [node for node in ast.walk(ground.tree) if isinstance(node, ast.stmt) and _takes(node)]
    if others or any(isinstance(node, ast.arg) and node.arg == "torch" for node in ast.walk(ground.tree)):
        return None
    leading = _leading(ground.tree)
    if not leading:
        return _edit(path, _after_comments(ground), "import torch\n", ground)
    last = leading[-1]
    line = max(node.end_lineno or 0 for node in ground.tree.body if node.lineno <= (last.end_lineno or 0))
    blank = "" if isinstance(last, _IMPORTS) else "\n"
    return _edit(path, line + 1, f"{blank}import torch\n", ground)


def _takes(node: ast.stmt) -> bool:
    """Whether a statement itself binds the name torch to something that is not the package."""
    match node:
        case ast.Import(names=names):
            return any(alias.asname == "torch" and alias.name != "torch" for alias in names)
        case ast.ImportFrom(names=names):
            return any((alias.asname or alias.name) == "torch" for alias in names)
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Delete():
            return binds(node, "torch")
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name == "torch"
    return False


def _leading(tree: ast.Module) -> list[ast.stmt]:
    """The docstring and the imports that a file begins with, up to the last of these."""
    found: list[ast.stmt] = []
    for index, node in enumerate(tree.body):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if not isinstance(node, _IMPORTS) and not (index == 0 and text):
            break
        found.append(node)
    return found


def _after_comments(ground: Ground) -> int:
    """The first line that is no comment: those at the top say how the file is to be read."""
    for number, line in enumerate(ground.lines, 1):
        if not line.lstrip(b" \t\f").startswith(b"#"):
            return number
    return len(ground.lines)


def _edit(path: str, line: int, text: str, ground: Ground) -> Edit:
    if line <= len(ground.lines):
        return Edit(Span(path, line, 0, line, 0), text)
    last = len(ground.lines)  # the last line has no end
    column = len(ground.lines[last - 1])
    return Edit(Span(path, last, column, last, column), "\n" + text.rstrip("\n"))
