"""Given: the example inputs that a user states for a loss with a decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from nanguard.errors import NanguardError

Loss = TypeVar("Loss", bound=Callable[..., Any])

_ATTRIBUTE = "__nanguard_inputs__"


def example_inputs(*args: Any, **kwargs: Any) -> Callable[[Loss], Loss]:
    """State arguments that a function, a method or a module can be called with, for nanguard to trace it.

    Above a function, a method or a module class (for its ``forward``)::

        @nanguard.example_inputs(torch.randn(4, 3), target=torch.zeros(4))

    The arguments are those of a call, without ``self``.  A single callable that takes nothing gives them when they
    are needed: a tuple of positional arguments, a dict of keyword arguments, or a pair of both::

        @nanguard.example_inputs(lambda: (torch.randn(4, 3), torch.zeros(4)))

    The decorated object is returned as it is, but for one attribute.  Several decorators give several examples.
    """
    make = args[0] if len(args) == 1 and not kwargs and inspect.isfunction(args[0]) else None
    example = make if make is not None else (args, kwargs)

    def mark(loss: Loss) -> Loss:
        held = (example, *vars(loss).get(_ATTRIBUTE, ()))
        setattr(loss, _ATTRIBUTE, held)
        return loss

    return mark


def examples_of(
    function: Callable[..., Any] | None, owner: object, signature: inspect.Signature
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The examples stated for a function, or for the class of its object, by the names of the parameters.

    Raises `NanguardError` for arguments that the function does not take.
    """
    plain = getattr(function, "__func__", function)
    stated = getattr(plain, _ATTRIBUTE, ())
    if not stated and owner is not None and getattr(plain, "__name__", "") in ("forward", "__call__"):
        stated = getattr(type(owner), _ATTRIBUTE, ())
    for example in stated:
        args, kwargs = _call(example() if callable(example) else example)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(plain, "__qualname__", "the loss")
            raise NanguardError(f"{name}: example_inputs gives arguments that it does not take: {error}") from None
        yield dict(bound.arguments)


def _call(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from what a callable gave."""
    match value:
        case [tuple() as args, dict() as kwargs] if isinstance(value, tuple) and all(
            isinstance(k, str) for k in kwargs
        ):
            return args, kwargs
        case tuple():
            return value, {}
        case dict() if all(isinstance(key, str) for key in value):
            return (), value
    return (value,), {}
