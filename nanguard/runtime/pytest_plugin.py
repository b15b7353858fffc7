"""The pytest plugin: `pytest --nanguard` checks the files that it visits, a marker watches a test, a fixture asserts.

    pytest --nanguard src                     one test for each file, which fails with what `nanguard check` prints,
                                              by the configuration of the nearest folder around it that has one
    @pytest.mark.nanguard                     the test fails at the first operation that makes inf or nan
    def test_loss(nanguard): ...              the package, for `nanguard.assert_stable(loss)`

Nothing of this imports torch before it is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import nanguard as package

if TYPE_CHECKING:
    from nanguard.runtime.pytest_files import Checks

_CHECKS = pytest.StashKey[dict[str, "Checks"]]()  # by folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the command line."""
    group = parser.getgroup("nanguard", "numerical stability of losses")
    group.addoption("--nanguard", action="store_true", help="check the losses in the Python files that are visited")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers", "nanguard: fail at the first operation that turns finite numbers into inf or nan"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file of the project; files of tests are not checked, nor what the configuration excludes."""
    config = parent.config
    if not config.getoption("nanguard") or file_path.suffix != ".py" or file_path.name == "conftest.py":
        return None
    if any(fnmatch(file_path.name, pattern) for pattern in config.getini("python_files")):
        return None
    if not _checks(config, file_path.parent).add(str(file_path)):
        return None
    file: LossFile = LossFile.from_parent(parent, path=file_path)
    return file


def _checks(config: pytest.Config, folder: Path) -> Checks:
    """The checks of the files of a folder, which those of other folders with the same configuration share."""
    from nanguard.errors import NanguardError
    from nanguard.runtime.pytest_files import checks_for

    try:
        return checks_for(str(folder), config.stash.setdefault(_CHECKS, {}))
    except NanguardError as error:
        raise pytest.UsageError(str(error)) from None


class LossFile(pytest.File):
    """A file whose losses are checked."""

    def collect(self) -> Iterator[pytest.Item]:
        """One test."""
        yield LossItem.from_parent(self, name="nanguard")


class Unstable(Exception):
    """The findings of a file, as they are printed."""


class LossItem(pytest.Item):
    """The check of one file: as `nanguard check` does it, for all files at once."""

    def runtest(self) -> None:
        """Fail with the findings."""
        if wrong := _checks(self.config, self.path.parent).failure(str(self.path)):
            raise Unstable(wrong)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings without a traceback."""
        if isinstance(excinfo.value, Unstable):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """What is printed for the test."""
        return self.path, None, "nanguard"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Watch a test that is marked."""
    if item.get_closest_marker("nanguard") is None:
        return (yield)
    with package.watch():
        return (yield)


@pytest.fixture
def nanguard() -> ModuleType:
    """The package: `nanguard.assert_stable(loss)`, `nanguard.watch()`."""
    return package
