"""How many paths are followed through a function, and that what they share is read once."""

import ast
import gc

import pytest

from nanguard import analyse
from nanguard.reading import expressions, recording
from nanguard.reading.discover import targets
from nanguard.reading.memory import Known, Memory, relevant
from nanguard.reading.read import Reading, read
from nanguard.reading.scope import Scope
from nanguard.settings import Settings
from nanguard.term import const, make, show, symbol

HEAD = "import torch\n"
X, Y = symbol("x"), symbol("y")


def reading(source: str) -> Reading:
    tree = ast.parse(source)
    return read("loss.py", source, tree, targets("loss.py", tree))


def terms(source: str, op: str) -> set[str]:
    """The terms with some operation at their root, as text."""
    return {show(place.term) for place in reading(source).places if place.term.op == op}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[ast.expr]:
    """The expressions that are read, each as often as it is."""
    found: list[ast.expr] = []
    plain = expressions.Expressions.evaluate

    def counted(self: expressions.Expressions, node: ast.expr, *rest: object) -> object:
        found.append(node)
        return plain(self, node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(expressions.Expressions, "evaluate", counted)
    return found


# --- what is remembered ------------------------------------------------------------------------------------------


def test_a_result_holds_where_the_same_was_decided_about_what_it_met() -> None:
    memory = Memory()
    memory.keep("key", Known(const(1), {X}, relevant({X}, {X: True, Y: True})))
    assert memory.find("key", {X: True, Y: False}) is not None
    assert memory.find("key", {X: False, Y: True}) is None
    assert memory.find("key", {}) is None
    assert memory.find("other", {X: True}) is None


SHARED = """
def f(x, a, b):
    if a > 0:
        u = 1
    else:
        u = 2
    if b > 0:
        v = 1
    else:
        v = 2
    y = torch.log(torch.sigmoid(x) + torch.exp(-x * x) + torch.tanh(x))
    return y
"""


def test_a_statement_that_does_not_depend_on_the_path_is_read_once(steps: list[ast.expr]) -> None:
    reading(HEAD + SHARED)
    assert len([node for node in steps if isinstance(node, ast.Call) and ast.unparse(node) == "torch.tanh(x)"]) == 1


DIFFERENT = {
    "by the value of a name": (
        "def f(x, a):\n    y = x\n    if a > 0:\n        y = torch.sigmoid(x)\n    return torch.log(y)\n",
        {"log(x)", "log(sigmoid(x))"},
    ),
    "by what was decided about an option": (
        "def f(x, w=None):\n    if w is not None:\n        x = x * w\n    return torch.log(x if w is None else w)\n",
        {"log(x)", "log(w)"},
    ),
    "by an option that a helper looks at": (
        "def g(x, w):\n    return x if w is None else w\n"
        "def f(x, w=None):\n    if w is not None:\n        pass\n    y = g(x, w)\n    return torch.log(y)\n",
        {"log(x)", "log(w)"},
    ),
    "by what is set in an object": (
        "class A(torch.nn.Module):\n"
        "    def forward(self, x, a):\n"
        "        self.y = x\n        z = torch.log(self.y)\n"
        "        self.y = torch.sigmoid(x)\n        return self.g()\n"
        "    def g(self):\n        return torch.log(self.y)\n",
        {"log(x)", "log(sigmoid(x))"},
    ),
    "by a function that closes over it": (
        "def f(x, a):\n    y = x\n    if a > 0:\n        y = torch.sigmoid(x)\n"
        "    def g():\n        return torch.log(y)\n    return g()\n",
        {"log(x)", "log(sigmoid(x))"},
    ),
}


@pytest.mark.parametrize(("source", "expected"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_statement_is_read_for_each_path_on_which_it_differs(source: str, expected: set[str]) -> None:
    assert expected <= terms(HEAD + source, "log")


def read_times(steps: list[ast.expr], text: str) -> int:
    """How often an expression was read."""
    return sum(ast.unparse(node) == text for node in steps)


RECURSION = """
def flat(x, n):
    if n > 0:
        return flat(x, n - 1)
    return torch.log(x * 7)
def f(x, n): return flat(x, n) + flat(x, n)
def g(x, n): return flat(x, n) - 1
"""


def test_a_function_that_calls_itself_is_read_once_for_its_arguments(steps: list[ast.expr]) -> None:
    assert terms(HEAD + RECURSION, "log") == {"log(x * 7)"}
    assert read_times(steps, "flat(x, n - 1)") == 2  # by itself, and for all callers


DEEP = "".join(f"def a{n}(x): return a{n + 1}(x)\n" for n in range(9)) + "def a9(x): return torch.log(x)\n"


def test_what_is_cut_short_by_its_depth_holds_at_that_depth_alone() -> None:
    source = f"{HEAD}{DEEP}def f(y): return torch.exp(a0(y)) + a0(y)\ndef g(y): return torch.exp(a2(y))\n"
    assert terms(source, "exp") == {"exp(opaque(y, name='a8', place=''))", "exp(log(y))"}


OBJECTS = """
class Layer:
    def __init__(self, size):
        self.size = size * 7
        self.scale = 1.0
    def forward(self, x): return torch.log(x * self.scale)
class Net:
    def __init__(self):
        self.a, self.b = Layer(3), Layer(3)
        self.b.scale = 2.0
    def forward(self, x): return torch.exp(self.a(x)) + torch.exp(self.b(x))
"""


def test_a_constructor_is_read_once_for_its_class_and_once_for_its_arguments(steps: list[ast.expr]) -> None:
    reading(HEAD + OBJECTS)
    assert read_times(steps, "size * 7") == 2


def test_objects_that_were_made_alike_are_two_objects() -> None:
    assert terms(HEAD + OBJECTS, "exp") == {"exp(log(x * 1.0))", "exp(log(x * 2.0))"}


PARENT = """
class Child:
    def __init__(self, parent): self.parent = parent
class Node:
    def __init__(self, scale):
        self.child = Child(self)
        self.scale = scale
    def forward(self, x): return torch.exp(x * self.child.parent.scale)
def f(x):
    one, two = Node(2.0), Node(2.0)
    one.scale = 3.0
    return one(x) + two(x)
"""


def test_an_object_that_others_refer_to_is_made_anew() -> None:
    assert terms(HEAD + PARENT, "exp") >= {"exp(x * 3.0)", "exp(x * 2.0)"}


WRITES = """
class A:
    def mark(self):
        self.seen = True
    def forward(self, x):
        self.mark()
        a = helper(x)
        self.mark()
        return a + helper(x)
def helper(x): return torch.log(x * 7)
"""


def test_setting_what_an_object_holds_already_changes_nothing(steps: list[ast.expr]) -> None:
    reading(HEAD + WRITES)
    assert read_times(steps, "x * 7") == 1


def test_an_expression_that_binds_a_name_binds_it_on_each_path() -> None:
    source = (
        "def f(x, a):\n    if a > 0:\n        u = 1\n    else:\n        u = 2\n"
        "    if (y := torch.sigmoid(x)) is not None:\n        pass\n    return torch.log(y)\n"
    )
    assert terms(HEAD + source, "log") == {"log(sigmoid(x))"}


def test_an_augmented_assignment_has_one_place_on_all_paths() -> None:
    source = "def f(x, a):\n    y = x\n    if a > 0:\n        y = -x\n    y /= torch.exp(x)\n    return y\n"
    places = [place for place in reading(HEAD + source).places if place.term.op == "div"]
    assert len(places) == 2
    assert len({place.node for place in places}) == 1


# --- how much is followed ----------------------------------------------------------------------------------------

# Two functions that call each other with other arguments each time: there is no end to what can be followed.
ENDLESS = """
def g{n}(x, n, a=None):
    if a is None:
        x = x + n
    if n == 1:
        x = g{n}(x * 2, n * 2) + h{n}(x * 3, n * 3)
    return h{n}(x, n + 1) - h{n}(torch.tanh(x), n + 2) + h{n}(x * n, n + 3)

def h{n}(x, n):
    return k{n}(x, n + 1) - k{n}(torch.tanh(x), n + 2) + k{n}(x * n, n + 3) + k{n}(x + 7, n + 9)

def k{n}(x, n):
    return l{n}(x, n + 1) - l{n}(torch.tanh(x), n + 2) + l{n}(x * n, n + 3) + l{n}(x + 5, n + 8)

def l{n}(x, n):
    return m{n}(x, n + 1) - m{n}(torch.tanh(x), n + 2) + m{n}(x * n, n + 3) + m{n}(x + 4, n + 7)

def m{n}(x, n):
    return o{n}(x, n + 1) - o{n}(torch.tanh(x), n + 2) + o{n}(x * n, n + 3) + o{n}(x + 3, n + 6)

def o{n}(x, n):
    return torch.exp(x) * n - torch.tanh(x) * (n + 1) + torch.exp(x * n)

def f{n}(x):
    y = g{n}(x, 1)
    return torch.log(torch.sigmoid(x)), y
"""


def test_what_stands_behind_too_many_paths_is_still_read() -> None:
    found = reading(HEAD + ENDLESS.format(n=0))
    assert make("log", (make("sigmoid", (X,)),)) in {place.term for place in found.places}
    assert found.failed["f0"] == "too many paths to follow; some were joined"
    assert "o0" not in found.failed


def test_the_steps_of_a_file_are_bounded_whatever_it_holds(
    steps: list[ast.expr], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(recording, "_MANY_STEPS", 1000)
    monkeypatch.setattr(recording, "_FILE_STEPS", 4000)
    monkeypatch.setattr(recording, "_FEW_STEPS", 100)
    found = reading(HEAD + "".join(ENDLESS.format(n=n) for n in range(12)))
    assert len(steps) < 30_000
    assert {f"f{n}" for n in range(12)} <= {place.target for place in found.places}


# --- names in sight ----------------------------------------------------------------------------------------------


def test_a_scope_sees_the_names_around_it_and_binds_its_own() -> None:
    file = Scope({"a": const(1), "b": const(2)})
    outer = Scope({"b": const(3), "c": const(4)}, file)
    inner = Scope({"c": const(5)}, outer)
    assert dict(inner.items()) == {"a": const(1), "b": const(3), "c": const(5)}
    assert dict(inner.local()) == {"b": const(3), "c": const(5)}
    other = inner.copy()
    other["b"] = const(6)
    assert (inner["b"], other["b"], outer["b"]) == (const(3), const(6), const(3))
    assert "d" not in inner
    with pytest.raises(KeyError):
        inner["d"]


def test_a_test_in_a_nested_function_narrows_what_it_closes_over() -> None:
    source = "def f(x):\n    def g():\n        if x > 1:\n            return torch.log(x)\n    return g()\n"
    (place,) = [place for place in reading(HEAD + source).places if place.term.op == "log"]
    assert place.term.args[0].op == "assume"


# --- the collector -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_left_as_it_was(collects: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        assert not gc.isenabled()
        raise ValueError

    monkeypatch.setattr(analyse, "read", fail)
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(ValueError):
            analyse.scan("loss.py", "", ast.parse(""), Settings(), None)
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()
