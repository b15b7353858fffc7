"""Key: what every result of a run depends on, beside the files: nanguard, Python, the settings and the rules."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from nanguard import __version__
from nanguard.cache.stamps import digest, stamp
from nanguard.settings import Settings

# Fields of the settings on which the result of a file does not depend; all others are a part of the key.
WITHOUT_EFFECT = frozenset({
    "jobs", "verbose", "quiet", "silent", "baseline", "exclude", "force_exclude", "shard", "per_file_ignores",
    "fixable", "unfixable", "unsafe_fixes", "strict", "output_format", "color", "cache_dir",
})  # fmt: skip

_PACKAGE = Path(__file__).resolve().parent.parent


def general(settings: Settings) -> str:
    """The part of the key that all files of a run share."""
    chosen = {
        field.name: getattr(settings, field.name) for field in fields(Settings) if field.name not in WITHOUT_EFFECT
    }
    parts = {
        "nanguard": [__version__, *own()],
        "python": [sys.version, sys.implementation.cache_tag, platform.machine(), sys.platform],
        "interpreter": [sys.prefix, os.environ.get("PYTHONPATH", "")],
        "settings": chosen,
        "rules": [[path, digest(path)] for path in settings.rules],
    }
    return hashed(json.dumps(parts, sort_keys=True, default=dict))


def hashed(text: str) -> str:
    """A hash of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def own() -> Iterator[str]:
    """What tells one state of nanguard's sources and rules from another of the same version, in a checkout."""
    rules = _PACKAGE.parent / "rules"
    if (_PACKAGE / "_rules").is_dir():
        return
    for top in (_PACKAGE, rules):
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(name for name in folders if not name.startswith("_"))
            for name in sorted(names):
                if name.endswith((".py", ".toml")):
                    path = os.path.join(folder, name)
                    yield f"{path}:{stamp(path)}"
