"""Pages: the table of keys in the page about the configuration.

``python -m nanguard.config.pages docs/configuration.md`` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nanguard.config.keys import KEYS, KINDS, Key

_FIRST, _LAST = "<!-- keys: written by `make docs` -->", "<!-- end of keys -->"


def current(page: str) -> str:
    """The page with the table of keys as it should be."""
    before, _, rest = page.partition(_FIRST)
    _, _, after = rest.partition(_LAST)
    return f"{before}{_FIRST}\n{_table()}\n{_LAST}{after}"


def _table() -> str:
    rows = ["| key | value | default | what it is |", "|---|---|---|---|"]
    rows += [f"| `{key.name}` | {_kind(key)} | {_default(key)} | {key.help} |" for key in KEYS]
    return "\n".join(rows)


def _kind(key: Key) -> str:
    listed = ", ".join(f'`"{choice}"`' for choice in key.choices)
    several = ", or a list of these" if key.kind == "choices" else ""
    return f"{listed}{several}" if key.choices else KINDS[key.kind]


def _default(key: Key) -> str:
    return f"`{key.default}`" if key.default[0] in '["{' or key.default in ("false", "20") else key.default


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(current(path.read_text()))
