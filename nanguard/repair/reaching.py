"""Reaching: whether names hold at a place of a function what they held where an earlier statement used them.

A plain look at the syntax, which refuses where it is not sure: what a branch or an earlier turn of a loop may have
bound, what was written in place, under another name too.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from nanguard.repair.effects import written_by_call
from nanguard.repair.ground import Function, Ground, bound_in, names_in
from nanguard.repair.storage import of_torch, shares, stored_by, through, written_by

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_ENTERS = ("enter_context", "__enter__")
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


class NotSure(Exception):
    """What a name holds depends on the way that led there."""


@dataclass(frozen=True)
class Reach:
    """The names of the innermost function around a place (of the module where there is none)."""

    ground: Ground
    place: ast.AST

    @cached_property
    def scope(self) -> ast.AST:
        """The function or module whose statements are followed."""
        around = self.ground.outwards(self.place)
        return next((node for node in around if isinstance(node, Function)), self.ground.tree)

    @cached_property
    def statement(self) -> ast.stmt | None:
        """The statement that the place stands in."""
        return self.ground.statement(self.place)

    @cached_property
    def inner(self) -> set[str]:
        """The names that comprehensions and assignments inside of the statement bind around or beside the place."""
        if self.statement is None:
            return set()
        inside = list(ast.walk(self.statement)) if not hasattr(self.statement, "body") else []
        around = [node for node in self.ground.outwards(self.place) if isinstance(node, _COMPREHENSIONS)]
        walruses = {node.target.id for node in inside if isinstance(node, ast.NamedExpr)}
        return walruses.union(*map(bound_in, around))

    def shadowed(self, name: str) -> bool:
        """Whether more than one of the functions around the place has an argument or a variable of this name."""
        around = [node for node in (self.scope, *self.ground.outwards(self.scope)) if isinstance(node, Function)]
        return sum(name in bound_in(scope) for scope in around) > 1

    @cached_property
    def unsettled(self) -> set[str]:
        """The arguments with a number for a default that the function binds anew: callers may give another one.

        Reading follows the default: ``if scale == -1: scale = x.max()``.
        """
        if not isinstance(self.scope, Function):
            return set()
        given = self.scope.args
        plain = [*given.posonlyargs, *given.args]
        pairs = [
            *zip(reversed(plain), reversed(given.defaults), strict=False),
            *zip(given.kwonlyargs, given.kw_defaults, strict=True),
        ]
        numbers = {arg.arg for arg, default in pairs if default is not None and is_number(default)}
        return {name for name in numbers if not self.steady(name)}

    def ambiguous(self, name: str) -> bool:
        """Whether more than one definition of a name may lead to the place."""
        try:
            if self.statement is not None:
                self.definition(name, self.statement)
        except NotSure:
            return True
        return name in self.inner

    def left_open(self, name: str) -> bool:
        """Whether it is open at the place what a name holds: behind a block that may have been left anywhere."""
        inner: ast.AST = self.place
        for above in self.ground.outwards(self.place):
            if isinstance(above, ast.Try | ast.TryStar) and inner not in (*above.body, *above.orelse):
                others = () if isinstance(inner, ast.ExceptHandler) else (*above.orelse, *above.handlers)
                if any(binds(part, name) for part in (*above.body, *others)):
                    return True
            inner = above
        return False

    def taken_away(self, name: str) -> bool:
        """Whether the function deletes an attribute, or binds a name inside of a comprehension or a table of names."""
        for node in ast.walk(self.scope):
            match node:
                case ast.Attribute(attr="__dict__") if name.startswith("self."):
                    return True
                case ast.Attribute(ctx=ast.Del()) if _names(node, name):
                    return True
                case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                    inside = (part for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
                    if any(part.target.id == name for part in inside):
                        return True
        return False

    # --- values ------------------------------------------------------------------------------------------------------

    def holds(self, dropped: set[str], new: set[str], met: frozenset[str] = frozenset()) -> bool:
        """Whether the names `new` hold at the place what the values of the names `dropped` were computed from.

        Each dropped name must have one definition that leads here, of calls that are of torch, without a choice; and
        each new name must be met on the way back, with the definition that it still has here.  A name that has one
        value throughout the function need not be met, unless it is in `met`.
        """
        if self.statement is None or isinstance(self.scope, ast.Lambda) or (dropped | new) & self.inner:
            return False
        trail = _Trail(self, frozenset(new))
        try:
            for name in sorted(dropped):
                trail.follow(name, self.statement)
            for name in new:
                here = self.last(name, self.statement)
                before = trail.met.get(name)
                if before is None and (name in met or name.startswith("self.") or not self.steady(name)):
                    return False
                if before is not None and any(definition is not here for definition in before):
                    return False
        except NotSure:
            return False
        return True

    def sources(self, names: set[str], until: Container[str] = ()) -> list[ast.expr]:
        """The expressions that some names may have their values from, and those that these names have theirs from.

        What names in `until` have theirs from is not looked at.
        """
        found: dict[ast.expr, None] = {}
        waiting, seen = [name for name in names if name not in until], set(names)
        while waiting:
            for value, read in _values_of(self.scope).get(waiting.pop(), ()):
                if value not in found:
                    found[value] = None
                    waiting.extend(name for name in read - seen if name not in until)
                    seen |= read
        return list(found)

    def choices(self, names: set[str]) -> Iterator[ast.expr]:
        """What decides which of several expressions some names, or those behind them, have their values from.

        Tests and subjects of the branches that these stand in and the place does not.
        """
        around = set(self.ground.outwards(self.place))
        for value in self.sources(names):
            for inner in ast.walk(value):
                if isinstance(inner, ast.IfExp):
                    yield inner.test
            for above in self.ground.outwards(value):
                if above in around:
                    break
                if isinstance(above, ast.If | ast.While):
                    yield above.test
                elif isinstance(above, ast.Match):
                    yield above.subject

    @cached_property
    def entered(self) -> bool:
        """Whether the function enters a context by a call, which may say what of it has a gradient."""
        calls = (node for node in ast.walk(self.scope) if isinstance(node, ast.Call))
        return any(isinstance(call.func, ast.Attribute) and call.func.attr in _ENTERS for call in calls)

    def undisturbed(self, names: set[str]) -> bool:
        """Whether nothing that shares its storage with one of these names is written in place in the function.

        A write that comes after the place, and not in a loop around it, does not count; nor does one through the name
        itself where reading follows it (``x.mul_(2)``, ``x[0] = 1``): there the name has another value.
        """
        return not any(
            self.shared(names - {written} if followed else names, written) for written, followed in self.writes()
        )

    def shared(self, names: set[str], written: str) -> bool:
        return bool(self.aliases.get(written, {written}) & names)

    def its_own(self, name: str) -> bool:
        """Whether a name of the function holds a result at the place that nothing else holds."""
        if self.statement is None or not isinstance(self.scope, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        try:
            made = self.definition(name, self.statement)
        except NotSure:
            return False
        value = made.value if isinstance(made, ast.Assign) and made.targets[1:] == [] else None
        return value is not None and not list(shares(value)) and self.aliases.get(name, {name}) == {name}

    def steady(self, name: str) -> bool:
        """Whether a name has one value throughout the function: an argument, an attribute or a global."""
        if name.startswith("self."):
            return not any(
                isinstance(node, ast.Attribute) and node.attr == name.removeprefix("self.")
                for method in ast.walk(self.ground.tree)
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.name != "__init__"
                for node in ast.walk(method)
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
            )
        around = [node for node in (self.scope, *self.ground.outwards(self.scope)) if isinstance(node, Function)]
        if not around and isinstance(self.scope, ast.Module):
            return False
        return sum(_bindings(scope, name) for scope in around) <= 1 and not any(
            isinstance(node, ast.Global | ast.Nonlocal) and name in node.names for node in ast.walk(self.ground.tree)
        )

    # --- definitions -------------------------------------------------------------------------------------------------

    def definition(self, name: str, statement: ast.stmt) -> ast.stmt | None:
        """The statement that gave a name its value before another one, None for what is there from the start.

        Raises `NotSure` where there may be several.
        """
        found = self.last(name, statement)
        if found is not None and not _assigns(found, name):
            raise NotSure(name)
        return found

    def last(self, name: str, statement: ast.stmt) -> ast.stmt | None:
        """The last statement before another one that may have given a name its value, a whole branch or loop too.

        What has the same one at two places, is the same there.  Raises `NotSure` where an earlier turn of a loop, or
        a part of a statement around the other one, may have left it.
        """
        here: ast.AST = statement
        while here is not self.scope:
            above = self.ground.parents[here]
            for earlier in reversed(preceding(above, here)):
                if binds(earlier, name):
                    return earlier
            if isinstance(above, _LOOPS) and binds(above, name):
                raise NotSure(name)  # an earlier turn may have left it
            if isinstance(above, ast.With | ast.AsyncWith):
                if any(binds(item, name) for item in above.items):
                    raise NotSure(name)
            elif isinstance(above, ast.Try | ast.TryStar | ast.Match | ast.ExceptHandler) and binds(above, name):
                raise NotSure(name)
            here = above
        return None

    # --- writes in place ---------------------------------------------------------------------------------------------

    def writes(self) -> Iterator[tuple[str, bool]]:
        """The names that are written in place before the place, or in a loop around it, and whether reading sees it."""
        assert self.statement is not None
        loops = [node for node in self.ground.outwards(self.statement) if isinstance(node, _LOOPS)]
        end = self.statement.lineno, self.statement.col_offset
        within = {
            part
            for inner in ast.walk(self.scope)
            if isinstance(inner, Function) and inner is not self.scope
            for part in ast.walk(inner)
        }
        for node in ast.walk(self.scope):
            called = written_by_call(node, self.ground.tree) if isinstance(node, ast.Call) else ()
            for name in (*written_by(node), *called):
                followed = node not in within and through(node) == name
                start = getattr(node, "lineno", 0), getattr(node, "col_offset", 0)
                if start < end or any(loop.lineno <= start[0] <= (loop.end_lineno or 0) for loop in loops):
                    yield name, followed

    @cached_property
    def aliases(self) -> dict[str, set[str]]:
        """The names that may share their storage with each name: ``y = x.view(-1)``."""
        groups: dict[str, set[str]] = {}
        modules = {
            alias.asname or alias.name.split(".")[0]
            for node in ast.walk(self.ground.tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(self.scope):
            for target, value in _assigned(node):
                group = set(stored_by(target))
                for name in names_in(list(shares(value))) - modules:
                    group |= {name}
                for name in list(group):
                    group |= groups.get(name, set())
                for name in group:
                    groups[name] = group
        return groups


@dataclass(slots=True)
class _Trail:
    """The way back from names to the definitions that they come from."""

    reach: Reach
    new: frozenset[str]
    met: dict[str, list[ast.stmt | None]] = field(default_factory=dict)
    seen: set[tuple[str, ast.stmt | None]] = field(default_factory=set)

    def follow(self, name: str, statement: ast.stmt) -> None:
        """Follow a name that `statement` reads."""
        if name in self.new:
            self.met.setdefault(name, []).append(self.reach.last(name, statement))
            return
        definition = self.reach.definition(name, statement)
        if (name, definition) in self.seen or definition is None:
            return
        self.seen.add((name, definition))
        if isinstance(definition, ast.Import | ast.ImportFrom):
            return
        value = getattr(definition, "value", None)
        if not isinstance(value, ast.expr) or not plain(value):
            raise NotSure(name)
        for part in names_in([value]):
            self.follow(part, definition)
        if isinstance(definition, ast.AugAssign):
            self.follow(name, definition)


def plain(value: ast.expr) -> bool:
    """Whether an expression says by itself what it computes: no choice, and no call but those of torch."""
    for node in ast.walk(value):
        if isinstance(node, ast.IfExp | ast.BoolOp | ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call) and not of_torch(node):
            return False
    return True


def is_number(node: ast.expr) -> bool:
    """Whether an expression is a constant, with a sign or without."""
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, value
        case ast.NamedExpr(target=target, value=value):
            yield target, value
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            yield target, value


@lru_cache(maxsize=32)  # asked for each finding of a function, which may be long
def _values_of(scope: ast.AST) -> Mapping[str, Sequence[tuple[ast.expr, frozenset[str]]]]:
    """What names and attributes (as ``self.weight``) are assigned in a function, with the names that it reads."""
    found: dict[str, list[tuple[ast.expr, frozenset[str]]]] = {}
    for node in ast.walk(scope):
        for target, value in _assigned(node):
            pair = value, frozenset(names_in([value]))
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    found.setdefault(part.id, []).append(pair)
                elif isinstance(part, ast.Attribute):
                    found.setdefault(f"self.{part.attr}", []).append(pair)
    return found


def preceding(above: ast.AST, here: ast.AST) -> list[ast.stmt]:
    """The statements of the same block that come before one."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        block = getattr(above, name, None)
        if isinstance(block, list) and here in block and name not in ("handlers", "cases"):
            return list(block[: block.index(here)])
    return []


