"""Loading a user's file: what is run, what is not, packages, missing imports, errors in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from nanguard.errors import NanguardError
from nanguard.tracing.load import load_module


def load(path: Path, text: str) -> ModuleType:
    source = dedent(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return load_module(str(path), source)


RUN = [
    ("import torch\nvalue = torch.tensor([1.0]) * 2", 2.0),
    ("from torch import nn\nvalue = nn.Sigmoid()", "Sigmoid()"),
    ("import torch.nn.functional as F\nvalue = F.logsigmoid", None),
    ("import torch\nvalue = torch.zeros(3).add(1).sum()", 3.0),
    ("import math\nvalue = -0.5 * math.log(2 * math.pi)", None),
    ("value: float = 1e-8", 1e-8),
    ("try:\n    import numpy as np\nexcept ImportError:\n    import math as np\nvalue = np.sqrt(4.0)", 2.0),
    ("value = [1, 2]\nvalue += [3]", [1, 2, 3]),
    ("value = {'a': (1, 2)}['a'][1]", 2),
    ("import sys\nif sys.version_info >= (3, 11):\n    value = 1\nelse:\n    value = 2", 1),
    ("from typing import TYPE_CHECKING\nvalue = 1\nif TYPE_CHECKING:\n    value = 2", 1),
    ("try:\n    import not_there_at_all as value\nexcept ImportError:\n    value = None", None),
    ("from warnings import catch_warnings\nwith catch_warnings():\n    value = 4", 4),
    ("value = lambda x: x", None),
    ("import torch\ndef parse(): pass\nopt = parse()\nvalue = 3\nlayer = torch.nn.Linear(opt.size, 2)", 3),
]


@pytest.mark.parametrize("text, value", RUN)
def test_simple_assignments_are_run(tmp_path: Path, text: str, value: object) -> None:
    held = load(tmp_path / "m.py", text).value
    assert type(held).__name__ != "Stub"
    if isinstance(value, float):
        assert float(held) == value
    elif value is not None:
        assert held == value or repr(held) == value


NOT_RUN = [
    "open({path!r}, 'w')\nvalue = None",
    "value = open({path!r}, 'w')",
    "from pathlib import Path\nvalue = Path({path!r}).touch()",
    "import torch\nvalue = torch.save(1, {path!r})",
    "def make():\n    open({path!r}, 'w')\nvalue = make()",
    "for i in range(1):\n    value = i\n    open({path!r}, 'w')",
    "while True:\n    value = 1\n    open({path!r}, 'w')",
    "if __name__ == 'm':\n    open({path!r}, 'w')\nvalue = None",
    "with open({path!r}, 'w') as value:\n    pass",
    "assert open({path!r}, 'w')\nvalue = None",
    "value = [open({path!r}, 'w') for _ in range(1)]",
    "value = None\ntry:\n    open({path!r}, 'w')\nfinally:\n    open({path!r}, 'w')",
    "import sys\nsys.exit(3)\nvalue = None",
]


@pytest.mark.parametrize("text", NOT_RUN)
def test_other_statements_are_not_run(tmp_path: Path, text: str) -> None:
    witness = tmp_path / "written"
    module = load(tmp_path / "m.py", text.format(path=str(witness)))
    assert not witness.exists()
    assert hasattr(module, "value")  # a stub, so that functions that use it can be loaded


def test_the_test_above_can_fail(tmp_path: Path) -> None:
    witness = tmp_path / "written"
    load(tmp_path / "m.py", f"class C:\n    held = open({str(witness)!r}, 'w')")
    assert witness.exists()


def test_a_module_knows_its_file_and_name(tmp_path: Path) -> None:
    module = load(tmp_path / "losses.py", "from pathlib import Path\nhere = Path(__file__).parent")
    assert (module.__name__, module.__file__) == ("losses", str(tmp_path / "losses.py"))
    assert module.here == tmp_path


def test_a_package_imports_as_a_package(tmp_path: Path) -> None:
    for folder in ("pack", "pack/inner"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("from . import *\n")
    (tmp_path / "pack" / "helper.py").write_text("import torch\ndef help(x):\n    return x\nEPS = 1e-3\n")
    module = load(
        tmp_path / "pack" / "inner" / "losses.py",
        """
        from ..helper import help
        from pack.helper import EPS
        """,
    )
    assert (module.__name__, module.__package__) == ("pack.inner.losses", "pack.inner")
    assert module.help(module.EPS) == 1e-3
    assert str(tmp_path) not in sys.path


def test_a_package_that_cannot_be_imported_is_looked_through(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("raise RuntimeError('needs a newer Python')\n")
    (tmp_path / "broken" / "helper.py").write_text("EPS = 1e-3\n")
    module = load(tmp_path / "broken" / "losses.py", "from .helper import EPS\nfrom . import version")
    assert module.EPS == 1e-3
    assert repr(module.version) == "<broken.version, not installed>"


def test_a_package_whose_parts_import_each_other_is_looked_through(tmp_path: Path) -> None:
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "__init__.py").write_text("from . import losses\nfrom . import helper\n")
    (tmp_path / "circle" / "helper.py").write_text("EPS = 1e-3\n")
    module = load(tmp_path / "circle" / "losses.py", "import circle\nhalf = circle.helper.EPS / 2\n")
    assert module.half == 5e-4


def test_an_error_in_a_file_of_a_package_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "__init__.py").write_text("")
    with pytest.raises(NanguardError, match=r"losses\.py:2: ZeroDivisionError"):
        load(tmp_path / "told" / "losses.py", "class C:\n    x = 1 / 0\n")


def test_an_import_that_breaks_inside_another_package_is_a_stub(tmp_path: Path) -> None:
    (tmp_path / "breaks_inside.py").write_text("raise ImportError('needs a newer version of something')\n")
    module = load(tmp_path / "m.py", "from breaks_inside import thing\nx = 1\n")
    assert module.x == 1
    assert repr(module.thing) == "<breaks_inside.thing, not installed>"


def test_a_package_itself(tmp_path: Path) -> None:
    (tmp_path / "itself").mkdir()
    (tmp_path / "itself" / "deep").mkdir()
    (tmp_path / "itself" / "deep" / "__init__.py").write_text("")
    (tmp_path / "itself" / "deep" / "breaks.py").write_text("raise ImportError('a library is too old')\n")
    module = load(tmp_path / "itself" / "__init__.py", "from .deep.breaks import thing\nfrom .deep import breaks\n")
    assert module.__name__ == "itself"
    assert repr(module.thing) == "<itself.deep.breaks.thing, not installed>"


def test_siblings_of_a_file_are_importable(tmp_path: Path) -> None:
    (tmp_path / "sibling_of_losses.py").write_text("def f(x):\n    return x + 1\n")
    assert load(tmp_path / "losses.py", "from sibling_of_losses import f\n").f(1) == 2


def test_what_fails_for_want_of_a_module_says_which(tmp_path: Path) -> None:
    with pytest.raises(NanguardError, match=r"m\.py:3: ImportError: without not_there: AttributeError: __version__"):
        load(
            tmp_path / "m.py",
            """
            import not_there
            NEW = not_there.__version__ > "2"
            """,
        )


def test_what_is_not_installed_is_a_stub(tmp_path: Path) -> None:
    module = load(
        tmp_path / "m.py",
        """
        import not_there, not_there.deep.er as deep
        from not_there_either import Base, register, LIMIT, Other
        import torch

        @register
        def plain(x):
            return x

        @register("name", option=1)
        class Loss(Base, Other):
            def forward(self, x):
                return super().forward(x)

        @not_there.registry.add
        class Module(torch.nn.Module, not_there.Mixin):
            pass

        scaled = LIMIT * 2 + 1
        is_one = isinstance(1.0, Base)
        """,
    )
    assert module.plain(3) == 3
    assert module.Loss is not None
    assert isinstance(module.Module(), module.torch.nn.Module)
    assert module.is_one is False
    assert not [name for name in sys.modules if name.startswith("not_there")]


def test_a_missing_import_that_the_file_expects_is_left_to_it(tmp_path: Path) -> None:
    text = "try:\n    import not_there\n    HAS = True\nexcept ImportError:\n    HAS = False\n"
    assert load(tmp_path / "m.py", text).HAS is False


FAILING = [
    ("import torch\n\nclass A:\n    x = 1 / 0\n", 4, "ZeroDivisionError: division by zero"),
    ("def f(x=undefined):\n    pass\n", 1, "NameError: name 'undefined' is not defined"),
    ("from torch import nothing_of_this_name\n", 1, "ImportError: cannot import name"),
    ("import math\nfrom math import nothing_of_this_name\n", 2, "ImportError: cannot import name"),
    ("x = (1,\n", 1, "SyntaxError: '(' was never closed"),
    ("class A:\n    raise SystemExit(3)\n", 2, "SystemExit: 3"),
    ("import math\nx = math.sqrt(\n    -1)\n", 2, "ValueError: math domain error"),
]


@pytest.mark.parametrize("text, line, message", FAILING)
def test_an_error_has_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "m.py"
    with pytest.raises(NanguardError) as caught:
        load(path, text)
    assert str(caught.value).startswith(f"{path}:{line}: {message}")
    assert "\n" not in str(caught.value)


def test_nothing_is_written_and_nothing_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "sibling_without_bytecode.py").write_text("x = 1\n")
    before = list(sys.path), list(sys.meta_path), sys.dont_write_bytecode
    load(tmp_path / "m.py", "import sibling_without_bytecode\n")
    assert (list(sys.path), list(sys.meta_path), sys.dont_write_bytecode) == before
    assert sorted(os.listdir(tmp_path)) == ["m.py", "sibling_without_bytecode.py"]
    assert "m" not in sys.modules


def test_a_file_with_the_name_of_a_known_module(tmp_path: Path) -> None:
    assert load(tmp_path / "random.py", "x = 1\n").x == 1
    assert sys.modules["random"].__file__ != str(tmp_path / "random.py")
