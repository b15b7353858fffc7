"""Rules as data: load the TOML files of `rules/`, and those of a project.

A rule file describes one hazard; `identities.toml`, `guards.toml` and `relations.toml` hold the algebra that normal
forms, the recognition of guards and value ranges are made of.  `rulefile` reads and validates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from nanguard import collector
from nanguard.matching import kept
from nanguard.matching.rule import Example, Identity, Relation, Rule, Variant
from nanguard.matching.rulefile import TABLES, RuleError, RuleFile
from nanguard.settings import Name, Named
from nanguard.term import Term

__all__ = [
    "Example",
    "Identity",
    "Relation",
    "Rule",
    "RuleError",
    "RuleSet",
    "Variant",
    "folder",
    "listed",
    "load",
    "read",
]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything the folder of rules says.

    `heads` are the normal forms of the patterns in float32: empty where these are yet to be worked out and kept, None
    for rules that are not kept.
    """

    rules: tuple[Rule, ...]
    spellings: tuple[Identity, ...]
    identities: tuple[Identity, ...]
    guards: tuple[Identity, ...]
    relations: tuple[Relation, ...]
    heads: Mapping[Term, Term] | None = None

    def find(self, name: str) -> Rule | None:
        """The rule with this code or name."""
        wanted = name.strip().lower()
        return next((rule for rule in self.rules if wanted in (rule.code.lower(), rule.name)), None)


def folder() -> Path:
    """Where the rules that come with nanguard are: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "_rules"
    return inside if inside.is_dir() else package.parent / "rules"


@cache
def listed(extra: tuple[str, ...] = ()) -> tuple[Named, ...]:
    """The codes and names of the rules of `load`; those of nanguard's own files stand in the names of the files."""
    if extra:
        return load(extra).rules
    named = (path.stem.partition("-") for path in sorted(folder().glob("[A-Z][A-Z][0-9]*.toml")))
    return tuple(Name(code, name) for code, _, name in named)


@cache
def load(extra: tuple[str, ...] = ()) -> RuleSet:
    """The rules that come with nanguard and those of the files `extra`.

    Raises `RuleError` for a file that cannot be read, an unknown key, a pattern that does not parse, or a code or
    name that two rules share.
    """
    with collector.paused():
        known = _kept() if not extra else None
        if known is not None:
            return known
        own = sorted(folder().glob("*.toml"))
        if not own:
            raise RuleError(f"{folder()}: no rules found; reinstall nanguard")
        found = _read([RuleFile.open(path).beginning() for path in own] + [RuleFile.open(Path(path)) for path in extra])
        return found if extra else replace(found, heads={})


def _kept() -> RuleSet | None:
    """The rules that come with nanguard, as they were last kept."""
    match kept.load(folder()):
        case [list(rules), list(spellings), list(identities), list(guards), list(relations), dict(heads)]:
            tables = tuple(spellings), tuple(identities), tuple(guards), tuple(relations)
            return RuleSet(tuple(rules), *tables, heads)
    return None


def keep(rules: RuleSet, heads: Mapping[Term, Term]) -> None:
    """Keep the rules of `load` with the normal forms of their patterns in float32, for the next process."""
    tables = (rules.rules, rules.spellings, rules.identities, rules.guards, rules.relations)
    kept.save([*tables, heads])


def read(paths: Sequence[Path]) -> RuleSet:
    """The rules of some files: of each the rule that it is, or its [[rule]] tables, identities and relations."""
    return _read(list(map(RuleFile.open, paths)))


def _read(files: Sequence[RuleFile]) -> RuleSet:
    rules: list[Rule] = []
    tables: dict[str, list[Any]] = {name: [] for name in TABLES}
    for file in files:
        data = file.data()
        if "code" in data:
            rules.append(file.rule(data))
            continue
        file.only(data, ("code", "rule", *TABLES), "")
        if not data:
            raise file.error("there is no rule in it: a rule begins with its 'code'")
        rules.extend(map(file.rule, file.tables(data, "rule")))
        for name in TABLES:
            tables[name].extend(file.rows(name, file.tables(data, name)))
    _unique(rules)
    rules.sort(key=lambda rule: rule.code)
    spellings, identities, guards, relations = (tuple(tables[name]) for name in TABLES)
    return RuleSet(tuple(rules), spellings, identities, guards, relations)


def _unique(rules: Sequence[Rule]) -> None:
    for key in ("code", "name"):
        seen: dict[str, Rule] = {}
        for rule in rules:
            other = seen.setdefault(getattr(rule, key), rule)
            if other is not rule:
                raise RuleError(f"{rule.path}:{rule.line}: the {key} {getattr(rule, key)!r} is taken by {other.path}")
