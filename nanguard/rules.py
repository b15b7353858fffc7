"""Rules as data: load, validate and compile the TOML files of `rules/`.

A rule file describes one hazard; `identities.toml`, `guards.toml` and `relations.toml` hold the algebra that normal
forms, the recognition of guards and value ranges are made of.  Nothing in a rule file is executed: patterns and
replacements are read by the expression language of `term`, conditions by `condition`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nanguard import condition, ops
from nanguard.condition import Condition
from nanguard.errors import NanguardError
from nanguard.finding import DTYPES, HAZARDS
from nanguard.nearest import nearest
from nanguard.term import ExpressionError, Term, walk


class RuleError(NanguardError):
    """A rule file that cannot be used; the message has its path, the line and what to do."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One pattern of a rule with what it needs and what to put in its place."""

    match: Term
    when: tuple[Condition, ...]
    stable: Term | None
    clamp: Term | None
    exact: Term | None  # what is meant, where that is neither the stable form nor the code as written
    safe: bool
    hazard: str
    untaken: str  # of a selection: the variable whose slope spoils the gradient, though it is not selected
    taken: str  # and the one that is


@dataclass(frozen=True, slots=True)
class Example:
    """Code that a rule must find (`bad`), with what to write instead, or must not find (`near`)."""

    bad: str | None
    good: str | None
    near: str | None
    hazard: str | None
    dtype: str = "float32"  # what it is checked in


@dataclass(frozen=True, slots=True)
class Rule:
    """A hazard: its patterns, its replacements and its words."""

    code: str
    name: str
    hazard: str
    also: tuple[str, ...]  # kinds of failure beside `hazard` that prove it
    guarded: tuple[str, ...]  # kinds that prove it behind a guard; without any, a guard is taken to work
    summary: str
    why: str
    references: tuple[str, ...]
    variants: tuple[Variant, ...]
    examples: tuple[Example, ...]
    ulps: float  # the largest error of the stable form, in units of finfo.eps times max(1, |exact|)
    scale: float  # errors are relative to the exact value or to this, whichever is larger
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Identity:
    """`source` may be read as `target`, where the conditions hold."""

    source: Term
    target: Term
    when: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Whatever `source` matches lies between `low` and `high`."""

    source: Term
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything the folder of rules says."""

    rules: tuple[Rule, ...]
    spellings: tuple[Identity, ...]
    identities: tuple[Identity, ...]
    guards: tuple[Identity, ...]
    relations: tuple[Relation, ...]

    def find(self, name: str) -> Rule | None:
        """The rule with this code or name."""
        wanted = name.strip().lower()
        return next((rule for rule in self.rules if wanted in (rule.code.lower(), rule.name)), None)


_RULE_KEYS = (
    "code", "name", "hazard", "also", "guarded", "summary", "match", "when", "untaken", "taken", "stable", "clamp",
    "exact", "safe", "ulps",
    "scale", "why", "references", "variant", "example",
)  # fmt: skip
_VARIANT_KEYS = ("match", "when", "stable", "clamp", "exact", "safe", "hazard", "untaken", "taken")
_EXAMPLE_KEYS = ("bad", "good", "near", "hazard", "dtype")
_TABLES = {
    "spelling": ("from", "to", "when"),
    "identity": ("from", "to", "when"),
    "guard": ("from", "to", "when"),
    "relation": ("match", "low", "high"),
}


