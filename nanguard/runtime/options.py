"""Options: which replacements are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from nanguard.matching import rules
from nanguard.runtime.rewriting import Form
from nanguard.settings import Settings, selected


@dataclass(frozen=True, slots=True)
class Options:
    """Which replacements are wanted: see `nanguard.rewrite`."""

    prefer: str = "stable"
    eps: float | None = None
    select: tuple[str, ...] = ("ALL",)
    ignore: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `NanguardError` for a preference, an epsilon or a selector that there is not."""
        Form(self.prefer, self.eps, "float64")
        _codes(self.select, self.ignore)

    def form(self, dtype: str) -> Form:
        """The form of replacements in a dtype; raises `NanguardError` for an `eps` without effect there."""
        return Form(self.prefer, self.eps, dtype, _codes(self.select, self.ignore))


@cache
def _codes(select: tuple[str, ...], ignore: tuple[str, ...]) -> frozenset[str] | None:
    """The codes of a selection, None for all there are."""
    if select == ("ALL",) and not ignore:
        return None
    return selected(Settings(select=select, ignore=ignore), rules.load().rules)
