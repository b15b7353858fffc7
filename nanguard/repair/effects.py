"""Effects: what the functions of a file do beside giving a value, as far as their text shows it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nanguard import ops
from nanguard.repair.ground import bound_in, dotted, names_in
from nanguard.repair.storage import of_torch, operations, shares, written_by

# Methods of Python's containers and files that change these, and functions that act.
_CHANGES = frozenset({
    "append", "extend", "insert", "add", "update", "pop", "popitem", "remove", "discard", "clear", "setdefault", "sort",
    "reverse", "write", "send", "throw", "put", "appendleft", "popleft",
})  # fmt: skip
_ACTS = frozenset({"print", "next", "exec", "setattr", "delattr", "input"})
_OF_PYTHON = frozenset({
    "abs", "all", "any", "bool", "dict", "enumerate", "float", "getattr", "hasattr", "int", "isinstance", "len", "list",
    "map", "max", "min", "pow", "range", "reversed", "round", "set", "sorted", "str", "sum", "super", "tuple", "type",
    "zip",
})  # fmt: skip
# Decorators after which a call does what the function says.
_PLAIN = frozenset({
    "staticmethod", "classmethod", "property", "cached_property", "functools.cached_property", "abstractmethod",
    "abc.abstractmethod", "override", "typing.override", "overload", "typing.overload", "typing.no_type_check",
    "torch.jit.script", "torch.jit.script_method", "torch.jit.export", "torch.jit.ignore", "torch.jit.unused",
    "torch.compile", "torch.compiler.disable", "torch.no_grad", "torch.enable_grad", "torch.inference_mode",
    "lru_cache", "functools.lru_cache", "cache", "functools.cache", "deprecated", "typing_extensions.deprecated",
})  # fmt: skip
Defined = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether a function acts on what is outside of it, and the parameters into whose storage it writes."""

    acts: bool
    writes: frozenset[str]


@lru_cache(maxsize=16)
def _functions(tree: ast.Module) -> Mapping[str, Sequence[Defined]]:
    """The functions and methods of a file by their names."""
    found: dict[str, list[Defined]] = {}
    for node in ast.walk(tree):
        if isinstance(node, Defined):
            found.setdefault(node.name, []).append(node)
    return found


@lru_cache(maxsize=16)
def rebound(tree: ast.Module) -> frozenset[str]:
    """The names that functions of a file may bind outside of themselves."""
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal))
    return frozenset(name for node in statements for name in node.names)


def called(node: ast.AST, tree: ast.Module) -> Sequence[Defined]:
    """The functions of the file that a call may be of, or an attribute if it is a property."""
    known = _functions(tree)
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return known.get(name, ())
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name)):
            return known.get(name, ())
        case ast.Call(func=ast.Attribute(attr=name)) if not of_torch(node):
            return known.get(name, ())
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return [one for one in known.get(name, ()) if one.decorator_list]
    return ()


def known(call: ast.Call, tree: ast.Module) -> bool:
    """Whether it is known what a call does: one of torch, of Python, or of a function of the file."""
    if of_torch(call) or called(call, tree):
        return True
    return isinstance(call.func, ast.Name) and call.func.id in _OF_PYTHON


def acts(node: ast.AST, tree: ast.Module) -> bool:
    """Whether a call, or an attribute, of the file does more than to give a value."""
    effects = [effect(function, tree) for function in called(node, tree)]
    return any(one.acts or one.writes for one in effects)


def is_wrapped(node: ast.AST, tree: ast.Module) -> bool:
    """Whether a call, or an attribute, of the file may be of something else than the function of its name.

    What a decorator that is not known makes of it, or what is assigned to it from outside.
    """
    functions = called(node, tree)
    decorators = (decorator for function in functions for decorator in function.decorator_list)
    if any((dotted(one.func if isinstance(one, ast.Call) else one) or "") not in _PLAIN for one in decorators):
        return True
    return not _patched(tree).isdisjoint(function.name for function in functions)


@lru_cache(maxsize=16)
def _patched(tree: ast.Module) -> frozenset[str]:
    """The attributes that are assigned anywhere in a file."""
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return frozenset(node.attr for node in stored)


def written_by_call(call: ast.Call, tree: ast.Module) -> Iterator[str]:
    """The names into whose storage the functions of the file write that a call may be of."""
    for function in called(call, tree):
        writes = effect(function, tree).writes
        for name, value in _given(function, call):
            if name in writes:
                yield from names_in(list(shares(value)))
    if call.args and (dotted(call.func) or "") in _in_place(tree):
        yield from names_in(list(shares(call.args[0])))