def folder() -> Path:
    """Where the rules that come with nanguard are: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "_rules"
    return inside if inside.is_dir() else package.parent / "rules"


@cache
def load(extra: tuple[str, ...] = ()) -> RuleSet:
    """The rules that come with nanguard and those of the files `extra`.

    Raises `RuleError` for a file that cannot be read, an unknown key, a pattern that does not parse, or a code or
    name that two rules share.
    """
    own = sorted(folder().glob("*.toml"))
    if not own:
        raise RuleError(f"{folder()}: no rules found; reinstall nanguard")
    return read([*own, *map(Path, extra)])


def read(paths: Sequence[Path]) -> RuleSet:
    """The rules of some files; see `load`."""
    rules: list[Rule] = []
    tables: dict[str, list[Any]] = {name: [] for name in _TABLES}
    for path in paths:
        text = _text(path)
        data = _toml(path, text)
        file = _File(path, text)
        if "code" in data:
            rules.append(file.rule(data))
            continue
        file.only(data, tuple(_TABLES), "")
        for name in _TABLES:
            tables[name].extend(file.rows(name, data.get(name, [])))
    _unique(rules)
    rules.sort(key=lambda rule: rule.code)
    return RuleSet(tuple(rules), *(tuple(tables[name]) for name in _TABLES))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: cannot be read as a rule file ({error})") from None


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RuleError(f"{path}: not valid TOML: {error}") from None


def _unique(rules: Sequence[Rule]) -> None:
    for key in ("code", "name"):
        seen: dict[str, Rule] = {}
        for rule in rules:
            other = seen.setdefault(getattr(rule, key), rule)
            if other is not rule:
                raise RuleError(f"{rule.path}:{rule.line}: the {key} {getattr(rule, key)!r} is taken by {other.path}")


@dataclass(frozen=True, slots=True)
class _File:
    """One rule file while it is read: errors name it and the line of the text they are about."""

    path: Path
    text: str

    def error(self, message: str, about: str = "") -> RuleError:
        return RuleError(f"{self.path}:{self.line(about)}: {message}")

    def line(self, about: str) -> int:
        lines = self.text.splitlines()
        return next((number for number, line in enumerate(lines, 1) if about and about in line), 1)

    def only(self, data: Mapping[str, Any], known: Sequence[str], what: str) -> None:
        for key in data:
            if key not in known:
                near = nearest(key, known)
                raise self.error(f"unknown key {key!r}{what}; known are {', '.join(known)}{near}", key)

    def string(self, data: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = data.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.error(f"{key!r} must be a text", key)
        return value

    def strings(self, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = data.get(key, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key!r} must be a list of texts", key)
        return tuple(value)

    def expression(self, text: str) -> Term:
        try:
            return ops.parse(text)
        except ExpressionError as error:
            raise self.error(str(error), text) from None

    def conditions(self, data: Mapping[str, Any]) -> tuple[Condition, ...]:
        try:
            return tuple(condition.parse(text) for text in self.strings(data, "when"))
        except ExpressionError as error:
            raise self.error(str(error), "when") from None

    def rule(self, data: Mapping[str, Any]) -> Rule:
        self.only(data, _RULE_KEYS, "")
        code = self.string(data, "code")
        if len(code) < 3 or not (code[:2].isalpha() and code[:2].isupper() and code[2:].isdigit()):
            raise self.error(f"a code is two capital letters and digits, like NG101, not {code!r}", "code")
        hazard = self.hazard(self.string(data, "hazard"))
        variants = list(self.variants(data, hazard))
        for table in data.get("variant", []):
            self.only(table, _VARIANT_KEYS, " of a variant")
            variants.extend(self.variants({"safe": data.get("safe", True), **table}, hazard))
        if not variants:
            raise self.error("a rule needs at least one pattern under 'match'")
        return Rule(
            code, self.string(data, "name"), hazard, tuple(map(self.hazard, self.strings(data, "also"))),
            tuple(map(self.hazard, self.strings(data, "guarded"))),
            self.string(data, "summary"), data.get("why", ""), self.strings(data, "references"),
            tuple(variants), tuple(map(self.example, data.get("example", []))), float(data.get("ulps", 4)),
            float(data.get("scale", 0)),
            str(self.path), self.line("code"),
        )  # fmt: skip

    def hazard(self, name: str) -> str:
        if name not in HAZARDS:
            raise self.error(f"unknown hazard {name!r}{nearest(name, HAZARDS)}", name)
        return name

    def variants(self, data: Mapping[str, Any], hazard: str) -> Iterator[Variant]:
        for text in self.strings(data, "match"):
            pattern = self.expression(text)
            stable, clamp, exact = (
                self.expression(self.string(data, key)) if key in data else None for key in ("stable", "clamp", "exact")
            )
            when = self.conditions(data)
            known = {node.name for node in walk(pattern) if node.op == "variable"}
            for part in (stable, clamp, exact):
                free = {node.name for node in walk(part) if node.op == "variable"} - known - {"eps"} if part else set()
                if free:
                    raise self.error(f"the replacement uses {sorted(free)[0]!r}, which {text!r} does not bind", text)
            yield Variant(
                pattern,
                when,
                stable,
                clamp,
                exact,
                bool(data.get("safe", True)),
                self.hazard(data.get("hazard", hazard)),
                data.get("untaken", ""),
                data.get("taken", ""),
            )

    def example(self, table: Mapping[str, Any]) -> Example:
        self.only(table, _EXAMPLE_KEYS, " of an example")
        dtype = table.get("dtype", "float32")
        if dtype not in DTYPES:
            raise self.error(f"unknown dtype {dtype!r}{nearest(str(dtype), DTYPES)}", "dtype")
        return Example(table.get("bad"), table.get("good"), table.get("near"), table.get("hazard"), dtype)

    def rows(self, name: str, tables: Any) -> Iterator[Identity | Relation]:
        for table in tables:
            self.only(table, _TABLES[name], f" of a {name}")
            if name == "relation":
                low, high = float(table.get("low", "-inf")), float(table.get("high", "inf"))
                yield Relation(self.expression(self.string(table, "match")), low, high)
            else:
                for source in self.strings(table, "from"):
                    target = self.expression(self.string(table, "to"))
                    yield Identity(self.expression(source), target, self.conditions(table))
