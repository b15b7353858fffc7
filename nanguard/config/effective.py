"""Effective: the settings of a run, from the defaults, a configuration file, the environment and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from nanguard.config.keys import KEYS, Key, option_of
from nanguard.config.load import Configuration
from nanguard.errors import NanguardError
from nanguard.settings import UNUSED, Settings, known

_SELECTORS = ("select", "ignore", "fixable", "unfixable")


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line or the environment says about a setting, as it is used and as it was written."""

    value: Any
    where: str  # such as --select
    origin: str  # command line, or environment and the name of the variable


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings of a run, and for each key what it is and where it comes from."""

    settings: Settings
    origins: Mapping[str, tuple[Any, str]]


def effective(given: Mapping[str, Given], configuration: Configuration | None) -> Effective:
    """Put together what is asked for.

    `given` has what the command line and the environment say, by the fields of the settings (and ``extend_select``,
    ``extend_exclude``).  That wins over the file, and the file over the defaults.  Raises `NanguardError` for a
    selector that fits no rule, and for an epsilon that does nothing.
    """
    filed = configuration.values if configuration is not None else {}
    names = {field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    origins: dict[str, tuple[Any, str]] = {}
    for key in KEYS:
        origins[key.name] = (_default(key), "default")
        if key.name in filed and configuration is not None:
            _put(values, key, filed[key.name])
            origins[key.name] = (configuration.raw[key.name], configuration.place(key.name))
    for key in KEYS:
        said = given.get(option_of(key))
        if said is None:
            continue
        _put(values, key, said.value)
        origins[key.name] = (said.value, said.origin)
        extension = f"extend-{key.name}"  # of the file, which this one sets aside
        if extension in filed and f"extend_{key.field}" not in given:
            origins[extension] = ([], f"set aside by {said.where}")
    values |= {name: said.value for name, said in given.items() if name in names and name not in values}
    if "ignore" not in given:  # where the file ignores the very rules that are asked for
        wanted = {text for name in ("select", "extend_select") if name in given for text in given[name].value}
        values["ignore"] = tuple(text for text in values.get("ignore", ()) if text not in wanted)
    settings = replace(Settings(root=configuration.folder if configuration is not None else ""), **values)
    _known(settings, given, configuration)
    _works(settings, given, configuration)
    return Effective(settings, origins)


def _default(key: Key) -> Any:
    """The value of a key where nobody says anything."""
    value = getattr(Settings(), key.field)
    return () if key.adds else None if key.field == "jobs" else value


def _put(values: dict[str, Any], key: Key, value: Any) -> None:
    before = values.get(key.field, getattr(Settings(), key.field)) if key.adds else ()
    values[key.field] = (*before, *value) if key.adds else value


def _known(settings: Settings, given: Mapping[str, Given], configuration: Configuration | None) -> None:
    """Refuse selectors that fit no rule; the rules are loaded only where there are any."""
    listed: list[tuple[Sequence[str], str]] = []
    for name in (*_SELECTORS, "extend_select"):
        if name in given:
            listed.append((given[name].value, given[name].where))
    if "per_file_ignores" in given:
        listed.extend((chosen, given["per_file_ignores"].where) for chosen in given["per_file_ignores"].value.values())
    if configuration is not None:
        for name in (*_SELECTORS, "extend-select"):
            listed.append((configuration.values.get(name, ()), configuration.place(name)))
        for pattern, chosen in configuration.raw.get("per-file-ignores", {}).items():
            listed.append((chosen, configuration.place(f"per-file-ignores[{pattern!r}]")))
    if any(chosen and tuple(chosen) != ("ALL",) for chosen, _ in listed):
        from nanguard.matching import rules

        loaded = (*rules.listed(settings.rules), UNUSED)
        for chosen, where in listed:
            known(chosen, loaded, where)


def _works(settings: Settings, given: Mapping[str, Given], configuration: Configuration | None) -> None:
    """Refuse an epsilon that does nothing in the dtype."""
    if settings.eps is None:
        return
    from nanguard.floats import FORMATS

    for dtype in settings.dtypes:
        if not FORMATS[dtype].round(1 - settings.eps) < 1:
            where = "--eps" if "eps" in given or configuration is None else configuration.place("eps")
            least = FORMATS[dtype].eps / 2
            message = f"{where} {settings.eps:g} has no effect in {dtype}; the least that has is {least:.2g}"
            raise NanguardError(message)
