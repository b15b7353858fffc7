"""What the stages hand on to the reports: spans, targets, witnesses, fixes, findings and the report as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HAZARDS = (
    "forward-nonfinite",
    "gradient-nonfinite",
    "accuracy-loss",
    "dead-gradient",
    "ineffective-guard",
    "misuse",
)
DTYPES = ("float16", "bfloat16", "float32", "float64")

# A finding whose value or gradient is confirmed non-finite breaks training; the others make it worse.
SEVERITY = {
    "forward-nonfinite": "error",
    "gradient-nonfinite": "error",
    "accuracy-loss": "warning",
    "dead-gradient": "warning",
    "ineffective-guard": "warning",
    "misuse": "warning",
}

Number = float | str | list["Number"]  # what JSON gets: inf and nan are strings, a tensor is a (nested) list


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A piece of a file: lines from 1, columns in UTF-8 bytes from 0 (as Python's `ast` gives them), end exclusive."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int

    def covers(self, other: Span) -> bool:
        """Whether `other` lies inside this span (or is equal to it)."""
        return (
            self.path == other.path
            and (self.line, self.column) <= (other.line, other.column)
            and (other.end_line, other.end_column) <= (self.end_line, self.end_column)
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A callable that a file defines, and how far it was seen (`capture`: trace, read or none)."""

    path: str
    name: str
    span: Span
    kind: str  # function, method or module
    capture: str = "read"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A finite input at which the code as written goes wrong, measured on the torch that runs.

    `computed` and `gradient` are what the code gives there; `exact` and `exact_gradient` what is right, by ball
    arithmetic at the same (rounded) input.  `gradient` is the entry of the gradient that is worst.  At the `level`
    "function" the `arguments` of the whole function are known with which the expression goes wrong as well: `call` is
    that call as Python, None where an argument has no source, and `outcome` what it gives ("returns nan"), empty where
    the failure does not show outside.
    """

    dtype: str
    inputs: Mapping[str, Number]
    computed: Number
    exact: Number
    gradient: Number | None
    exact_gradient: Number | None
    level: str = "expression"
    arguments: Mapping[str, Number] = field(default_factory=dict)
    call: str | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace what stands at `span` by `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A replacement for the expression of a finding, as Python source."""

    kind: str  # stable or clamp
    replacement: str
    safe: bool
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim about one expression, with its proof where `confirmed`."""

    code: str
    name: str
    hazard: str
    severity: str
    span: Span
    target: str
    expression: str
    message: str
    confirmed: bool
    witness: Witness | None = None
    thresholds: Mapping[str, Number] = field(default_factory=dict)
    fix: Fix | None = None
    clamp: Fix | None = None  # the clamped form, where the rule has one beside the stable form


@dataclass(frozen=True, slots=True)
class Note:
    """A remark of the tool about a file (NG0xx): it could not be read, run or traced."""

    code: str
    path: str
    line: int
    message: str
    failed: bool  # the tool could not do its job: exit status 2
    warning: bool = False  # said without -v


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A finding that is not reported: a comment in its file says so (`kind` inSource), or the baseline has it."""

    finding: Finding
    kind: str  # inSource or baseline
    reason: str = ""  # what the comment gives as one


@dataclass(frozen=True, slots=True)
class Stale:
    """A finding of the baseline that is no more."""

    path: str  # from the folder of the baseline
    code: str
    target: str
    expression: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run found, in the order of path, line and column."""

    files: int
    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    stale: tuple[Stale, ...] = ()
    unprovable: str | None = None  # why nothing could be proved, where that is so
    unlisted: int = 0  # targets beside those listed; of these there is nothing to say

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The findings of the default level: all but those that are merely possible.

        Where nothing can be proved, all of them.
        """
        return tuple(finding for finding in self.findings if finding.severity != "info" or self.unprovable)

    @property
    def ok(self) -> bool:
        """Whether nothing was found at the default level."""
        return not self.shown

    def __str__(self) -> str:
        from nanguard.report.text import render  # late: the formats know findings, not the other way round

        return render(self)


@dataclass(frozen=True, slots=True)
class Directive:
    """One thing that a comment says: which codes are suppressed in which lines.

    `kind` is ignore, file-ignore or noqa; a noqa without codes means all of them.  The lines are those of the statement
    that the comment stands in or above, 0 and 0 for the whole file.
    """

    kind: str
    codes: tuple[str, ...]  # codes, prefixes of codes or names of rules
    first: int
    last: int
    reason: str = ""
    expected: tuple[str, ...] = ()  # those of the codes that reading suspects in these lines, proved or not


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that suppresses findings.

    `margin` is the column at which the blanks before it begin; `alone` says that nothing else is on its line.
    """

    span: Span
    margin: int
    text: str
    alone: bool
    directives: tuple[Directive, ...]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What is known about one file.

    `comments` is None where nobody has looked for them.  `whole` says that all of the file was asked for, `answered`
    that reading left nothing to prove, so that nothing of it was traced.
    """

    path: str
    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]
    comments: tuple[Comment, ...] | None = None
    whole: bool = False
    answered: bool = False
