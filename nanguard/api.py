"""The Python interface: check a loss, or rewrite it into one that is stable."""

from __future__ import annotations

import copy
import functools
import inspect
import linecache
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

from nanguard.errors import NanguardError
from nanguard.finding import FileResult, Report
from nanguard.lazy import load_torch
from nanguard.settings import Settings

Loss = TypeVar("Loss", bound=Callable[..., Any])


def check(loss: Callable[..., Any]) -> Report:
    """What `nanguard check` would report of a function or an `nn.Module`.

    Reads its source, and traces it.  Raises `NanguardError` where neither can be done.
    """
    torch = load_torch()
    function = type(loss).forward if isinstance(loss, torch.nn.Module) else loss
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not hasattr(function, "__code__"):
        raise NanguardError(f"{loss!r} is neither a Python function nor an nn.Module; give one of these")
    from nanguard.live import traced_report

    read = _read(function)
    try:
        traced = traced_report(loss)
    except NanguardError as error:
        if not read.targets:
            raise
        targets = tuple(replace(target, reason=str(error)) for target in read.targets)
        return Report(1, targets, read.findings, read.notes)
    if not read.targets:
        return traced
    from nanguard.traced import beside

    targets = tuple(replace(target, capture="trace") for target in read.targets)
    found = (*read.findings, *beside(read.findings, traced.findings))
    return Report(1, targets, tuple(sorted(found, key=lambda finding: finding.span)), read.notes)


def _read(function: Any) -> FileResult:
    """The findings of reading a function in its file; no targets where there is no source."""
    from nanguard.analyse import examine

    path, name = function.__code__.co_filename, function.__qualname__.replace(".<locals>", "")
    source = "".join(linecache.getlines(path))
    if not source or "<lambda>" in name:
        return FileResult(path, (), (), ())
    try:
        return examine(path, source, Settings(static=True), (name,))
    except SyntaxError:  # a part of a notebook, say, that is no Python by itself
        return FileResult(path, (), (), ())


def rewrite(loss: Loss, prefer: str = "stable", eps: float | None = None) -> Loss:
    """The loss with its unstable expressions replaced; it is called like the original.

    `prefer` is "stable" for the exact forms, or "clamp" for clamped ones, with `eps` or one that fits the
    dtype.  A function gives a function, a module a module of the same class with the same parameters.  The
    result has `.report()`, what was replaced, and `.graph` and `.code`.  Raises `NanguardError` for a loss that
    cannot be captured faithfully, with the place and the reason.
    """
    torch = load_torch()
    if isinstance(loss, torch.nn.Module):
        return cast(Loss, _module(loss, prefer, eps))
    if not callable(loss) or isinstance(loss, type):
        raise NanguardError(f"{loss!r} is neither a function nor an nn.Module; give one of these")
    return cast(Loss, _function(loss, prefer, eps))


def _function(loss: Callable[..., Any], prefer: str, eps: float | None) -> Callable[..., Any]:
    from nanguard.captured import Captured

    torch = load_torch()
    owner = getattr(loss, "__self__", None)
    plain = getattr(loss, "__func__", loss)
    is_method = isinstance(owner, torch.nn.Module)
    captured = Captured(plain, owner, prefer, eps) if is_method else Captured(loss, None, prefer, eps)
    capture = captured.start()

    def stable(*args: Any, **kwargs: Any) -> Any:
        return captured(*args, **kwargs)

    functools.update_wrapper(stable, plain)
    vars(stable).update(
        __signature__=captured.signature,
        report=captured.report,
        graph=capture.graph,
        code=capture.rewritten.code,
    )
    return stable


def _module(loss: Any, prefer: str, eps: float | None) -> Any:
    from nanguard.captured import Captured

    function = type(loss).forward
    if "forward" in vars(loss) and not isinstance(vars(loss)["forward"], Captured):
        raise NanguardError(f"{type(loss).__name__}: this object has a forward of its own; rewrite its class's")
    stable = copy.copy(loss)
    for name, table in vars(loss).items():  # its own hooks, but the same parameters, buffers and modules
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
            vars(stable)[name] = copy.copy(table)
    vars(stable).pop("forward", None)
    captured = Captured(function, stable, prefer, eps)
    capture = captured.start()
    _attach(stable, "forward", captured, always=True)
    _attach(stable, "report", captured.report)
    _attach(stable, "graph", capture.graph)
    _attach(stable, "code", capture.rewritten.code)
    return stable


def _attach(module: Any, name: str, value: object, always: bool = False) -> None:
    """Give an object an attribute; one that the class has already stays, but for its forward."""
    if always or not hasattr(type(module), name):
        vars(module)[name] = value
