"""Parameters: what the name, the annotation and the default of a parameter say of its argument."""

from __future__ import annotations

import ast
import re

from nanguard.reading.values import Many, Value, known, option
from nanguard.reading.walking import written
from nanguard.term import make, symbol

_SIZES = re.compile(r"(^|_)(num|n|size|sizes|dim|dims|axis|axes|count|length|steps|width|height)(_|$)|^classes$")
_MASKS = ("mask",)
_EPSILONS = re.compile(r"(^|_)(eps|epsilon)$")
_SCALES = re.compile(r"scale|sigma|std|bandwidth|temperature|concentration|rate|mag|spec|psd")


def parameter(arg: ast.arg, default: Value | None, plain: str) -> Value:
    """What is known of a parameter from its name, its annotation and its default; else it is a `plain` symbol."""
    name = arg.arg
    annotation = written(arg.annotation) if arg.annotation is not None else ""
    kind = kind_of(name, annotation, plain)
    constant = known(default) if default is not None else None
    if constant is not None:
        if isinstance(constant.value, int | float) and not isinstance(constant.value, bool):
            return constant
        return option(name, constant.value, kind)
    if default is not None:
        return default
    words = _words(annotation)
    if words & _TABLES and "Tensor" in words:
        return symbol(name, "tensor")  # the names of what is in it are texts, it is none
    if words & {"bool", "str"}:
        return option(name, False if "bool" in words else "?")
    if words & {"Optional", "None"}:  # none is among what is given, although nothing is given by default
        return option(name, None, kind)
    if words & {"list", "List", "Sequence", "tuple", "Tuple", "Iterable"} and "Tensor" in words:
        return Many(symbol(name))
    if not annotation and _EPSILONS.search(name):
        return symbol(name, "number", low=0.0, low_open=True)
    made = symbol(name, kind)
    return make("detach", (made,)) if kind == "tensor" and _is_array(annotation) else made


def _is_array(annotation: str) -> bool:
    """Whether an argument is said to be an array of numpy, which has no gradient."""
    words = _words(annotation)
    return "Tensor" not in words and ("ndarray" in words or annotation in ("np.array", "numpy.array"))


_TABLES = frozenset({"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "DefaultDict"})


def kind_of(name: str, annotation: str, plain: str) -> str:
    """The kind of symbol for a parameter: what its annotation says, else what its name does."""
    words = _words(annotation)
    if "Tensor" in words or "ndarray" in words:
        return "mask" if any(word in name.lower() for word in _MASKS) else "tensor"
    if "int" in words and "float" not in words:
        return "size"
    if "float" in words:
        return "number"
    if not annotation and _SIZES.search(name.lower()):
        return "size"
    if any(word in name.lower() for word in _MASKS):
        return "mask"
    return plain if not annotation else "tensor"


_OF_ANYTHING = frozenset({"sigmoid", "softplus", "exp", "tanh"})  # positive or bounded, of any number


def is_raw(name: str, function: ast.AST) -> bool:
    """Whether a function puts an argument through a sigmoid or the like: whatever it is called, it has any sign."""
    if not _SCALES.search(name):
        return False
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _OF_ANYTHING:
            given = node.args[0] if node.args else node.func.value
            if isinstance(given, ast.Name) and given.id == name:
                return True
    return False


def _words(annotation: str) -> set[str]:
    """The identifiers of an annotation."""
    return set(re.findall(r"\w+", annotation))


def defaults_of(spec: ast.arguments) -> dict[str, ast.expr]:
    """The defaults by the names of the parameters."""
    positional = [*spec.posonlyargs, *spec.args]
    result = dict(
        zip((arg.arg for arg in positional[len(positional) - len(spec.defaults) :]), spec.defaults, strict=True)
    )
    for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        if default is not None:
            result[arg.arg] = default
    return result
