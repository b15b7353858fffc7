"""Rule file: one TOML file of rules, read and validated.

Nothing in it is executed: patterns and replacements are read by the expression language of `term`, conditions by
`condition`.  Whatever is wrong with it is one `RuleError` that names the file, the line and the way out.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nanguard import ops
from nanguard.errors import NanguardError
from nanguard.finding import DTYPES, HAZARDS
from nanguard.matching import condition
from nanguard.matching.condition import Condition
from nanguard.matching.predicates import OF_EXPRESSIONS
from nanguard.matching.rule import Accuracy, Example, Examples, Identity, Relation, Rule, Variant
from nanguard.nearest import nearest
from nanguard.term import ExpressionError, Hole, Term, number, walk


class RuleError(NanguardError):
    """A rule file that cannot be used; the message has its path, the line and what to do."""


RULE_KEYS = (
    "code", "name", "hazard", "also", "guarded", "scale", "ulps", "slope_ulps", "reach", "least", "summary",
    "match", "when", "untaken", "taken", "logits", "stable", "clamp", "exact", "safe", "why", "references", "variant",
    "example",
)  # fmt: skip
BOUNDS = frozenset({"eps", "tiny"})  # what a clamped form may use beside the variables
VARIANT_KEYS = ("match", "when", "stable", "clamp", "exact", "safe", "hazard", "untaken", "taken", "logits")
EXAMPLE_KEYS = ("bad", "good", "near", "hazard", "at", "dtype")
TABLES = {
    "spelling": ("from", "to", "when"),
    "identity": ("from", "to", "when"),
    "guard": ("from", "to", "when"),
    "relation": ("match", "low", "high", "within", "when"),
}
_ULPS, _REACH = 4.0, 1e4
_STEEPEST = 1000.0
_SHOWN = 60  # characters of an expression in a message


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A rule file while it is read: errors name it and the line of the text they are about."""

    path: Path
    text: str
    whole: RuleFile | None = None  # of which this is the beginning

    @classmethod
    def open(cls, path: Path) -> RuleFile:
        """The text of a file; raises `RuleError` where it cannot be read."""
        try:
            return cls(path, path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise RuleError(f"{path}: cannot be read as a rule file ({error.strerror}); check --rules") from None
        except UnicodeDecodeError:
            raise RuleError(f"{path}: cannot be read as a rule file (it is no UTF-8 text)") from None

    def beginning(self) -> RuleFile:
        """The file up to its first example; those are read when they are asked for, as few commands do."""
        text, found, _ = self.text.partition("\n[[example]]")
        return RuleFile(self.path, text, self) if found else self

    def data(self) -> dict[str, Any]:
        """What the TOML says."""
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise RuleError(f"{self.path}: not valid TOML: {error}") from None
        except RecursionError:
            raise RuleError(f"{self.path}: not valid TOML: nested too deeply") from None
        except ValueError:  # Python bounds what it makes integers of
            raise RuleError(f"{self.path}: not valid TOML: a number of it is too long") from None

    def error(self, message: str, about: str = "") -> RuleError:
        """An error at the first line with the key `about`, or with that text."""
        return RuleError(f"{self.path}:{self.line(about)}: {' '.join(message.split())}")

    def line(self, about: str) -> int:
        """The first line that sets the key `about` or opens its table, else the first with that text, else 1."""
        if not about:
            return 1
        holding = [(number, line) for number, line in enumerate(self.text.splitlines(), 1) if about in line]
        keyed = (number for number, line in holding if _sets(line, about))
        return next(keyed, holding[0][0] if holding else 1)

    def only(self, data: Mapping[str, Any], known: Sequence[str], what: str) -> None:
        """Refuse keys that nobody reads."""
        for key in data:
            if key not in known:
                near = nearest(key, known)
                raise self.error(f"unknown key {key!r}{what}; known are {', '.join(known)}{near}", key)

    # --- values

    def string(self, data: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = data.get(key, default)
        if not isinstance(value, str) or (not value and default is None):
            raise self.error(f"{key!r} must be a text" + ("" if key in data else ", and it is missing"), key)
        return value

    def optional(self, data: Mapping[str, Any], key: str) -> str | None:
        return self.string(data, key) if key in data else None

    def strings(self, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = data.get(key, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key!r} must be a list of texts", key)
        return tuple(value)

    def number(self, data: Mapping[str, Any], key: str, default: float) -> float:
        value = data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise self.error(f"{key!r} must be a number", key)
        return float(value)

    def truth(self, data: Mapping[str, Any], key: str) -> bool:
        value = data.get(key, True)
        if not isinstance(value, bool):
            raise self.error(f"{key!r} must be true or false", key)
        return value

    def tables(self, data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(f"{key!r} must be tables, each under [[{key}]]", key)
        return value

    def accuracy(self, data: Mapping[str, Any], key: str, default: float) -> Accuracy:
        """A number for every dtype, or a table by dtype."""
        value = data.get(key, default)
        if not isinstance(value, dict):
            return Accuracy(self.number(data, key, default))
        self.only(value, DTYPES, f" of {key}")
        return Accuracy(default, {dtype: self.number(value, dtype, default) for dtype in value})

    def hazard(self, name: str) -> str:
        if name not in HAZARDS:
            raise self.error(f"unknown hazard {name!r}{nearest(name, HAZARDS)}", name)
        return name

    def expression(self, text: str) -> Term:
        try:
            term = ops.parse(text)
        except ExpressionError as error:
            raise self.error(_brief(str(error), text), text) from None
        if _sound(term):
            return term
        for node in walk(term):
            if node.op == "const" and not _plain(node.value):
                raise self.error(f"{_short(repr(node.value))} is no operand of an expression: {_short(text)}", text)
        raise self.error(f"an exponent is at most {_STEEPEST:g}, and no power itself: {_short(text)}", text)

    def conditions(self, data: Mapping[str, Any], names: frozenset[str]) -> tuple[Condition, ...]:
        found = []
        for text in self.strings(data, "when"):
            try:
                found.append(condition.parse(text))
            except ExpressionError as error:
                raise self.error(_brief(str(error), text), text) from None
            for arg in found[-1].args:
                if isinstance(arg, str) and arg not in names:
                    raise self.error(
                        f"the condition {text!r} asks about {arg!r}, which the pattern does not bind", text
                    )
        return tuple(found)

    def conditions_on_operands(self, data: Mapping[str, Any], names: frozenset[str]) -> tuple[Condition, ...]:
        """The conditions of an identity, which holds wherever its source stands in an expression."""
        found = self.conditions(data, names)
        for asked in found:
            if asked.predicate in OF_EXPRESSIONS:
                raise self.error(f"{asked.predicate} asks about a whole expression, which only a rule has", "when")
        return found

    # --- rules

    def rule(self, data: Mapping[str, Any]) -> Rule:
        """The rule that a file is, or that one of its [[rule]] tables is."""
        self.only(data, RULE_KEYS, "")
        code, name = self.string(data, "code"), self.string(data, "name")
        if not re.fullmatch(r"[A-Z]{2}[0-9]{1,6}", code):
            raise self.error(f"a code is two capital letters and digits, like NG101, not {code!r}", "code")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise self.error(f"a name is words in small letters with hyphens, like log-sigmoid, not {name!r}", "name")
        hazard = self.hazard(self.string(data, "hazard"))
        variants = list(self.variants(data, hazard))
        for table in self.tables(data, "variant"):
            self.only(table, VARIANT_KEYS, " of a variant")
            variants.extend(self.variants({"safe": data.get("safe", True), **table}, hazard))
        if not variants:
            raise self.error("a rule needs at least one pattern under 'match'")
        variants.sort(key=lambda variant: variant.stable is None)  # the first that fits is taken: exact forms before
        ulps = self.accuracy(data, "ulps", _ULPS)
        return Rule(
            code, name, hazard,
            tuple(map(self.hazard, self.strings(data, "also"))),
            tuple(map(self.hazard, self.strings(data, "guarded"))),
            self.string(data, "summary"), self.string(data, "why", ""), self.strings(data, "references"),
            tuple(variants), Examples(self.whole.examples) if self.whole is not None else self.listed(data),
            ulps, self.accuracy(data, "slope_ulps", ulps.default), self.accuracy(data, "reach", _REACH),
            self.accuracy(data, "least", 0),
            self.number(data, "scale", 0), str(self.path), self.line(code),
        )  # fmt: skip

    def variants(self, data: Mapping[str, Any], hazard: str) -> Iterator[Variant]:
        texts = self.strings(data, "match")
        if not texts:
            return
        stable, clamp, exact = (
            self.expression(self.string(data, key)) if key in data else None for key in ("stable", "clamp", "exact")
        )
        untaken, taken = (self.string(data, key, "") for key in ("untaken", "taken"))
        logits = self.string(data, "logits", "")
        safe, hazard = self.truth(data, "safe"), self.hazard(self.string(data, "hazard", hazard))
        for text in texts:
            pattern = self.expression(text)
            if not pattern.args:
                raise self.error(f"a pattern is an operation on something, not {_short(text)}", text)
            known = names(pattern)
            for part in filter(None, (stable, clamp, exact)):
                free = sorted(names(part) - known - BOUNDS)
                if free:
                    raise self.error(f"the replacement uses {free[0]!r}, which {text!r} does not bind", text)
            for key, name in (("untaken", untaken), ("taken", taken)):
                if name and not names(self.expression(name)) <= known:
                    raise self.error(f"{name!r} is a branch that {text!r} does not bind", key)
            if logits and logits not in known:
                raise self.error(f"{logits!r} is no variable of {text!r}", "logits")
            yield Variant(
                pattern, self.conditions(data, known), stable, clamp, exact, safe, hazard, untaken, taken, logits
            )  # fmt: skip

    def examples(self) -> tuple[Example, ...]:
        """The examples of the file."""
        return self.listed(self.data())

    def listed(self, data: Mapping[str, Any]) -> tuple[Example, ...]:
        """The examples of a rule."""
        return tuple(map(self.example, self.tables(data, "example")))

    def example(self, table: Mapping[str, Any]) -> Example:
        self.only(table, EXAMPLE_KEYS, " of an example")
        dtype = self.string(table, "dtype", "float32")
        if dtype not in DTYPES:
            raise self.error(f"unknown dtype {dtype!r}{nearest(dtype, DTYPES)}", dtype)
        bad, good, near, at = (self.optional(table, key) for key in ("bad", "good", "near", "at"))
        if at is not None and at not in (bad or ""):
            raise self.error(f"'at' must be a part of the bad code: {_short(at)}", "at")
        hazard = self.optional(table, "hazard")
        return Example(bad, good, near, self.hazard(hazard) if hazard else None, at, dtype)

    def rows(self, name: str, tables: Sequence[Mapping[str, Any]]) -> Iterator[Identity | Relation]:
        """The identities or relations of a file without a code."""
        for table in tables:
            self.only(table, TABLES[name], f" of a {name}")
            if name == "relation":
                low, high = self.number(table, "low", -math.inf), self.number(table, "high", math.inf)
                source = self.expression(self.string(table, "match"))
                within = self.optional(table, "within")
                if within is not None and within not in names(source):
                    raise self.error(f"'within' must be a variable of 'match', not {within!r}", "within")
                yield Relation(source, low, high, self.conditions(table, names(source)), within)
                continue
            for text in self.strings(table, "from"):
                source, target = self.expression(text), self.expression(self.string(table, "to"))
                free = sorted(names(target) - names(source))
                if free:
                    raise self.error(f"'to' uses {free[0]!r}, which {text!r} does not bind", text)
                yield Identity(source, target, self.conditions_on_operands(table, names(source)))


def _sets(line: str, key: str) -> bool:
    """Whether a line sets a key or opens its table."""
    text = line.lstrip().lstrip("[").lstrip()
    text = text[1:] if text.startswith(("'", '"')) else text
    rest = text.removeprefix(key)
    rest = rest[1:] if rest.startswith(("'", '"')) else rest
    return text.startswith(key) and rest.lstrip().startswith(("=", "]", "."))


@cache
def names(pattern: Term) -> frozenset[str]:
    """The variables of a pattern, those of its attributes too."""
    found = {value.name for _, value in pattern.attrs if isinstance(value, Hole)}
    return frozenset(found).union({pattern.name} if pattern.op == "variable" else (), *map(names, pattern.args))


@cache
def _sound(term: Term) -> bool:
    """Whether an expression holds only plain constants and modest powers."""
    if term.op == "const":
        return _plain(term.value)
    return all(map(_sound, term.args)) and (term.op != "pow" or _modest(term.args[1]))


def _plain(value: object) -> bool:
    """Whether a constant may stand in an expression: none, a truth, or a number that a float can hold."""
    if not isinstance(value, int | float | None):
        return False
    try:
        float(value or 0)
    except OverflowError:
        return False
    return True


def _modest(exponent: Term) -> bool:
    """Whether a power stays one that can be worked out: no tower of constants, no astronomical number."""
    below = list(walk(exponent))
    tower = any(node.op == "pow" and not names(node) for node in below)
    return not tower and all(abs(number(node) or 0) <= _STEEPEST for node in below)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _brief(message: str, text: str) -> str:
    """A message without all of a long expression."""
    return message.replace(text, _short(text)).replace(repr(text), repr(_short(text)))
