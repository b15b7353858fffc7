"""The Python interface: check a loss, or rewrite it into one that is stable."""

from __future__ import annotations

import copy
import inspect
import linecache
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from nanguard.errors import NanguardError
from nanguard.finding import FileResult, Report, Suppressed
from nanguard.lazy import load_torch
from nanguard.settings import Settings
from nanguard.stated import ranges_for

if TYPE_CHECKING:
    from nanguard.runtime.options import Options
    from nanguard.runtime.watching import Watch

Loss = TypeVar("Loss", bound=Callable[..., Any])


def check(loss: Callable[..., Any]) -> Report:
    """What `nanguard check` would report of a function or an `nn.Module`.

    Reads its source, and traces it; comments in the source that suppress findings count, and so does the configuration
    of the nearest folder around its file that has one: rules, dtypes, ranges of inputs, what is ignored, the baseline.
    Raises `NanguardError` where it can neither be read nor traced, and for a configuration that is wrong.
    """
    function = _function(loss)
    return _checked(loss, function, _configured(function.__code__.co_filename, {}))


def _configured(path: str, selectors: Mapping[str, Sequence[str] | None]) -> Settings:
    """The settings for a file; `selectors` that are given take the place of those of its configuration."""
    from nanguard.config.effective import Given, effective
    from nanguard.config.load import configuration_for

    given = {
        name: Given(_selectors(chosen), name, "argument") for name, chosen in selectors.items() if chosen is not None
    }
    return effective(given, configuration_for([path]) if os.path.isfile(path) else None).settings


def _checked(loss: Callable[..., Any], function: Any, settings: Settings) -> Report:
    """What is found, and what the selection, the comments and the baseline leave of it."""
    from nanguard.selection import selection
    from nanguard.suppress.baseline import BASELINE, load
    from nanguard.suppress.quiet import in_text
    from nanguard.suppress.silence import silenced

    report = _found(loss, function, settings)
    chosen = selection(settings)
    found = report.findings if chosen is None else chosen.admitted(report.findings)
    parted = silenced(found, lambda path: in_text(path, "".join(linecache.getlines(path)), settings))
    known = load(settings.baseline).has(parted.left) if settings.baseline is not None else [False] * len(parted.left)
    pairs = list(zip(parted.left, known, strict=True))
    hidden = (Suppressed(finding, BASELINE) for finding, hide in pairs if hide)
    left = tuple(finding for finding, hide in pairs if not hide)
    return replace(report, findings=left, suppressed=(*parted.suppressed, *hidden))


def _function(loss: Callable[..., Any]) -> Any:
    """The Python function that is checked of a callable; raises `NanguardError` where there is none."""
    torch = load_torch()
    function = type(loss).forward if isinstance(loss, torch.nn.Module) else loss
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not hasattr(function, "__code__"):
        raise NanguardError(f"{loss!r} is neither a Python function nor an nn.Module; give one of these")
    return function


def _found(loss: Callable[..., Any], function: Any, settings: Settings) -> Report:
    """What reading and tracing find."""
    from nanguard.tracing.live import traced_report

    read = _read(function, settings)
    ranges = ranges_for(settings, function.__code__.co_filename, _name(function))
    try:
        traced = traced_report(loss, settings, ranges)
    except NanguardError as error:
        if not read.targets:
            raise
        targets = tuple(replace(target, reason=str(error)) for target in read.targets)
        return Report(1, targets, read.findings, read.notes)
    if not read.targets:
        return traced
    from nanguard.tracing.traced import beside

    targets = tuple(replace(target, capture="trace") for target in read.targets)
    found = (*read.findings, *beside(read.findings, traced.findings))
    return Report(1, targets, tuple(sorted(found, key=lambda finding: finding.span)), read.notes)


def _read(function: Any, settings: Settings) -> FileResult:
    """The findings of reading a function in its file; no targets where there is no source."""
    from nanguard.analyse import examine

    path, name = function.__code__.co_filename, _name(function)
    source = "".join(linecache.getlines(path))
    if not source or "<lambda>" in name:
        return FileResult(path, (), (), ())
    try:
        return examine(path, source, replace(settings, static=True), (name,))
    except SyntaxError:  # a part of a notebook, say, that is no Python by itself
        return FileResult(path, (), (), ())


def _name(function: Any) -> str:
    """What a function is called in its file."""
    return str(function.__qualname__).replace(".<locals>", "")


def rewrite(
    loss: Loss, prefer: str = "stable", eps: float | None = None, *, select: Sequence[str] = ("ALL",),
    ignore: Sequence[str] = (), strict: bool = True, example_inputs: Any = None,
) -> Loss:  # fmt: skip
    """The loss with its unstable expressions replaced; it is called like the original.

    A function gives a function, a module a module of the same class with the same parameters, an
    `fx.GraphModule` one of its kind, and a `torch.export.ExportedProgram`, which cannot be called, the module that
    runs it, as its `.module()` does.  `prefer` is "stable" for the exact forms, or "clamp" for clamped ones, with
    `eps` or one that works in the dtype.  `select` and `ignore` are codes, prefixes of codes or names of rules.
    `example_inputs` are the arguments of one call, a tuple of positional ones or a dict, on which the capture is
    proved; without them some are made up.  The result has `.report()`, what was replaced, and `.graph` and `.code`.

    Raises `NanguardError`, with the place and the reason, for a loss that cannot be captured faithfully; with
    `strict` false it warns and gives the original.
    """
    load_torch()
    from nanguard.errors import NanguardWarning
    from nanguard.runtime.options import Options

    options = Options(prefer, eps, _selectors(select), _selectors(ignore))
    options.check()
    try:
        return cast(Loss, _rewritten(loss, options, example_inputs))
    except NanguardError as error:
        if strict or not callable(loss):
            raise
        warnings.warn(f"{error}; it stays as it was written", NanguardWarning, stacklevel=2)
        return loss


