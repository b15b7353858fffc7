"""Which rules a selection means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from nanguard.errors import NanguardError
from nanguard.settings import Settings, selected


@dataclass(frozen=True)
class Named:
    """A rule, as far as selecting goes."""

    code: str
    name: str


RULES = (Named("NG101", "log-sigmoid"), Named("NG102", "log-one-minus"), Named("NG201", "log-of-zero"))


def codes(*select: str, ignore: tuple[str, ...] = ()) -> list[str]:
    settings = Settings(select=select, ignore=ignore) if select else Settings(ignore=ignore)
    return [code[2:] for code in sorted(selected(settings, RULES))]


def test_everything_is_selected_by_default() -> None:
    assert codes() == ["101", "102", "201"]


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        (("ALL",), (), ["101", "102", "201"]),
        (("NG",), (), ["101", "102", "201"]),
        (("NG1",), (), ["101", "102"]),
        (("NG10",), (), ["101", "102"]),
        (("NG101",), (), ["101"]),
        (("log-of-zero", "NG101"), (), ["101", "201"]),
        (("ALL",), ("NG1",), ["201"]),
        (("ALL",), ("log-sigmoid",), ["102", "201"]),
        (("ALL",), ("ALL",), []),
        (("NG1",), ("NG1",), []),
        (("NG1",), ("NG101",), ["102"]),
        (("NG101",), ("NG1",), ["101"]),
        (("log-sigmoid",), ("NG10",), ["101"]),
        (("log-sigmoid",), ("NG101",), []),
        (("NG1",), ("ALL",), ["101", "102"]),
    ],
)
def test_the_longest_selector_decides(select: tuple[str, ...], ignore: tuple[str, ...], expected: list[str]) -> None:
    assert codes(*select, ignore=ignore) == expected


@pytest.mark.parametrize(
    ("selector", "hint"),
    [
        ("NG1O1", "did you mean 'NG101'?"),
        ("ng101", "did you mean 'NG101'?"),
        ("NG9", ""),
        ("N", ""),
        ("", ""),
        ("Log-Sigmoid", "did you mean 'log-sigmoid'?"),
        ("log-sigmod", "did you mean 'log-sigmoid'?"),
        ("NG1011", "did you mean 'NG101'?"),
        ("E501", ""),
    ],
)
@pytest.mark.parametrize("option", ["select", "ignore"])
def test_an_unknown_selector_is_an_error_with_the_nearest(option: str, selector: str, hint: str) -> None:
    with pytest.raises(NanguardError, match=f"--{option}: no rule '{selector}'") as caught:
        selected(Settings(**{option: (selector,)}), RULES)
    assert hint in str(caught.value)
