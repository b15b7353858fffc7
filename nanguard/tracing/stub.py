"""Stubs: what stands in for a module that is not installed, so that the file that imports it still loads."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import operator
from collections.abc import Iterator, Sequence
from types import FunctionType, ModuleType


class Stub:
    """Any value of a module that is not there: callable, a decorator, a base class, a number."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<{self.__name__}, not installed>"

    def __getattr__(self, name: str) -> Stub:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(f"{self.__name__}.{name}")

    def __call__(self, *args: object, **keywords: object) -> object:
        match args:
            case [FunctionType() | type() | staticmethod() | classmethod() as decorated] if not keywords:
                return decorated
            case [str() as name, tuple() as bases, dict() as members]:  # as a metaclass
                return type(name, bases, members)
        return Stub(f"{self.__name__}()")

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return () if any(isinstance(base, type) for base in bases) else (type("Missing", (Base,), {}),)

    def __getitem__(self, key: object) -> Stub:
        return self

    def __iter__(self) -> Iterator[object]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def __instancecheck__(self, value: object) -> bool:
        return False

    def __subclasscheck__(self, value: type) -> bool:
        return False

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _operator(name: str) -> object:
    def operation(self: Stub, *others: object) -> Stub:
        return self

    operation.__name__ = name
    return operation


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "or_",
    "and_",
    "matmul",
    "neg",
    "invert",
):
    for _method in (f"__{_name.strip('_')}__", f"__r{_name.strip('_')}__"):
        if _method.startswith("__r") or hasattr(operator, _method):
            setattr(Stub, _method, _operator(_method))


class Base:
    """What a class derives from whose base class is not installed."""

    def __init__(self, *args: object, **keywords: object) -> None:
        pass

    def __getattr__(self, name: str) -> Stub:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(f"{type(self).__name__}.{name}")


class _Module(ModuleType):
    """A module that is not there: any public name of it is a module below it, or a stub."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__path__:
            try:
                return importlib.import_module(f"{self.__name__}.{name}")
            except ImportError:
                pass
        return Stub(f"{self.__name__}.{name}")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `names`, and everything below them, as stubs.

    The packages of `hollow` are found as what is in their folder, without their ``__init__``.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.hollow: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a stub, None for any other module."""
        if fullname in self.hollow:
            spec = importlib.machinery.ModuleSpec(fullname, self, is_package=True)
            spec.submodule_search_locations = [self.hollow[fullname]]
            return spec
        if not any(fullname == name or fullname.startswith(name + ".") for name in self.names):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty module that answers to any name."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""
