"""Subject: a callable in the form in which it is run to be captured."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, MethodType, UnionType
from typing import Any, Union, get_args, get_origin

import torch
from torch import nn

from nanguard.stated import Range
from nanguard.tracing.places import is_user_file
from nanguard.tracing.tracer import Helper, TraceError


@dataclass(frozen=True, slots=True)
class Watched:
    """A name outside of the callable that it read, and what it held."""

    table: Mapping[str, Any]
    name: str
    value: Any

    def holds(self) -> bool:
        """Whether the name still holds the same."""
        return self.table.get(self.name) is self.value


@dataclass(frozen=True, slots=True)
class Subject:
    """A callable as a tracer takes it: a module and the name of a method, or a function.

    `home` is its path:line, `cells` the variables that it closes over, `ranges` what its parameters take.  `owner` is
    the object that was made for a method, `callee` what a call is written with and `built` how the object was made;
    texts are empty where this cannot be said.
    """

    root: Callable[..., Any] | nn.Module
    method: str
    name: str
    signature: inspect.Signature
    home: str
    cells: tuple[Watched, ...]
    ranges: Mapping[str, Range]
    owner: Any = None
    callee: str = ""
    built: str = ""

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call it."""
        if isinstance(self.root, nn.Module):
            return getattr(type(self.root), self.method)(self.root, *args, **kwargs)
        return self.root(*args, **kwargs)

    @property
    def modules(self) -> list[nn.Module]:
        """The modules whose state a run may change."""
        return list(self.root.modules()) if isinstance(self.root, nn.Module) else []

    @property
    def tables(self) -> list[dict[str, Any]]:
        """The tables of names that a run may change."""
        return [] if isinstance(self.root, nn.Module) else [self.root.__globals__]


def subject_of(
    fn: Any, method: str = "forward", name: str | None = None, ranges: Mapping[str, Range] | None = None
) -> Subject:
    """The subject for a function, a bound method, or the `method` of a module; raises `TraceError`.

    `ranges` come before those in the annotations.
    """
    if isinstance(fn, MethodType) and isinstance(fn.__self__, nn.Module):
        fn, method = fn.__self__, fn.__name__
    if isinstance(fn, torch.jit.ScriptModule | torch.jit.ScriptFunction) or hasattr(fn, "_torchdynamo_orig_callable"):
        raise TraceError(f"{name or fn!r}: is compiled; give the callable that it was compiled from")
    if isinstance(fn, type):
        raise TraceError(f"{name or fn.__name__}: is a class; give an object of it")
    if not callable(fn):
        raise TraceError(f"{name or fn!r}: cannot be called")
    if isinstance(fn, nn.Module):
        function = getattr(type(fn), method, None)
        if not isinstance(function, FunctionType):
            raise TraceError(f"{type(fn).__name__}.{method}: is no method written in Python")
        signature = inspect.signature(MethodType(function, fn))
        label = name or f"{type(fn).__qualname__}.{method}"
        known = {**annotated_ranges(function), **(ranges or {})}
        return Subject(fn, method, label, signature, _home(function, label), _cells(function), known)
    label = name or str(getattr(fn, "__qualname__", type(fn).__qualname__))
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        raise TraceError(f"{label}: is not written in Python") from None
    root = fn if isinstance(fn, FunctionType) else lambda *args, **kwargs: fn(*args, **kwargs)
    known = {**annotated_ranges(fn), **(ranges or {})}
    return Subject(root, method, label, signature, _home(fn, label), _cells(fn), known)


def annotated_ranges(function: Any) -> dict[str, Range]:
    """The ranges that the annotations of a function give: ``Annotated[Tensor, nanguard.Range(0, 1)]``."""
    plain = inspect.unwrap(getattr(function, "__func__", function))
    found: dict[str, Range] = {}
    for name, annotation in getattr(plain, "__annotations__", {}).items():
        if isinstance(annotation, str) and annotation in _ORDINARY:
            continue
        with suppress(Exception):  # a name that is not there when the program runs
            for _ in range(2):  # there may be a text in a text, where all annotations are texts
                annotation = eval(annotation, plain.__globals__) if isinstance(annotation, str) else annotation
            stated = [part for part in _metadata(annotation) if isinstance(part, Range)]
            if stated:
                found[name] = stated[0]
    return found


_ORDINARY = ("Tensor", "torch.Tensor", "int", "float", "bool", "str")  # annotations that need not be looked up


def _metadata(annotation: Any) -> Iterator[Any]:
    """What stands beside the type in an annotation, or in one of the alternatives of a union."""
    yield from getattr(annotation, "__metadata__", ())
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _metadata(part)


def _home(fn: Any, label: str) -> str:
    code = getattr(inspect.unwrap(getattr(fn, "__func__", fn)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else label


def _cells(fn: Any) -> tuple[Watched, ...]:
    """The variables that a function closes over, as they are."""
    code, cells = getattr(fn, "__code__", None), getattr(fn, "__closure__", None)
    if code is None or not cells:
        return ()
    views = [_Cell(cell) for cell in cells]
    return tuple(Watched(view, name, view.get(name)) for name, view in zip(code.co_freevars, views, strict=True))


class _Cell(dict[str, Any]):
    """A cell of a closure as a table with one name."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:  # not bound yet
            return default


def failure(error: BaseException, boundary: CodeType, subject: Subject) -> TraceError:
    """An exception of the program as it ran inside of `boundary`, at the innermost line of the user's code."""
    place, inside, step = subject.home, False, error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        inside = inside or code is boundary
        if inside and is_user_file(code.co_filename):
            place = f"{code.co_filename}:{step.tb_lineno}"
        step = step.tb_next
    if isinstance(error, TraceError):
        return TraceError(str(error), error.open, _helper(error, boundary))
    words = str(error).splitlines() or [""]
    message = f"{place}: {type(error).__name__}{': ' if words[0] else ''}{words[0]}"
    return TraceError(message, open=True, helper=_helper(error, boundary))


def _helper(error: BaseException, boundary: CodeType) -> Helper | None:
    """The innermost function of a module on the way of an exception, but for the one that is captured."""
    frames: list[FrameType] = []
    step, inside = error.__traceback__, False
    while step is not None:
        inside = inside or step.tb_frame.f_code is boundary
        if inside and is_user_file(step.tb_frame.f_code.co_filename):
            frames.append(step.tb_frame)
        step = step.tb_next
    for caller, frame in reversed(list(itertools.pairwise(frames))):
        for name, value in caller.f_globals.items():
            if isinstance(value, FunctionType) and value.__code__ is frame.f_code:
                return Helper(caller.f_globals, name, value)
    return None
