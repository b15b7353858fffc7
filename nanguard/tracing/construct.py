"""Construct: from the dotted name of a target to a callable, with an object of its class where it needs one.

What a constructor needs is made up: sizes and numbers by their names, stand-ins for models, callables and
configurations.  Where that is not enough, the object has what its constructor got to, and stand-ins for the rest.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import socket
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

from nanguard.tracing import naming
from nanguard.tracing.inputs import Samples
from nanguard.tracing.replay import quiet
from nanguard.tracing.standin import Config, Model, by_name
from nanguard.tracing.tracer import TraceError

_CALLED = ("forward", "__call__", "loss", "compute_loss")  # the methods that a class of losses is called by
_TRIES = 24  # sets of arguments that are tried on a constructor


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a dotted name of a module means.

    `found` is a callable, or an `nn.Module` of which `method` is the one to trace.  `owner` is the object that was made
    for it, None where it needs none.  `callee` is what a call of it is written with: for a method of the object that
    of ``self``, and `built` is how that was made; both are empty where this cannot be said in Python.
    """

    found: Any
    method: str = "forward"
    owner: Any = None
    callee: str = ""
    built: str = ""


def resolve(module: ModuleType, name: str, place: str) -> Resolved:
    """The callable of a dotted name in a module.

    `place` (path:line) is named by the `TraceError` that is raised where there is none.
    """
    owner: Any = None
    found: Any = module
    for part in name.split("."):
        owner = found
        try:
            found = inspect.getattr_static(owner, part)
        except AttributeError:
            what = "is not defined once the module is loaded" if owner is module else "is defined inside a function"
            raise TraceError(f"{place}: {name} {what}") from None
    if isinstance(found, type):
        owner, found = found, _called(found, place)
    if not isinstance(owner, type):
        if not callable(found):
            raise TraceError(f"{place}: {name} is no function once the module is loaded")
        return Resolved(found, callee=name)
    if isinstance(found, staticmethod):
        return Resolved(found.__func__, callee=name)
    if isinstance(found, classmethod):
        return Resolved(MethodType(found.__func__, owner), callee=name)
    built, text = _build(owner, module, place)
    if isinstance(found, property | functools.cached_property):
        getter = found.fget if isinstance(found, property) else found.func
        return Resolved(functools.partial(getter, built), owner=built)  # type: ignore[arg-type, misc]
    method = getattr(found, "__name__", name.split(".")[-1])
    callee = f"self.{method}" if text else ""
    if isinstance(built, nn.Module) and isinstance(getattr(type(built), method, None), FunctionType):
        return Resolved(built, method, built, callee, text)
    bound = MethodType(found, built) if isinstance(found, FunctionType) else found.__get__(built)
    return Resolved(bound, "forward", built, callee, text)


def _called(cls: type, place: str) -> Any:
    """The method by which objects of a class are called."""
    for name in _CALLED:
        held = next((vars(kind)[name] for kind in cls.__mro__ if name in vars(kind)), None)
        if held is not None and held is not vars(nn.Module).get(name):
            return held
    raise TraceError(f"{place}: {cls.__name__} has no method that it is called by")


# --- objects -------------------------------------------------------------------------------------------


def _build(cls: type, module: ModuleType, place: str) -> tuple[Any, str]:
    """An object of a class, and how it is made as Python; empty where this cannot be written."""
    cls = _concrete(cls, module)
    with quiet(), _offline():
        made, error, text = _constructed(cls)
        if made is None:
            made = _stood_in(cls)
    if made is None:
        words = (str(error).splitlines() or [""])[0]
        raise TraceError(f"{place}: building {cls.__name__} raises {type(error).__name__}: {words}") from None
    return made, text


def options(owner: object) -> Iterator[tuple[str, str]]:
    """The texts with which the methods of a class compare attributes of ``self``, other than what these hold."""
    found: dict[tuple[str, str], None] = {}
    for node in _nodes(type(owner)):
        match node:
            case ast.Compare(left=ast.Attribute(value=ast.Name(id="self"), attr=name), comparators=others):
                texts = [part.value for other in others for part in ast.walk(other) if isinstance(part, ast.Constant)]
                found.update(((name, text), None) for text in texts if isinstance(text, str))
    yield from ((name, text) for name, text in found if isinstance(held := vars(owner).get(name), str) and held != text)


def _concrete(cls: type, module: ModuleType) -> type:
    """A class that is not abstract: itself, or the first of its module that derives from it."""
    if not getattr(cls, "__abstractmethods__", None):
        return cls
    derived = (
        held
        for held in vars(module).values()
        if isinstance(held, type) and issubclass(held, cls) and not getattr(held, "__abstractmethods__", None)
    )
    return next(derived, cls)


