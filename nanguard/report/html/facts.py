"""Facts: what is known of a finding beside itself."""

from __future__ import annotations

from dataclasses import dataclass

from nanguard.finding import Number
from nanguard.report.html.drawn import Step


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a finding beside itself; all of it may be missing."""

    figure: str | None = None  # the key of its error plot
    steps: tuple[Step, ...] = ()
    names: tuple[str, ...] = ()  # of the inputs of the plot
    own: bool = True
    stable: Number | None = None  # the value of the replacement at the witness
    slope: Number | None = None  # and its gradient there
