"""The pytest plugin: `pytest --nanguard` checks the files that it visits, a marker watches a test, a fixture asserts.

    pytest --nanguard src                     one test for each file, which fails with what `nanguard check` prints
    @pytest.mark.nanguard                     the test fails at the first operation that makes inf or nan
    def test_loss(nanguard): ...              the package, for `nanguard.assert_stable(loss)`

Nothing of this imports torch before it is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nanguard as package

_REPORT = pytest.StashKey[dict[str, Any]]()


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
    """A file of the project; files of tests are not checked."""
    config = parent.config
    if not config.getoption("nanguard") or file_path.suffix != ".py" or file_path.name == "conftest.py":
        return None
    if any(fnmatch(file_path.name, pattern) for pattern in config.getini("python_files")):
        return None
    file: LossFile = LossFile.from_parent(parent, path=file_path)
    config.stash.setdefault(_REPORT, {}).setdefault(str(file_path), None)
    return file


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
        from nanguard.running.checking import check_paths
        from nanguard.settings import Settings

        reports = self.config.stash[_REPORT]
        own = str(self.path)
        if reports[own] is None:
            whole = check_paths(list(reports), Settings(quiet=True))
            for path in reports:
                findings = tuple(finding for finding in whole.findings if finding.span.path == path)
                notes = tuple(note for note in whole.notes if note.path == path and note.failed)
                targets = tuple(target for target in whole.targets if target.path == path)
                reports[path] = replace(whole, files=1, targets=targets, findings=findings, notes=notes)
        report = reports[own]
        if not report.ok or report.notes:
            raise Unstable("\n".join([str(report).rstrip(), *(note.message for note in report.notes)]))

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
