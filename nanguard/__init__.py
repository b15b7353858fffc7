"""nanguard: finds, proves and repairs numerical instability in PyTorch losses.

Importing nanguard does not import torch; what needs torch imports it when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanguard.api import assert_stable, check, guard, rewrite, watch
    from nanguard.errors import NanguardError
    from nanguard.stated import Range
    from nanguard.tracing.given import example_inputs

__version__ = "0.1.0"
__all__ = [
    "NanguardError", "Range", "__version__", "assert_stable", "check", "example_inputs", "guard", "rewrite", "watch",
]  # fmt: skip

_HOMES = {
    "NanguardError": "nanguard.errors",
    "Range": "nanguard.stated",
    "assert_stable": "nanguard.api",
    "check": "nanguard.api",
    "example_inputs": "nanguard.tracing.given",
    "guard": "nanguard.api",
    "rewrite": "nanguard.api",
    "watch": "nanguard.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
