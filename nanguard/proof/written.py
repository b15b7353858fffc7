"""Written: the arguments of a call as numbers for a report, and the call as Python that makes it again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nanguard.finding import Number
from nanguard.floats import FORMATS
from nanguard.tracing.arguments import Arguments

_LARGEST = 256  # entries of an argument that are written one by one
_DIGITS = 17
OWN = "self."  # what the names of attributes of the object begin with, which a call has beside its arguments


class Unwritable(ValueError):
    """An argument that Python source does not make: a stand-in, an object of a class, a large tensor."""


def writable(given: Arguments) -> bool:
    """Whether all tensors can be written down."""
    return all(tensor.numel() <= _LARGEST or _short(tensor) is not None for tensor in given.tensors)


def numbers(given: Arguments) -> dict[str, Number]:
    """Arguments by the names of their parameters: tensors, options that differ from the default, stand-ins in words.

    A tensor is a list of its entries; a large one is the Python that makes it.
    """
    found: dict[str, Number] = {}
    for name, tensor in zip(given.names, given.tensors, strict=True):
        text = _short(tensor) if tensor.numel() > _LARGEST else None
        found[name] = text if text is not None else _number(tensor.tolist())
    for name, leaves, spec in given.parts:
        leaf = leaves[0] if leaves else None
        if spec is not None or isinstance(leaf, Tensor) or _is_default(given, name, leaf):
            continue
        if isinstance(leaf, bool | int | float | str):
            found[name] = leaf
        else:
            found[name] = f"a {type(leaf).__name__} that nanguard made up"
    return found


def _is_default(given: Arguments, name: str, value: object) -> bool:
    if name.startswith(OWN):
        return False
    default = given.signature.parameters[name].default
    return value is default or (type(value) is type(default) and isinstance(value, _PLAIN) and value == default)


_PLAIN = (bool, int, float, str, torch.dtype, torch.device)


def _number(value: Any) -> Number:
    if isinstance(value, list):
        return [_number(part) for part in value]
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return int(value) if not isinstance(value, bool) else value


# --- Python ---------------------------------------------------------------------------------------------


def call_text(function: str, built: str, given: Arguments) -> str | None:
    """The call of a function, None where an argument cannot be written.

    `built` is how the object is made of which it is a method; attributes that are given are set on it.
    """
    try:
        lines = [f"self = {built}"] if built else []
        lines += [f"{name} = {source(value)}" for name, value in given.values().items() if name.startswith(OWN)]
        return "; ".join([*lines, f"{function}({', '.join(_arguments(given))})"])
    except Unwritable:
        return None


def _arguments(given: Arguments) -> Iterator[str]:
    kinds = {name: parameter.kind for name, parameter in given.signature.parameters.items()}
    for name, value in given.values().items():
        if name.startswith(OWN):
            continue
        kind = kinds[name]
        if kind is kind.VAR_POSITIONAL:
            yield from map(source, value)
        elif kind is kind.VAR_KEYWORD:
            yield from (f"{key}={source(part)}" for key, part in value.items())
        elif not _is_default(given, name, value):
            yield source(value) if kind is kind.POSITIONAL_ONLY else f"{name}={source(value)}"


def source(value: Any) -> str:
    """A value as Python; raises `Unwritable`."""
    match value:
        case Tensor():
            return tensor_source(value)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case None | bool() | int() | float() | str():
            return repr(value)
        case torch.dtype():
            return str(value)
        case torch.device():
            return f'torch.device("{value}")'
        case list():
            return f"[{', '.join(map(source, value))}]"
        case tuple() if type(value) is tuple:
            return f"({', '.join(map(source, value))}{',' if len(value) == 1 else ''})"
        case dict():
            return f"{{{', '.join(f'{source(key)}: {source(part)}' for key, part in value.items())}}}"
    raise Unwritable(type(value).__name__)


def tensor_source(tensor: Tensor) -> str:
    """A tensor as Python, as short as it goes."""
    short = _short(tensor)
    if short is not None:
        return short
    if tensor.numel() > _LARGEST:
        raise Unwritable("a large tensor")
    dtype = "" if tensor.dtype in (torch.float32, torch.int64, torch.bool) else f", dtype={tensor.dtype}"
    return f"torch.tensor({_listed(tensor.detach())}{dtype})"


def _listed(tensor: Tensor) -> str:
    if tensor.dim() == 0:
        return _entry(tensor)
    return f"[{', '.join(map(_listed, tensor))}]"


def _entry(tensor: Tensor) -> str:
    value = tensor.item()
    form = FORMATS.get(str(tensor.dtype).removeprefix("torch."))
    if not isinstance(value, float) or form is None:
        return repr(value)
    if not math.isfinite(value):
        return f'float("{value}")'
    shorter = (float(f"{value:.{digits}g}") for digits in range(1, _DIGITS))
    return repr(next((short for short in shorter if form.round(short) == value), value))


def _short(tensor: Tensor) -> str | None:
    """A tensor that is one value all over, or evenly spaced, in a few words; None for another."""
    if tensor.numel() < 2 or tensor.is_complex():
        return None
    flat, shape = tensor.detach().flatten(), tuple(tensor.shape)
    dtype = "" if tensor.dtype in (torch.float32, torch.int64, torch.bool) else f", dtype={tensor.dtype}"
    if bool((flat == flat[0]).all()):
        return f"torch.full({shape}, {_entry(flat[0])}{dtype})"
    if tensor.numel() > _LARGEST and tensor.dtype is torch.float32 and torch.equal(flat, line(flat.numel())):
        return f"torch.linspace(0, 1, {flat.numel()}).reshape{shape}"
    return None


def line(count: int) -> Tensor:
    """Numbers from 0 to 1, float32."""
    return torch.linspace(0, 1, count)
