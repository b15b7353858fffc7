"""Watching: stop a program at the first operation that turns finite numbers into inf or nan, forward or backward."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nanguard.analyse import examine
from nanguard.errors import NanguardError, NanguardWarning
from nanguard.finding import Finding, Span
from nanguard.settings import Settings
from nanguard.tracing.places import Sources, user_frame

_MODES = ("raise", "warn")
# What gives memory as it is found.
_UNSET = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "empty_permuted", "resize_", "resize_as_"})


class NonFiniteError(NanguardError, ArithmeticError):
    """An operation that turned finite numbers into inf or nan; `cause` says which."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Cause:
    """Where a value or a gradient stopped being finite.

    `path` and `line` (from 1) are the user's, `operation` the torch function, `expression` the source there,
    `direction` forward or backward, `value` what came out (inf, -inf or nan), `inputs` the least and the largest
    entry of each tensor that went in, `code` and `replacement` the rule that would have prevented it, where there is
    one, and what it says to write.
    """

    path: str
    line: int
    column: int
    operation: str
    expression: str
    direction: str
    value: str
    inputs: tuple[tuple[float, float], ...]
    code: str | None
    name: str | None
    replacement: str | None

    def __str__(self) -> str:
        ranges = ", ".join(f"[{low:.6g}, {high:.6g}]" for low, high in self.inputs) or "none"
        what = "gives" if self.direction == "forward" else "has a gradient of"
        text = f"{self.path}:{self.line}:{self.column}: `{self.expression}` ({self.operation}) {what} {self.value}"
        text += f"; its inputs are in {ranges}"
        if self.code is None:
            return text
        text += f"; {self.code} {self.name} would have told"
        return f"{text}: write `{self.replacement}`" if self.replacement else text


@dataclass(frozen=True, slots=True)
class _Call:
    """A torch call, with where it was made and what went in."""

    function: Any
    code: CodeType | None
    instruction: int
    inputs: tuple[torch.Tensor, ...]


class Watch(TorchFunctionMode):
    """Watches the torch calls inside a `with` block, and the gradients that are computed in it or after it.

    `found` are the causes so far; with `mode` "raise" the first one is raised as `NonFiniteError`, with "warn" each
    place is warned about once.
    """

    def __init__(self, mode: str = "raise") -> None:
        super().__init__()
        if mode not in _MODES:
            raise NanguardError(f"mode must be 'raise' or 'warn', not {mode!r}")
        self.mode = mode
        self.found: list[Cause] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        __tracebackhide__ = True  # of pytest: the program's own line comes last
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor):
            self.see(func, args, kwargs, result)
        elif isinstance(result, tuple):
            for part in result:
                if isinstance(part, torch.Tensor):
                    self.see(func, args, kwargs, part)
        return result

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: torch.Tensor) -> None:
        """Look at a result, and have its gradients looked at."""
        __tracebackhide__ = True
        if not result.is_floating_point() or not _is_plain(result) or func.__name__ in _UNSET:
            return
        inputs = tuple(_tensors((*args, *kwargs.values())) if kwargs else _tensors(args))
        if not inputs:
            return
        frame = user_frame(sys._getframe(2))
        call = _Call(func, frame.f_code if frame else None, frame.f_lasti if frame else 0, inputs)
        if not _is_finite(result):
            if _is_wanted(args, kwargs) or not all(map(_is_finite, inputs)):
                return
            self.report(call, "forward", result, inputs)
        node = result.grad_fn
        if node is not None and func.__name__ not in ("__get__", "__set__", "detach"):
            node.register_hook(_Gradients(self, call))

    def report(self, call: _Call, direction: str, value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> None:
        """Raise or warn about a call."""
        __tracebackhide__ = True
        place = _place(call)
        if any((cause.path, cause.line, cause.direction) == (*place, direction) for cause in self.found):
            return
        cause = _cause(call, direction, value, inputs)
        self.found.append(cause)
        if self.mode == "raise":
            raise NonFiniteError(str(cause), cause)
        warnings.warn(str(cause), NanguardWarning, stacklevel=4)


@dataclass(frozen=True, slots=True)
class _Gradients:
    """Looks at the gradients of one call when they are computed."""

    watch: Watch
    call: _Call

    def __call__(self, computed: tuple[Any, ...], given: tuple[Any, ...]) -> None:
        for gradient in computed:
            if isinstance(gradient, torch.Tensor) and _is_plain(gradient) and not _is_finite(gradient):
                if all(_is_finite(one) for one in given if isinstance(one, torch.Tensor)):
                    self.watch.report(self.call, "backward", gradient, self.call.inputs)
                return


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether the entries of a tensor can be looked at."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and not tensor.is_meta
        and torch._C._functorch.maybe_current_level() is None
    )


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether all entries are finite: their sum is, unless it overflows."""
    if not tensor.is_floating_point():
        return True
    with torch._C.DisableTorchFunction():
        tensor = tensor.detach()
        return math.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all())


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _is_wanted(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the program writes the inf or nan itself: ``x.masked_fill(mask, -inf)``."""
    return any(isinstance(value, float) and not math.isfinite(value) for value in (*args, *kwargs.values()))


def _place(call: _Call) -> tuple[str, int]:
    if call.code is None:
        return "", 0
    line = next((line for start, end, line in call.code.co_lines() if start <= call.instruction < end), None)
    return call.code.co_filename, line or call.code.co_firstlineno


def _cause(call: _Call, direction: str, value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> Cause:
    path, line = _place(call)
    sources = Sources()
    span = sources.span_at(call.code, call.instruction) if call.code is not None else None
    operation = _name(call.function)
    expression = (sources.segment(span) if span is not None else "") or operation
    found = _finding(span, sources)
    return Cause(
        path, line, span.column + 1 if span is not None else 1, operation, expression, direction, _worst(value),
        tuple(_range(tensor) for tensor in inputs if tensor.is_floating_point()),
        found.code if found else None, found.name if found else None,
        found.fix.replacement if found and found.fix else None,
    )  # fmt: skip


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", str(function))
    return getattr(function.__self__, "__name__", name) if name == "__get__" else name  # type: ignore[attr-defined]


def _worst(tensor: torch.Tensor) -> str:
    with torch._C.DisableTorchFunction():
        values = tensor.detach()[~tensor.detach().isfinite()]
        kinds = {"nan" if bool(value.isnan()) else str(value.item()) for value in values[:64]}
    return next(kind for kind in ("nan", "-inf", "inf") if kind in kinds)


def _range(tensor: torch.Tensor) -> tuple[float, float]:
    with torch._C.DisableTorchFunction():
        values = tensor.detach()
        if values.numel() == 0:
            return math.nan, math.nan
        return values.min().item(), values.max().item()


def _finding(span: Span | None, sources: Sources) -> Finding | None:
    """What reading the file says of a place: the innermost finding around it, else one on its line."""
    if span is None or not os.path.isfile(span.path):
        return None
    try:
        listed = examine(span.path, sources.text(span.path), Settings(static=True, pedantic=True), None).findings
    except Exception:  # a file that cannot be read has no finding
        return None
    around = [finding for finding in listed if finding.span.covers(span) or span.covers(finding.span)]
    around = around or [finding for finding in listed if finding.span.line <= span.line <= finding.span.end_line]
    return min(around, key=lambda finding: (not finding.confirmed, finding.fix is None), default=None)
