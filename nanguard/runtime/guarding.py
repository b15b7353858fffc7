"""Guarding: callables that stand in the place of a user's function, and run what was made of it."""

from __future__ import annotations

import functools
import inspect
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import fx, nn

from nanguard.errors import NanguardError
from nanguard.runtime.captured import Captured
from nanguard.runtime.mode import under_mode
from nanguard.runtime.options import Options
from nanguard.runtime.replacement import Replacement


class _Wrapper(ABC):
    """An object that is called like a function, is a method in a class, and is pickled by what it wraps."""

    __name__: str
    __qualname__: str

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function."""

    def __init__(self, fn: Callable[..., Any], options: Options) -> None:
        functools.update_wrapper(self, getattr(fn, "__func__", fn))
        self.fn, self.options = fn, options

    @property
    def original(self) -> Callable[..., Any]:
        """The function as it was written."""
        return self.fn

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else MethodType(self, owner)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.fn!r}>"

    def __copy__(self) -> _Wrapper:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A function is its own copy; a bound method is that of the copied object."""
        import copy

        if getattr(self.fn, "__self__", None) is None:
            return self
        return type(self)(copy.deepcopy(self.fn, memo), self.options)

    def __reduce__(self) -> Any:
        """By name where it has taken the place of what it wraps, as a function is."""
        found: Any = inspect.getmodule(self.fn)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        return self.__qualname__ if found is self else (type(self), (self.fn, self.options))


class Stable(_Wrapper):
    """A function with its unstable expressions replaced."""

    def __init__(self, fn: Callable[..., Any], options: Options, example_inputs: Any = None) -> None:
        super().__init__(fn, options)
        owner = getattr(fn, "__self__", None)
        if isinstance(owner, nn.Module):
            self.captured = Captured(fn.__func__, owner, options)  # type: ignore[attr-defined]
        else:
            self.captured = Captured(fn, None, options)
        first = self.captured.start(example_inputs)
        self.__signature__ = self.captured.signature
        self.graph, self.code = first.graph, first.rewritten.code
        # what `torch.compile` sees in the place of the function, called with as many tensors
        self._whole = first.rewritten if first.general and self.captured.module is None else None
        self._inputs = sum(node.op == "placeholder" for node in first.rewritten.graph.nodes)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            if self._whole is not None and not kwargs and len(args) == self._inputs:
                return self._whole(*args)
            return self.fn(*args, **kwargs)
        return self.captured.call(args, kwargs)

    def report(self) -> tuple[Replacement, ...]:
        """What has been replaced."""
        return self.captured.report()


class Guard(_Wrapper):
    """A function whose unstable expressions are replaced as it is called, unless the environment says NANGUARD=0."""

    def __init__(self, fn: Callable[..., Any], options: Options) -> None:
        super().__init__(fn, options)
        self._free: Captured | None = None
        self._owned: dict[int, tuple[weakref.ref[Any], Captured]] = {}
        try:
            self.__signature__ = inspect.signature(fn)
        except (TypeError, ValueError):
            return  # it runs as it is
        self._takes_self = next(iter(self.__signature__.parameters), "") == "self"
        owner = getattr(fn, "__self__", None)
        is_method = isinstance(owner, nn.Module)
        self._free = Captured(fn.__func__ if is_method else fn, owner if is_method else None, options, under_mode)  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.fn(*args, **kwargs)
        captured, rest = self._captured(args)
        if captured is None or is_off():
            return self.fn(*args, **kwargs)
        return captured.call(rest, kwargs)

    def _captured(self, args: tuple[Any, ...]) -> tuple[Captured | None, tuple[Any, ...]]:
        """What runs a call, and its arguments; each object has one of its own for its methods."""
        if self._free is None or not self._takes_self or not args or isinstance(args[0], torch.Tensor | fx.Proxy):
            return self._free, args
        owner = args[0]
        found = self._owned.get(id(owner))
        if found is not None and found[0]() is owner:
            return found[1], args[1:]
        try:
            alive = weakref.ref(owner, functools.partial(self._forget, id(owner)))
        except TypeError:  # there are no weak references to it
            return None, args
        made = Captured(self.fn, owner, self.options, under_mode, weak=True)
        self._owned[id(owner)] = alive, made
        return made, args[1:]

    def _forget(self, key: int, reference: weakref.ref[Any]) -> None:
        found = self._owned.get(key)
        if found is not None and found[0] is reference:
            del self._owned[key]

    def _all(self) -> Iterator[Captured]:
        if self._free is not None:
            yield self._free
        for _, captured in list(self._owned.values()):
            yield captured

    def report(self) -> tuple[Replacement, ...]:
        """What has been replaced in the calls so far."""
        return tuple(dict.fromkeys(found for captured in self._all() for found in captured.report()))

    @property
    def graph(self) -> fx.Graph:
        """The graph that runs in the place of the function; raises `NanguardError` where there is none."""
        for captured in self._all():
            for capture in captured.proved():
                return capture.graph
        raise NanguardError(f"{self.__qualname__}: has no graph: it was not called yet, or could not be captured")


def is_off() -> bool:
    """Whether guards are turned off in the environment."""
    if os.supports_bytes_environ:  # which takes a quarter of the time
        return os.environb.get(b"NANGUARD") == b"0"
    return os.environ.get("NANGUARD") == "0"


class GuardedForward(Captured):
    """The forward of one guarded module."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.compiled(args, kwargs)
        return self.original(*args, **kwargs) if is_off() else self.call(args, kwargs)


def guarded(target: Any, options: Options) -> Any:
    """A function, a method, a module or a class of modules that is guarded.

    Raises `NanguardError` for what is none of these.
    """
    if isinstance(target, Guard | Stable):
        return target
    if isinstance(target, staticmethod | classmethod):
        return type(target)(guarded(target.__func__, options))
    if isinstance(target, type):
        forward = getattr(target, "forward", None)
        if not issubclass(target, nn.Module) or forward is None:
            raise NanguardError(f"{target.__name__} is no nn.Module; guard the functions of it that compute")
        if not isinstance(forward, Guard):
            target.forward = Guard(forward, options)
        return target
    if isinstance(target, fx.GraphModule):
        raise NanguardError("a GraphModule is a graph already; use nanguard.rewrite")
    if isinstance(target, nn.Module):
        known = vars(target).get("forward")
        if known is None and not isinstance(type(target).forward, Guard):
            vars(target)["forward"] = GuardedForward(type(target).forward, target, options, under_mode)
        return target
    if not callable(target):
        raise NanguardError(f"{target!r} is neither a function nor an nn.Module; guard one of these")
    return Guard(target, options)
