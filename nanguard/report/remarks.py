"""Remarks: what nanguard reports under a code that is no rule's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nanguard.report.explain import fill
from nanguard.settings import UNUSED


@dataclass(frozen=True, slots=True)
class Remark:
    """A code that is no rule's: what it says, and what to do."""

    code: str
    name: str
    summary: str
    advice: str


REMARKS = (
    Remark(
        "NG001",
        "unchecked",
        "Something could not be checked as asked: a file that cannot be read or parsed, a target that cannot be "
        "traced, a missing package. It is a note on standard error and no finding.",
        "The note says what to do. Where a file or an option is at fault the exit status is 2; a target that was read "
        "and not traced costs nothing but the better proof, and is shown with -v alone.",
    ),
    Remark(
        UNUSED.code,
        UNUSED.name,
        "A comment suppresses a code that has nothing to suppress there any more. It is a finding.",
        "`nanguard check --fix` takes the code, or the whole comment, away: a safe fix. `--ignore NG002` turns it off.",
    ),
    Remark(
        "NG003",
        "suppression-without-effect",
        "A comment looks like a suppression and is none: it names no code, one that does not exist, or stands where "
        "it means nothing. It is a note on standard error and no finding.",
        "The note says what to write: `# nanguard: ignore[NG101]` in the expression or on the line above it.",
    ),
)


def find(name: str) -> Remark | None:
    """The remark of a code or a name."""
    return next((remark for remark in REMARKS if name in (remark.code, remark.name)), None)


def text(remark: Remark) -> str:
    """A remark as Markdown, under the headings of a rule."""
    return "\n\n".join(
        [
            f"# {remark.name} ({remark.code})",
            f"## What it does\n\n{fill(remark.summary)}",
            f"## What to do\n\n{fill(remark.advice)}",
        ]
    )


def data(remark: Remark) -> dict[str, Any]:
    """A remark as plain data."""
    return asdict(remark)
