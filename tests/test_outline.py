"""What need not be read, and what must: told from the names in a file."""

import ast
from pathlib import Path

import pytest

from nanguard.reading.outline import Outline, Reach
from nanguard.reading.project import Project


def reached(path: Path, source: str) -> list[str]:
    """The names at the top of a file from which something risky is reached."""
    reach = Reach(Project(path), str(path), ast.parse(source))
    reaching = reach.reaching()
    return [name for unit in reach.own.units if unit in reaching for name in unit.binds]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x): return x + 1", []),
        ("def f(x): return x.exp()", ["f"]),
        ("def f(x): return x.log_()", ["f"]),
        ("def f(x, y): return x / y", ["f"]),
        ("def f(x):\n    x /= 2\n    return x", ["f"]),
        ("def f(x): return getattr(x, 'exp')()", ["f"]),
        ("def g(x): return x.exp()\ndef f(x): return g(x)\ndef h(x): return x", ["g", "f"]),
        ("class A:\n    def a(self, x): return x.exp()\nclass B(A):\n    def b(self, x): return self.a(x)", ["A", "B"]),
        ("from torch import exp as e\ndef f(x): return e(x)", ["e", "f"]),
        ("def f(x):\n    from torch import exp as e\n    return e(x)", ["f"]),
        ("def f(x): return g(x)\ndef g(x): return f(x)", []),
    ],
)
def test_what_reaches_a_risky_operation(tmp_path: Path, source: str, expected: list[str]) -> None:
    assert reached(tmp_path / "one.py", source) == expected


def test_what_uses_another_file_of_the_project_is_read(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def a(x): return x.exp()\ndef b(x): return x + 1\n")
    source = "from helpers import a, b\ndef f(x): return a(x)\ndef g(x): return b(x)\n"
    assert reached(tmp_path / "one.py", source) == ["a", "b", "f", "g"]  # what they hold is not looked into


def test_statements_needed_for_a_name() -> None:
    text = "A = 1\nB = 2\ndef g(x): return x * A\ndef f(x): return g(x)\nclass C: pass\n"
    outline = Outline(ast.parse(text).body)
    assert sorted(node.lineno for node in outline.needed("f")) == [1, 3, 4]