def _assigns(statement: ast.stmt, name: str) -> bool:
    """Whether a statement certainly gives the name, or a tuple with it, a value."""
    match statement:
        case ast.Assign(targets=targets):
            stored = [part for target in targets for part in ast.walk(target)]
        case ast.AnnAssign(target=target, value=ast.expr()) | ast.AugAssign(target=target):
            stored = list(ast.walk(target))
        case ast.Import() | ast.ImportFrom():
            return binds(statement, name)
        case _:
            return False
    return any(_names(part, name) and isinstance(part.ctx, ast.Store) for part in stored)  # type: ignore[attr-defined]


def _names(node: ast.AST, name: str) -> bool:
    if name.startswith("self."):
        return isinstance(node, ast.Attribute) and node.attr == name.removeprefix("self.")
    return isinstance(node, ast.Name) and node.id == name


def binds(node: ast.AST, name: str) -> bool:
    """Whether a node binds a name anywhere in it."""
    return _bindings(node, name) > 0


def _bindings(node: ast.AST, name: str) -> int:
    count = 0
    for part in ast.walk(node):
        match part:
            case ast.Name(id=found, ctx=ast.Store() | ast.Del()) | ast.arg(arg=found):
                count += found == name
            case ast.Attribute(ctx=ast.Store() | ast.Del()):
                count += _names(part, name)
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                count += found == name
            case ast.alias(name=full, asname=short):
                count += (short or full.split(".")[0]) == name
            case ast.ExceptHandler(name=str(found)) | ast.MatchAs(name=str(found)) | ast.MatchStar(name=str(found)):
                count += found == name
    return count
