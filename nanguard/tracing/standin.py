"""Stand-ins: callables, modules and configurations that take the place of what a loss is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from nanguard.tracing import naming


class Model(nn.Module):
    """A module that gives back the first tensor it is called with; its other attributes are stand-ins, too."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The first tensor, times one so that it is a new one."""
        return passed(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return by_name(name)


class Config:
    """An object whose attributes, items and methods are stand-ins by their names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return by_name(name)

    def __getitem__(self, name: Any) -> Any:
        return by_name(name) if isinstance(name, str) else self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What a call of it gives: its first tensor, else another stand-in."""
        found = passed(*args, **kwargs)
        return self if found is None else found

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        """The item of this name, as a dict has it."""
        return by_name(name) if default is None else default


def passed(*args: Any, **kwargs: Any) -> Any:
    """The first tensor among the arguments, times one; None if there is none."""
    for value in (*args, *kwargs.values()):
        if hasattr(value, "shape") and hasattr(value, "mul"):
            return value * 1
    return None


_KNOWN: dict[str, Any] = {
    "device": torch.device("cpu"), "dtype": torch.float32, "training": True, "reduction": "none", "name": "a",
}  # fmt: skip


def by_name(name: str) -> Any:
    """A value for an attribute, a key or a parameter of this name."""
    if naming.is_flag(name):
        return False
    if naming.is_model(name) or naming.is_callable(name):
        return Model()
    if name in _KNOWN:
        return _KNOWN[name]
    number = naming.number(name)
    return Config() if number is None else number
