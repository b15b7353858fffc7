"""Pack: the entries of the files of one folder, in one file of JSON.

What they depend on is a table that they share, since files of a folder use the same helpers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nanguard.cache.entries import Damaged, Entry, Seen

FORMAT = 2


class Pack(Mapping[str, Entry]):
    """The entries of a folder by the names of its files, made of what was read as they are asked for."""

    def __init__(self, table: list[Any], entries: dict[str, Any]) -> None:
        self._table, self._entries = table, entries

    def __getitem__(self, name: str) -> Entry:
        """Raises `Damaged` for what is no entry, `KeyError` for what is not there."""
        match self._entries[name]:
            case [list(numbers), str(installed), list(body), None | float() as until]:
                return Entry(tuple([self._seen(number) for number in numbers]), installed, body, until)
        raise Damaged("no entry")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _seen(self, number: object) -> Seen:
        if type(number) is not int or not 0 <= number < len(self._table):
            raise Damaged("no number of a file")
        match self._table[number]:
            case Seen() as seen:
                return seen
            case [str(path), str(stamp), str(digest)]:
                found = self._table[number] = Seen(path, stamp, digest)
                return found
        raise Damaged("no file")


def load(path: Path, key: str) -> Pack:
    """What a file of the cache holds for `key`: nothing, where it is damaged, of another version or not there."""
    if not path.is_file():  # a pipe of that name would be waited for
        return Pack([], {})
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return Pack([], {})
    match data:
        case {"format": form, "key": found, "files": list(table), "entries": dict(entries)}:
            if form == FORMAT and found == key:
                return Pack(table, entries)
    return Pack([], {})


def save(path: Path, key: str, entries: Mapping[str, Entry]) -> None:
    """Write entries; whoever reads at the same time gets these or those before, whole.  Raises `OSError`."""
    numbers: dict[Seen, int] = {}
    rows = {
        name: [
            [numbers.setdefault(seen, len(numbers)) for seen in entry.seen],
            entry.installed,
            entry.body,
            entry.until,
        ]
        for name, entry in entries.items()
    }
    table = [[seen.path, seen.stamp, seen.digest] for seen in numbers]
    data = {"format": FORMAT, "key": key, "files": table, "entries": rows}
    half = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with open(half, "w", encoding="ascii") as file:
            file.write(json.dumps(data, separators=(",", ":")))
        os.replace(half, path)
    except OSError:
        with suppress(OSError):
            half.unlink()
        raise
