"""Settings: everything a run can be told, and which rules a selection means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import eq
from typing import Protocol

from nanguard.errors import NanguardError
from nanguard.nearest import nearest

# What is not the project's own code.  A virtual environment is recognised by its pyvenv.cfg, whatever its name.
EXCLUDED = (
    ".*/", "__pycache__/", "__pypackages__/", "_build/", "build/", "dist/", "node_modules/", "site-packages/",
    "venv/", "*.egg-info/",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line, a configuration or a caller of the interface asks for."""

    select: tuple[str, ...] = ("ALL",)  # codes, prefixes of codes, names of rules, or ALL
    ignore: tuple[str, ...] = ()
    pedantic: bool = False
    static: bool = False  # never run the files
    dtypes: tuple[str, ...] = ("float32",)
    timeout: float = 20.0  # seconds a file
    jobs: int = 0  # files at a time; 0 is one for each processor
    prefer: str = "stable"  # stable or clamp
    eps: float | None = None  # of the clamped form; None leaves it to the dtype
    rules: tuple[str, ...] = ()  # files of rules beside those that come with nanguard
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # "losses.py::focal" to {parameter: range}
    ignore_suppressions: bool = False  # report as if there were no comments that suppress findings
    root: str = ""  # the folder of the project; empty for the current one
    exclude: tuple[str, ...] = EXCLUDED  # patterns, as in a .gitignore; those with a slash are absolute
    force_exclude: bool = False  # what is named, too
    shard: tuple[int, int] | None = None  # which part of how many
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # selectors by patterns of files
    fixable: tuple[str, ...] = ("ALL",)
    unfixable: tuple[str, ...] = ()
    unsafe_fixes: bool = False
    baseline: str | None = None  # file
    cache_dir: str | None = None  # folder of the cache; None is that of the project
    strict: bool = False  # a target that could not be captured fails the run
    output_format: str = "text"
    color: str = "auto"  # always or never
    silent: bool = False
    verbose: bool = False
    quiet: bool = False


class Named(Protocol):
    """What selecting needs to know of a rule."""

    @property
    def code(self) -> str:
        """Such as NG101."""

    @property
    def name(self) -> str:
        """Such as log-sigmoid."""


@dataclass(frozen=True, slots=True)
class Name:
    """A rule by its code and its name."""

    code: str
    name: str


UNUSED = Name("NG002", "unused-suppression")  # a finding about the comments of a file, and no rule


def selected(settings: Settings, rules: Sequence[Named]) -> frozenset[str]:
    """The codes of the rules that `settings` asks for.

    As in ruff: the longest selector that fits a rule decides, and `ignore` wins a draw.  Raises `NanguardError` for a
    selector that fits no rule, nor NG002.
    """
    for option, selectors in (("--select", settings.select), ("--ignore", settings.ignore)):
        known(selectors, (*rules, UNUSED), option)
    return frozenset(rule.code for rule in rules if longest(settings.select, rule) > longest(settings.ignore, rule))


def known(selectors: Sequence[str], rules: Sequence[Named], where: str) -> None:
    """Raise `NanguardError` for a selector that fits no rule; `where` says where it was given."""
    for selector in selectors:
        if selector != "ALL" and not any(_weight(selector, rule) for rule in rules):
            raise NanguardError(unknown(selector, rules, where))


def unknown(selector: str, rules: Sequence[Named], where: str) -> str:
    """The message about a selector that fits no rule."""
    hint = _nearest_code(selector.upper(), rules) or nearest(selector.lower(), [rule.name for rule in rules])
    return f"{where}: no rule {selector!r}{hint or '; `nanguard rules` lists them'}"


def _nearest_code(selector: str, rules: Sequence[Named]) -> str:
    """A hint at the first code that differs from the selector in one character at most."""
    for rule in rules:
        same = sum(map(eq, rule.code, selector))
        if same >= len(rule.code) - 1:
            return f"; did you mean {rule.code!r}?"
    return ""


def fits(selector: str, rule: Named) -> bool:
    """Whether a code, a prefix of codes or a name means a rule."""
    return _weight(selector, rule) > 1


def longest(selectors: Sequence[str], rule: Named) -> int:
    """How closely the closest of some selectors fits a rule, 0 where none does."""
    return max((_weight(selector, rule) for selector in selectors), default=0)


def _weight(selector: str, rule: Named) -> int:
    """How closely a selector fits a rule: 0 not at all, 1 by ALL, more by a prefix, most by its name."""
    if selector == "ALL":
        return 1
    if selector in (rule.code, rule.name):
        return 100
    return len(selector) if len(selector) >= 2 and rule.code.startswith(selector) else 0


def inputs_of(settings: Settings, path: str, name: str) -> Mapping[str, str]:
    """The ranges that the settings give for the parameters of a target; a class stands for its forward."""
    for key, ranges in settings.inputs.items():
        file, _, wanted = key.partition("::")
        shown = "/" + path.replace("\\", "/")
        same = shown.endswith("/" + file.removeprefix("./"))
        if same and wanted.replace("::", ".") in (name, name.removesuffix(".forward")):
            return ranges
    return {}
