"""The effective settings, as a table and as JSON."""

from __future__ import annotations

import json
from typing import Any

from nanguard.config.effective import Effective


def as_table(found: Effective) -> str:
    """A row for each key: its value, and where it comes from."""
    from tabulate import tabulate

    rows = [[name, _shown(value), origin] for name, (value, origin) in found.origins.items()]
    return tabulate(rows, headers=("key", "value", "from"), tablefmt="plain", disable_numparse=True)


def as_json(found: Effective) -> str:
    """The same as an object."""
    listed = {name: {"value": value, "from": origin} for name, (value, origin) in found.origins.items()}
    return json.dumps({"settings": listed}, indent=2, ensure_ascii=False)


def _shown(value: Any) -> str:
    """A value as it would stand in a configuration file."""
    return json.dumps(value, ensure_ascii=False)
