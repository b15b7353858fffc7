"""torch, imported when something first needs it."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from types import ModuleType

from nanguard.errors import NanguardError


def torch_file() -> str | None:
    """The file of the torch that is installed, None where there is none; it is not loaded for that."""
    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):  # something hides it
        return None
    return spec.origin if spec is not None else None  # a mere folder called torch has no origin


def load_torch() -> ModuleType:
    """The torch module, without its remark at import that numpy is missing.

    Raises `NanguardError` where torch is not installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
        try:
            import torch
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise NanguardError("this needs torch, which is not installed: pip install 'nanguard[torch]'") from None
    return torch
