"""Nearest: the known name that is most like an unknown one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the known name that is most like `name`, for the end of a message; empty if none is close."""
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
