"""Ground: the text and the tree of a file, where an expression of it stands, and what is in scope there."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from nanguard.finding import Span

LINE_END = re.compile(r"\r\n|\r|\n")  # what Python takes for the end of a line; a form feed is not
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Ground:
    """A file as text, with line ends as ``\\n``, and as a tree."""

    source: str
    tree: ast.Module

    @cached_property
    def lines(self) -> list[bytes]:
        """The lines in UTF-8, which the columns of the tree count."""
        return [line.encode("utf-8", "surrogatepass") for line in LINE_END.split(self.source)]

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        """What each node is a part of."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def _spans(self) -> Mapping[tuple[int, int, int, int], list[ast.AST]]:
        found: dict[tuple[int, int, int, int], list[ast.AST]] = {}
        for node in self.parents:
            if isinstance(node, ast.expr | ast.stmt):
                found.setdefault(_ends(node), []).append(node)
        return found

    def expression(self, span: Span) -> ast.expr | ast.AugAssign | None:
        """The expression (or augmented assignment) at a span, None where there is none of its own.

        Of a statement that is a lone expression that expression is meant.  Columns inside of an f-string are not
        those of the file.
        """
        key = (span.line, span.column, span.end_line, span.end_column)
        found = [node for node in self._spans.get(key, ()) if isinstance(node, ast.expr | ast.AugAssign)]
        if not found or any(isinstance(node, ast.JoinedStr) for node in self.outwards(found[0])):
            return None
        node = found[0]
        assert isinstance(node, ast.expr | ast.AugAssign)
        return node

    def node(self, span: Span) -> ast.AST | None:
        """The innermost expression or statement at a span."""
        return next(iter(self._spans.get((span.line, span.column, span.end_line, span.end_column), ())), None)

    def outwards(self, node: ast.AST) -> Iterator[ast.AST]:
        """What is around a node, innermost first."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The innermost statement that a node is a part of."""
        return next((at for at in (node, *self.outwards(node)) if isinstance(at, ast.stmt)), None)

    def text(self, node: ast.AST) -> str:
        """The text of a node, exactly as it stands."""
        line, column, end_line, end_column = _ends(node)
        parts = self.lines[line - 1 : end_line]
        parts[-1] = parts[-1][:end_column]
        parts[0] = parts[0][column:]
        return b"\n".join(parts).decode("utf-8", "surrogatepass")

    def span(self, path: str, node: ast.AST) -> Span:
        """Where a node stands."""
        return Span(path, *_ends(node))

    def several_lines(self, node: ast.AST) -> Mapping[str, str]:
        """The parts of a node that take several lines: as they stand, by how they are written on one."""
        found: dict[str, str] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.expr) and part.lineno != part.end_lineno:
                exact = self.text(part)
                found.setdefault(" ".join(exact.split()), exact)
                found.setdefault(ast.unparse(part), exact)
        return found

    def bound_around(self, node: ast.AST) -> frozenset[str]:
        """Names that have a meaning of their own at a node: not what they are in the module.

        Those of functions, lambdas and comprehensions around it, and those that its statement assigns inside of
        an expression.  A local import keeps what it imports.
        """
        names: set[str] = set()
        for scope in (node, *self.outwards(node)):
            if isinstance(scope, _SCOPES):
                names |= bound_in(scope)
        statement = self.statement(node)
        if statement is not None:
            names |= {part.target.id for part in ast.walk(statement) if isinstance(part, ast.NamedExpr)}
        return frozenset(names)


@lru_cache(maxsize=16)
def ground(source: str) -> Ground | None:
    """The ground of a text, None where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Ground(source, ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def parsed_at(source: str, start: tuple[int, int], end: tuple[int, int]) -> ast.expr | None:
    """The expression of a text from one position to another, None where there is none or it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            waiting: list[ast.AST] = [ast.parse(source)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.expr | ast.stmt):
            line, column, end_line, end_column = _ends(node)
            if isinstance(node, ast.expr) and (line, column) == start and (end_line, end_column) == end:
                return node
            if isinstance(node, ast.expr) and not ((line, column) <= start and end <= (end_line, end_column)):
                continue
        waiting.extend(ast.iter_child_nodes(node))
    return None


def bound_in(scope: ast.AST) -> set[str]:
    """The names that a function, lambda or comprehension binds, but for those that it imports."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
                continue  # what is inside of it is its own
            case ast.Lambda():
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
        waiting.extend(ast.iter_child_nodes(node))
    return names


def comments(text: str) -> list[str]:
    """The comments of a piece of source; a piece that cannot be split into tokens has those up to there."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(f"({text}\n)").readline):
            if token.type == tokenize.COMMENT:
                found.append(token.string)
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


def dotted(node: ast.expr) -> str | None:
    """``a.b.c`` as text, None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def names_in(nodes: Sequence[ast.AST]) -> set[str]:
    """The names that some code reads: plain ones, and attributes of ``self`` as ``self.weight``."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            found.add(f"self.{node.attr}")
            continue
        if isinstance(node, ast.Name):
            found.add(node.id)
        waiting.extend(ast.iter_child_nodes(node))
    return found


def names_of(text: str) -> set[str]:
    """The names that an expression reads, none where the text is no expression."""
    try:
        return names_in([ast.parse(text, mode="eval")])
    except (SyntaxError, ValueError):
        return set()


def _ends(node: ast.AST) -> tuple[int, int, int, int]:
    assert isinstance(node, ast.expr | ast.stmt)
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
