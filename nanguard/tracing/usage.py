"""Usage: what the body of a function does with its parameters, read from its source."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Arguments of calls that say what they are, by the last part of the name of what is called and their place.
_RANKS = {
    "conv1d": 3, "conv2d": 4, "conv3d": 5, "avg_pool1d": 3, "avg_pool2d": 4, "avg_pool3d": 5, "max_pool1d": 3,
    "max_pool2d": 4, "max_pool3d": 5, "unfold": 4, "fold": 3, "pixel_shuffle": 4, "grid_sample": 4, "bmm": 3,
    "mm": 2, "adaptive_avg_pool2d": 4, "unfold2d": 4,
}  # fmt: skip
_INTEGERS = {
    "one_hot": 0, "cross_entropy": 1, "nll_loss": 1, "gather": -1, "scatter": -2, "scatter_": -2, "index_select": -1,
    "embedding": 0, "take_along_dim": 1, "bincount": 0, "scatter_add": -2, "scatter_add_": -2, "index_add_": -2,
}  # fmt: skip
_MASKS = {"masked_fill": 0, "masked_fill_": 0, "masked_select": 0, "where": 0}
_LISTS = frozenset({"append", "extend", "insert", "sort"})
_DICTS = frozenset({"items", "keys", "update", "pop"})
_TEXTS = frozenset({"lower", "upper", "startswith", "endswith", "strip"})


@dataclass(slots=True)
class Use:
    """What one parameter is used for."""

    rank: int | None = None  # exactly
    least: int = 0  # dimensions at least
    ranks: list[int] = field(default_factory=list)  # that it is compared with
    integer: bool = False
    mask: bool = False
    called: bool = False
    options: list[Any] = field(default_factory=list)  # constants that it is compared with
    attributes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # types that isinstance asks for


def function_node(function: Callable[..., Any]) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """The definition of a function, None where its source is not there."""
    plain = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(plain, "__code__", None)
    if code is None:
        return None
    lines = inspect.getblock(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :])
    try:
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (SyntaxError, ValueError, RecursionError):
        return None
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return next((node for node in ast.walk(tree) if isinstance(node, kinds)), None)


def uses(node: ast.AST | None, names: Iterable[str]) -> dict[str, Use]:
    """How a function's body uses the parameters `names`."""
    found = {name: Use() for name in names}
    for part in ast.walk(node) if node is not None else ():
        _look(part, found)
    return found


def _named(node: ast.AST | None, found: Mapping[str, Use]) -> Use | None:
    return found.get(node.id) if isinstance(node, ast.Name) else None


def _shape_of(node: ast.AST, found: Mapping[str, Use]) -> Use | None:
    """The parameter whose shape an expression is."""
    match node:
        case ast.Attribute(value=value, attr="shape"):
            return _named(value, found)
        case ast.Call(func=ast.Attribute(value=value, attr="size"), args=[]):
            return _named(value, found)
    return None


def _rank_of(node: ast.AST, found: Mapping[str, Use]) -> Use | None:
    """The parameter whose number of dimensions an expression is."""
    match node:
        case ast.Attribute(value=value, attr="ndim"):
            return _named(value, found)
        case ast.Call(func=ast.Attribute(value=value, attr="dim" | "ndimension"), args=[]):
            return _named(value, found)
        case ast.Call(func=ast.Name(id="len"), args=[shape]):
            return _shape_of(shape, found)
    return None


def _look(node: ast.AST, found: Mapping[str, Use]) -> None:
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=elts)], value=value) if use := _shape_of(value, found):
            starred = any(isinstance(part, ast.Starred) for part in elts)
            use.least = max(use.least, len(elts) - starred)
            use.rank = use.rank if starred else len(elts)
        case ast.Subscript(value=value, slice=key):
            _subscript(value, key, found)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            _compare(left, op, right, found)
        case ast.UnaryOp(op=ast.Invert(), operand=operand) if use := _named(operand, found):
            use.mask = True
        case ast.Call(func=func, args=args):
            _call(func, args, found)
        case ast.Attribute(value=value, attr=attr) if use := _named(value, found):
            use.attributes.append(attr)


def _subscript(value: ast.expr, key: ast.expr, found: Mapping[str, Use]) -> None:
    if use := _shape_of(value, found):
        match key:
            case ast.Constant(value=int() as place):
                use.least = max(use.least, place + 1)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as place)):
                use.least = max(use.least, place)
    if use := _named(value, found):
        match key:
            case ast.Constant(value=str() as text):
                use.keys.append(text)
            case ast.Tuple(elts=elts):
                counted = [one for one in elts if not (isinstance(one, ast.Constant) and one.value in (None, ...))]
                use.least = max(use.least, len(counted))
    for one in key.elts if isinstance(key, ast.Tuple) else [key]:
        if index := _named(one, found):
            index.integer = True


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, found: Mapping[str, Use]) -> None:
    if use := _rank_of(left, found):
        use.ranks.extend(
            part.value for part in ast.walk(right) if isinstance(part, ast.Constant) and type(part.value) is int
        )
    if (use := _named(left, found)) and isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn):
        use.options.extend(
            part.value for part in ast.walk(right) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )


def _call(func: ast.expr, args: list[ast.expr], found: Mapping[str, Use]) -> None:
    if use := _named(func, found):
        use.called = True
    name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
    if name == "isinstance" and len(args) == 2 and (use := _named(args[0], found)):
        use.kinds.extend(part.id for part in ast.walk(args[1]) if isinstance(part, ast.Name))
        use.kinds.extend(part.attr for part in ast.walk(args[1]) if isinstance(part, ast.Attribute))
    if isinstance(func, ast.Attribute) and name == "size" and len(args) == 1 and (use := _named(func.value, found)):
        match args[0]:
            case ast.Constant(value=int() as place):
                use.least = max(use.least, place + 1)
    if name in _RANKS and args and (use := _named(args[0], found)):
        use.least = max(use.least, _RANKS[name])
    method = isinstance(func, ast.Attribute) and not _of_torch(func.value)
    if name in _INTEGERS:
        place = _INTEGERS[name]
        index = (1 if method else 2) if place == -1 else (1 if method else 2) if place == -2 else place
        if index < len(args) and (use := _named(args[index], found)):
            use.integer = True
    if (
        name in _MASKS
        and args
        and (
            use := _named(args[_MASKS[name] + (name[:6] == "masked" and not method)], found)
            if len(args) > 1 or name == "masked_select"
            else None
        )
    ):
        use.mask = True


def _of_torch(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "functional", "nn")


def is_list(use: Use) -> bool:
    """Whether a parameter is used as a list."""
    return bool(_LISTS.intersection(use.attributes)) and not use.keys


def is_dict(use: Use) -> bool:
    """Whether a parameter is used as a dict."""
    return bool(use.keys) or bool(_DICTS.intersection(use.attributes))


def is_text(use: Use) -> bool:
    """Whether a parameter is used as a text."""
    return bool(use.options) or bool(_TEXTS.intersection(use.attributes))
