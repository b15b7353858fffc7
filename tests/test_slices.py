"""Slices: the statements of a file are those that Python parses, wherever its definitions begin and end."""

import ast
from pathlib import Path

import pytest

from nanguard.reading.slices import Slice, slices

TEXTS = {
    "decorators, comments and constants": """
'''The file.

def none(): of its own
'''
import torch  # it's one
A = 1; B = 2

@torch.no_grad()
@other(
    1,
)
# between
def f(x):
    '''def g(y):
class X:
'''
# at the margin
    return x

async  def g(y): return y
class C(Base,
        metaclass=M):
    def f(self):
        return 1
    # the last
D = [
    1,
]
if A:
    def h(): pass
else:
    h = f
""",
    "strings": """
def f():
    return '\"\"\"'

X = \"\"\"
class A:
\"\"\"

class B:
    y = "''' \\" # "

def g(): pass
""",
    "a line that goes on": 'def f():\n    x = 1 + \\\n2\n    return x\n\ndef g():\n    return "a\\\ndef b"\n',
    "brackets at the margin": "def f():\n    return g(\n1,\n2)\n\nx = [\n'a',\n]\n\ndef g(): pass\n",
    "a form feed": "x = 1\n\f\ndef f(): pass\n\fdef g(): pass\n",
    "nothing": "",
    "no newline at the end": "def f(): pass",
}


def _statements(text: str) -> list[str]:
    found = slices(text)
    nodes = [*(definition.node for definition in found.definitions), *found.others]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    return [ast.dump(node, include_attributes=True) for node in nodes]


@pytest.mark.parametrize("text", [*TEXTS.values(), Path(__file__).read_text()], ids=[*TEXTS, "this file"])
def test_the_statements_are_those_of_the_file(text: str) -> None:
    assert _statements(text) == [ast.dump(node, include_attributes=True) for node in ast.parse(text).body]


def test_a_definition_is_parsed_once_it_is_needed() -> None:
    found = slices(TEXTS["decorators, comments and constants"])
    assert [definition.name for definition in found.definitions] == ["f", "g", "C"]
    assert all(definition.parsed is None for definition in found.definitions)
    assert isinstance(found.definitions[2].node, ast.ClassDef)
    assert found.definitions[2].node is found.definitions[2].node


def test_what_is_no_python_is_refused_or_without_effect() -> None:
    with pytest.raises(SyntaxError):
        slices("x = (\n")
    assert isinstance(Slice("f", 3, "def f(:\n").node, ast.Pass)
