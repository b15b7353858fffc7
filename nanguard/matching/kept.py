"""Kept: the rules that come with nanguard as they were last read, in the user's folder for caches.

To read 140 files and to bring their patterns to normal form takes several times as long as to take both from one file
of JSON.  It is made anew whenever a rule or a source of nanguard has changed, and is data: terms and the dataclasses of
`rule`, nothing that could be executed.  What is damaged, or cannot be written, is as good as nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from nanguard import __version__
from nanguard.cache.key import hashed, own
from nanguard.cache.stamps import stamp
from nanguard.matching.condition import Condition
from nanguard.matching.predicates import PREDICATES
from nanguard.matching.rule import Accuracy, Examples, Identity, Relation, Rule, Variant
from nanguard.matching.rulefile import RuleFile
from nanguard.term import Attr, Hole, Term, make, walk

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Accuracy, Condition, Identity, Relation, Rule, Variant)}
_DAMAGES = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def place() -> Path | None:
    """The file that the rules of this installation are kept in, None for a user who has no folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        return None
    return Path(base) / "nanguard" / f"rules-{hashed(f'{__file__} {sys.version}')[:16]}.json"


def load(folder: Path) -> list[Any] | None:
    """What `save` was given for the rules of a folder, None where nothing is kept that still holds."""
    path = place()
    if path is None or not path.is_file():  # a pipe of that name would be waited for
        return None
    try:
        key, terms, data = path.read_text("ascii").split("\n")
        if key != _key():
            return None
        reader = _Reader(folder, [])
        for op, args, attrs in json.loads(terms, object_hook=reader.value):
            reader.terms.append(make(op, tuple([reader.terms[arg] for arg in args]), _attributes(attrs)))
        found = json.loads(data, object_hook=reader.value)
    except (OSError, *_DAMAGES):
        return None
    return found if isinstance(found, list) else None


def save(parts: Sequence[object]) -> None:
    """Keep terms, rules, identities and relations, and lists and tables of such."""
    path = place()
    if path is None:
        return
    numbers = {term: number for number, term in enumerate(walk(*_terms(parts)))}
    rows = [[term.op, [numbers[arg] for arg in term.args], term.attrs] for term in numbers]
    half = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        terms, data = (json.dumps(_plain(part, numbers), separators=(",", ":")) for part in (rows, parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text("\n".join((_key(), terms, data)), "ascii")
        os.replace(half, path)
    except (OSError, *_DAMAGES):
        with suppress(OSError):
            half.unlink()


@cache
def _key() -> str:
    """What the rules and their normal forms depend on."""
    return hashed("\n".join((__version__, stamp(__file__), *own())))


@dataclass(frozen=True, slots=True)
class _Raw:
    """What stands for a value in JSON already."""

    data: Mapping[str, str]


class _Reader:
    """Makes values of what JSON has for them."""

    def __init__(self, folder: Path, terms: list[Term]) -> None:
        self.folder = folder
        self.terms = terms

    def value(self, data: dict[str, Any]) -> object:
        """What an object of JSON stands for: it has one name, that of its kind."""
        ((kind, held),) = data.items()
        match kind:
            case "Term":
                return self.terms[held]
            case "Hole":
                return Hole(held)
            case "Mapping":
                return dict(held)
            case "Path":
                return str(self.folder / held)
            case "Examples":
                return Examples(partial(_examples, self.folder / held))
            case "Condition" if held[0] not in PREDICATES:
                raise ValueError(held)
        return _KINDS[kind](*[tuple(part) if type(part) is list else part for part in held])


def _examples(path: Path) -> Any:
    return RuleFile.open(path).examples()


def _attributes(attrs: list[Any]) -> tuple[tuple[str, Attr], ...]:
    return tuple([(key, tuple(value) if type(value) is list else value) for key, value in attrs])


def _plain(value: object, numbers: Mapping[Term, int]) -> Any:
    """A value as JSON has it; raises `TypeError` for what is none of the kinds that are kept."""
    if isinstance(value, Term):
        return {"Term": numbers[value]}
    if isinstance(value, Hole):
        return {"Hole": value.name}
    if isinstance(value, _Raw):
        return value.data
    if isinstance(value, Mapping):
        return {"Mapping": [[_plain(key, numbers), _plain(part, numbers)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(part, numbers) for part in value]
    if is_dataclass(value) and type(value).__name__ in _KINDS:
        return {type(value).__name__: [_plain(part, numbers) for part in _fields(value)]}
    return value


def _fields(value: Any) -> list[object]:
    """The fields of a dataclass; for the examples of a rule the name of its file, which is where they are read."""
    held = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Rule):
        name = Path(value.path).name
        held |= {"path": _Raw({"Path": name}), "examples": _Raw({"Examples": name})}
    return list(held.values())


def _terms(value: object) -> list[Term]:
    """The terms in a value."""
    if isinstance(value, Term):
        return [value]
    if isinstance(value, list | tuple):
        return [term for part in value for term in _terms(part)]
    if isinstance(value, Mapping):
        return _terms(list(value.items()))
    if is_dataclass(value) and type(value).__name__ in _KINDS:
        return [term for field in fields(value) for term in _terms(getattr(value, field.name))]
    return []
