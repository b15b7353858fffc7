"""What all tests share: torch loaded once, without its remark about numpy, on one thread."""

from __future__ import annotations

from nanguard.lazy import load_torch

load_torch().set_num_threads(1)