def _constructed(cls: type) -> tuple[Any, BaseException | None, str]:
    """An object of a class by its constructor, or the first exception that this ended in; and the call as Python."""
    first: BaseException | None = None
    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError):
        signature = inspect.Signature()
    try:
        return cls(), None, f"{cls.__qualname__}()"
    except Exception as error:
        first = error
    samples = Samples(signature, None, getattr(cls, "__init__", None), building=True)
    for _, arguments in zip(range(_TRIES), samples, strict=False):
        try:
            bound = inspect.BoundArguments(signature, arguments)
            return cls(*bound.args, **bound.kwargs), None, _call(cls, bound.args, bound.kwargs)
        except Exception as error:
            first = error if isinstance(first, TypeError) else first
            samples.learn(error)
    return None, first, ""


def _call(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The call of a constructor as Python, empty where it is given more than numbers and texts."""
    values = [*args, *kwargs.values()]
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        return ""
    texts = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return f"{cls.__qualname__}({', '.join(texts)})"


def _stood_in(cls: type) -> Any:
    """An object without its constructor: attributes that it lacks are stand-ins by their names and uses."""
    called, read_from = _attribute_uses(cls)

    def missing(self: Any, name: str) -> Any:
        try:
            return inherited(self, name)
        except AttributeError:
            if name.startswith("_") and not _is_assigned(name, called | read_from):
                raise
        value = _attribute(name, called, read_from)
        object.__setattr__(self, name, value)
        return value

    inherited: Callable[[Any, str], Any] = getattr(cls, "__getattr__", None) or _lacking
    try:
        kind = type(cls)(cls.__name__, (cls,), {"__getattr__": missing, "__module__": cls.__module__})
        kind.__qualname__ = cls.__qualname__
        if getattr(kind, "__abstractmethods__", None):
            kind.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
        made: Any = kind.__new__(kind)  # type: ignore[call-overload]
        if isinstance(made, nn.Module):
            nn.Module.__init__(made)
    except Exception:
        return None
    _begun(made, cls)
    if isinstance(made, nn.Module) and "_modules" not in vars(made):
        nn.Module.__init__(made)
    return made


def _begun(made: Any, cls: type) -> None:
    """Run the constructor as far as it goes, for the attributes that it sets on its way."""
    init = cls.__init__  # type: ignore[misc]
    if not isinstance(init, FunctionType):
        return
    signature = inspect.signature(MethodType(init, made))
    samples = Samples(signature, None, init, building=True)
    for _, arguments in zip(range(4), samples, strict=False):
        try:
            bound = inspect.BoundArguments(signature, arguments)
            init(made, *bound.args, **bound.kwargs)
            return
        except Exception as error:
            samples.learn(error)


def _lacking(self: Any, name: str) -> Any:
    raise AttributeError(name)


def _is_assigned(name: str, names: set[str]) -> bool:
    return name in names and not name.startswith("__")


def _attribute(name: str, called: set[str], read_from: set[str]) -> Any:
    """A stand-in for an attribute."""
    if name in called:
        return Model()
    if name in read_from:
        return Config()
    if naming.is_flag(name) or naming.is_model(name) or naming.is_callable(name):
        return by_name(name)
    number = naming.number(name)
    return 0.5 if number is None else number


def _attribute_uses(cls: type) -> tuple[set[str], set[str]]:
    """The attributes of ``self`` that the methods of a class call, and those of which they read attributes."""
    called: set[str] = set()
    read_from: set[str] = set()
    for node in _nodes(cls):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                called.add(name)
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                read_from.add(name)
            case ast.Subscript(value=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                read_from.add(name)
    return called, read_from


def _nodes(cls: type) -> Iterator[ast.AST]:
    """The nodes of the methods of a class and of its bases."""
    for kind in cls.__mro__:
        if kind.__module__.split(".")[0] in ("torch", "builtins", "abc"):
            continue
        for held in vars(kind).values():
            code = getattr(inspect.unwrap(held), "__code__", None) if callable(held) else None
            if code is None:
                continue
            lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
            try:
                yield from ast.walk(ast.parse(textwrap.dedent("".join(inspect.getblock(lines)))))
            except (SyntaxError, ValueError, RecursionError):
                continue


@contextmanager
def _offline() -> Iterator[None]:
    """While this lasts nothing is fetched: a constructor that would load weights fails at once."""

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise OSError("nanguard loads nothing while it builds an object")

    held = [
        (socket.socket, "connect"), (socket, "getaddrinfo"), (torch.hub, "load"),
        (torch.hub, "load_state_dict_from_url"), (torch.hub, "download_url_to_file"),
    ]  # fmt: skip
    before = [getattr(holder, name) for holder, name in held]
    for holder, name in held:
        setattr(holder, name, refused)
    try:
        yield
    finally:
        for (holder, name), value in zip(held, before, strict=True):
            setattr(holder, name, value)