def _selectors(given: Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _rewritten(loss: Any, options: Options, example_inputs: Any) -> object:
    torch = load_torch()
    if isinstance(loss, torch.export.ExportedProgram):
        loss = loss.module()
    if isinstance(loss, torch.fx.GraphModule):
        from nanguard.runtime.graphs import graph_module

        return graph_module(loss, options, example_inputs)
    if isinstance(loss, torch.nn.Module):
        return _module(loss, options, example_inputs)
    if not callable(loss) or isinstance(loss, type):
        raise NanguardError(f"{loss!r} is neither a function nor an nn.Module; give one of these")
    from nanguard.runtime.guarding import Stable

    return Stable(loss, options, example_inputs)


def _module(loss: Any, options: Options, example_inputs: Any) -> Any:
    from nanguard.runtime.captured import Captured

    function = type(loss).forward
    if "forward" in vars(loss) and not isinstance(vars(loss)["forward"], Captured):
        raise NanguardError(f"{type(loss).__name__}: this object has a forward of its own; rewrite its class's")
    stable = copy.copy(loss)
    for name, table in vars(loss).items():  # its own hooks, but the same parameters, buffers and modules
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
            vars(stable)[name] = copy.copy(table)
    vars(stable).pop("forward", None)
    captured = Captured(function, stable, options)
    capture = captured.start(example_inputs)
    captured.keep_whole(capture)
    _attach(stable, "forward", captured, always=True)
    _attach(stable, "report", captured.report)
    _attach(stable, "graph", capture.graph)
    _attach(stable, "code", capture.rewritten.code)
    return stable


@overload
def guard(target: Loss, /) -> Loss: ...
@overload
def guard(
    target: None = None, /, *, prefer: str = "stable", eps: float | None = None, select: Sequence[str] = ("ALL",),
    ignore: Sequence[str] = (),
) -> Callable[[Loss], Loss]: ...  # fmt: skip
def guard(
    target: Any = None, /, *, prefer: str = "stable", eps: float | None = None, select: Sequence[str] = ("ALL",),
    ignore: Sequence[str] = (),
) -> Any:  # fmt: skip
    """Replace unstable expressions of a function, a method, a module or a class of modules as it runs.

    To be used as a decorator, with or without options (those of `rewrite`), or as a function; a module and a class
    are guarded in place and stay what they are.  At the first call the function is captured on the real inputs
    and the capture is proved; where that fails, it runs under a mode that replaces unstable expressions as they
    complete.  It never changes which branch runs, raises nothing of its own, and steps aside inside
    `torch.compile`.  The environment variable NANGUARD=0 turns it off.  Raises `NanguardError` for a target that
    cannot be called, or an option that does not exist.
    """
    load_torch()
    from nanguard.runtime.guarding import guarded
    from nanguard.runtime.options import Options

    options = Options(prefer, eps, _selectors(select), _selectors(ignore))
    options.check()
    if target is None:
        return lambda found: guarded(found, options)
    return guarded(target, options)


def watch(mode: str = "raise") -> Watch:
    """A `with` block that stops at the first operation that turns finite numbers into inf or nan.

    It looks at the result of every torch call in the block, and at the gradients of these calls when they are
    computed, then or later.  The `NonFiniteError` (a `NanguardError`) names the line, the operation, the ranges of
    its inputs, and the rule that would have prevented it with its replacement.  With `mode` "warn" the program goes
    on.  The causes are also in `.found`.
    """
    load_torch()
    from nanguard.runtime.watching import Watch

    return Watch(mode)


def assert_stable(
    loss: Callable[..., Any], *, select: Sequence[str] | None = None, ignore: Sequence[str] | None = None
) -> None:
    """Raise `AssertionError` with the findings, as `nanguard check` prints them, if a loss has any.

    `select` and `ignore` are codes, prefixes of codes or names of rules, in the place of those of the configuration,
    which counts as it does for `check`.  Raises `NanguardError` as that does.
    """
    __tracebackhide__ = True
    function = _function(loss)
    settings = _configured(function.__code__.co_filename, {"select": select, "ignore": ignore})
    report = _checked(loss, function, settings)
    if not report.ok:
        raise AssertionError(f"the loss is not stable\n{report}")


def _attach(module: Any, name: str, value: object, always: bool = False) -> None:
    """Give an object an attribute; one that the class has already stays, but for its forward."""
    if always or not hasattr(type(module), name):
        vars(module)[name] = value