@lru_cache(maxsize=16)
def _in_place(tree: ast.Module) -> frozenset[str]:
    """The names that hold modules of torch which write in place: ``self.act = nn.ReLU(inplace=True)``."""
    return frozenset(
        dotted(target) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        if any(isinstance(part, ast.keyword) and part.arg == "inplace" for part in ast.walk(node.value))
        for target in node.targets
    )


def heirs_differ(call: ast.Call, place: ast.ClassDef | None, tree: ast.Module) -> bool:
    """Whether an heir, in the file, of the class around a place has its own method for a call of ``self``."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="self"), attr=method) if place is not None:
            pass
        case _:
            return False
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    family = {place.name}
    for node in classes:  # a class comes after those that it is made from
        if family & {(dotted(base) or "").rpartition(".")[2] for base in node.bases}:
            family.add(node.name)
    heirs = [node for node in classes if node.name in family and node is not place]
    own = (part for node in heirs for part in node.body if isinstance(part, Defined))
    return any(function.name == method for function in own)


def _given(function: Defined, call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The parameters of a function, with what a call gives for them."""
    names = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
    if isinstance(call.func, ast.Attribute) and names[:1] in (["self"], ["cls"]):
        names = names[1:]
    yield from zip(names, call.args, strict=False)
    yield from ((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg is not None)


def effect(function: Defined, tree: ast.Module) -> Effect:
    """What a function of a file does beside giving a value."""
    return _effects(tree)[function]


@lru_cache(maxsize=16)
def _effects(tree: ast.Module) -> Mapping[Defined, Effect]:
    """The same for all functions of a file: what each does itself, and then what those do that it calls."""
    own = {function: _own(function, tree) for listed in _functions(tree).values() for function in listed}
    found = {function: Effect(one.acts, one.outside(one.reached)) for function, one in own.items()}
    changed = True
    while changed:
        changed = False
        for function, one in own.items():
            acting, reached = found[function].acts, set(found[function].writes)
            for other, given in one.calls:
                acting = acting or found[other].acts
                reached |= one.outside({name for key, names in given if key in found[other].writes for name in names})
            new = Effect(acting or not reached <= one.parameters or bool(reached & {"self", "cls"}), frozenset(reached))
            if new != found[function]:
                found[function], changed = new, True
    return found


@dataclass(frozen=True, slots=True)
class _Own:
    """What a function does itself, the names through which it writes, and what it calls with which of its names."""

    acts: bool
    reached: frozenset[str]
    calls: Sequence[tuple[Defined, Sequence[tuple[str, set[str]]]]]
    parameters: frozenset[str]
    local: frozenset[str]
    sources: Mapping[str, set[str]]

    def outside(self, names: Iterable[str]) -> frozenset[str]:
        """The names, of those whose storage some names may share, that are none of the function's own."""
        roots = {name.split(".")[0] for name in names}
        behind = {source for root in roots for source in self.sources.get(root, {root})}
        return frozenset(behind - self.local)


def _own(function: Defined, tree: ast.Module) -> _Own:
    inside = list(ast.walk(ast.Module(function.body, [])))
    parameters = frozenset(arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg))
    acting = False
    reached: set[str] = set()
    calls: list[tuple[Defined, Sequence[tuple[str, set[str]]]]] = []
    for node in inside:
        reached.update(written_by(node))
        match node:
            case ast.Global() | ast.Nonlocal() | ast.Yield() | ast.YieldFrom() | ast.Await():
                acting = True
            case ast.Attribute(value=owner, ctx=ast.Store() | ast.Del()):
                reached |= _roots(owner)
            case ast.Call(func=ast.Name(id=name)) if name in _ACTS:
                acting = True
            case ast.Call() if any(not ops.rows()[name].pure for name in operations(node)):
                acting = True  # it draws random numbers: another call gives other ones
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in _CHANGES:
                reached |= _roots(owner)
        for other in called(node, tree):
            given = _given(other, node) if isinstance(node, ast.Call) else ()
            calls.append((other, [(key, _roots(value)) for key, value in given]))
    local = frozenset(bound_in(function) - parameters)
    return _Own(acting, frozenset(reached), calls, parameters, local, _sources(inside))


def _roots(owner: ast.expr) -> set[str]:
    """The names whose objects an expression may be, or be a part of."""
    while isinstance(owner, ast.Attribute | ast.Subscript):
        owner = owner.value
    return names_in(list(shares(owner)))


def _sources(inside: Sequence[ast.AST]) -> Mapping[str, set[str]]:
    """The names whose storage each name of a function may share, with itself."""
    found: dict[str, set[str]] = {}
    for node in inside:
        match node:
            case ast.Assign(targets=targets, value=value):
                pass
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                targets = [target]
            case ast.For(target=target, iter=value):
                targets = [target]
            case _:
                continue
        behind = {source for name in _roots(value) for source in found.get(name, {name})}
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    found.setdefault(part.id, {part.id}).update(behind)
    return found
