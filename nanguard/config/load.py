"""Load: the configuration file of what is checked.

What needs a file is imported only where there is one: most runs on single files have none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanguard.config.keys import BY_NAME, KEYS
from nanguard.errors import NanguardError
from nanguard.nearest import nearest
from nanguard.project import CONFIGURATIONS


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration file: its path as messages show it, its folder, and what it says by the names of the keys.

    `raw` is that as it stands in the file, `values` as the settings hold it.
    """

    file: str
    folder: str
    prefix: str  # of its keys: "tool.nanguard."
    raw: Mapping[str, Any]
    values: Mapping[str, Any]

    def place(self, key: str) -> str:
        """Where a key stands."""
        return f"{self.file}: {self.prefix}{key}"


def configuration_for(paths: Sequence[str]) -> Configuration | None:
    """The configuration of the nearest folder around all of `paths` that has one; raises `NanguardError`."""
    folders = [_folder(path.partition("::")[0] if not os.path.exists(path) else path) for path in paths]
    folder = os.path.commonpath(folders) if folders else os.getcwd()
    while True:
        for name in CONFIGURATIONS:
            found = _read(os.path.join(folder, name), asked=False)
            if found is not None:
                return found
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def configuration_in(file: str) -> Configuration:
    """The configuration in a file; raises `NanguardError` where there is none."""
    found = _read(file, asked=True)
    assert found is not None
    return found


def _folder(path: str) -> str:
    whole = os.path.abspath(path)
    return whole if os.path.isdir(whole) else os.path.dirname(whole)


def _read(path: str, asked: bool) -> Configuration | None:
    """The configuration in a file; None for a file that is not there or has none, where it was not `asked` for."""
    shown = os.path.relpath(path)
    shown = path if shown.startswith("..") or asked else shown
    if not asked and not os.path.isfile(path):  # a pipe of that name would be waited for
        return None
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        if asked:
            raise NanguardError(f"{path}: no such file; give --config a TOML file, or leave it out") from None
        return None
    except OSError as error:
        raise NanguardError(f"{shown}: cannot be read ({error.strerror}); mend that, or use --isolated") from None
    within = os.path.basename(path) == "pyproject.toml"
    if within and not asked and b"nanguard" not in data:  # most have none, and need not be parsed
        return None
    table = _parsed(shown, data)
    if within:
        tools = table.get("tool")
        if not isinstance(tools, dict) or "nanguard" not in tools:
            if asked:
                raise NanguardError(f"{shown}: has no table [tool.nanguard]; add one, or give another --config")
            return None
        table = tools["nanguard"]
    prefix = "tool.nanguard." if within else ""
    if not isinstance(table, dict):
        raise NanguardError(f"{shown}: tool.nanguard is no table; write [tool.nanguard]")
    return _checked(shown, os.path.dirname(os.path.abspath(path)), prefix, table)


def _parsed(shown: str, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NanguardError(f"{shown}:{line}: is not UTF-8, which TOML has to be; save it so") from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(place.group(1)) if place else data.count(b"\n") + (not data.endswith(b"\n"))
        what = str(error)[: place.start()] if place else str(error).removesuffix(" (at end of document)")
        raise NanguardError(f"{shown}:{line}: does not parse as TOML: {what}; correct it or use --isolated") from None
    except (RecursionError, ValueError) as error:  # Python bounds what it makes integers of
        what = "nested too deeply" if isinstance(error, RecursionError) else "a number of it is too long"
        raise NanguardError(f"{shown}: does not parse as TOML: {what}; correct it or use --isolated") from None


def _checked(shown: str, folder: str, prefix: str, table: dict[str, Any]) -> Configuration:
    from nanguard.config.values import Wrong, value_of

    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in BY_NAME:
            hint = nearest(name, list(BY_NAME)) or f"; it may have {', '.join(key.name for key in KEYS)}"
            raise NanguardError(f"{shown}: {prefix}{name} is no key of nanguard's{hint}")
        try:
            values[name] = value_of(BY_NAME[name], value, folder)
        except Wrong as error:
            raise NanguardError(f"{shown}: {prefix}{name}{error}") from None
    return Configuration(shown, folder, prefix, table, values)
