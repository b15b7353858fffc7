"""torch, imported when something first needs it."""

from __future__ import annotations

import warnings
from types import ModuleType

from nanguard.errors import NanguardError


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
