"""Names: what is known of functions and constants by their names alone, beside the operations of the table."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

# Numbers under a name, which programs use as they use a literal.
CONSTANTS: Mapping[str, float] = {
    "math.pi": 3.141592653589793, "math.e": 2.718281828459045, "math.inf": float("inf"),
    "torch.pi": 3.141592653589793, "numpy.pi": 3.141592653589793,
    "math.tau": 6.283185307179586, "torch.inf": float("inf"), "numpy.inf": float("inf"),
    "torch.nan": float("nan"), "math.nan": float("nan"), "numpy.nan": float("nan"),
    "sys.float_info.eps": sys.float_info.epsilon, "sys.float_info.epsilon": sys.float_info.epsilon,
    "sys.float_info.min": sys.float_info.min, "sys.float_info.max": sys.float_info.max,
    "sys.maxsize": float(sys.maxsize),
}  # fmt: skip

# How these modules are called wherever a star brings them along.
USUAL: Mapping[str, str] = {
    "torch": "torch", "nn": "torch.nn", "F": "torch.nn.functional", "np": "numpy", "numpy": "numpy", "math": "math",
    "Tensor": "torch.Tensor",
}  # fmt: skip

# What gives arrays, which have no gradient: functions of these modules, and a method that tensors do not have.
ARRAYS = ("numpy.", "scipy.", ".astype")
DIFFERENTIABLE = ("torch", "jax", "tensorflow", "autograd")  # what a file has at hand in which there are gradients

# functions that get data out of a file, whose name is no number
_READERS = frozenset({
    "torch.load", "numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "pandas.read_csv", "pandas.read_pickle",
    "pandas.read_excel", "pandas.read_parquet", "PIL.Image.open", "cv2.imread", "torchvision.io.read_image",
    "torchaudio.load", "scipy.io.loadmat", "scipy.io.wavfile.read", "pickle.load", "joblib.load", "h5py.File",
})  # fmt: skip

_LOGGERS = frozenset({
    "print", "format", "str", "log", "log_dict", "log_metric", "log_metrics", "log_scalar", "info", "debug", "warning",
    "add_scalar", "add_scalars", "add_histogram", "set_postfix", "set_postfix_str", "set_description",
})  # fmt: skip
_KEPT = re.compile(r"(^|[._])(logs|logger|log_dict|log_vars|metrics|stats)$")  # what is kept to be looked at
_KEEPERS = frozenset({"update", "append"})
_LISTING = frozenset({"where", "nonzero", "argwhere", "flatnonzero"})
_COUNTING = frozenset({"torch.arange", "torch.range", "numpy.arange"})
_DECOMPOSING = frozenset({
    f"torch.{name}" for name in ("linalg.eigh", "linalg.eig", "linalg.qr", "linalg.cholesky", "cholesky", "qr")
})  # fmt: skip
_MATH, _NUMPY = "math.", "numpy."
_OTHERWISE = {"power": "pow", "absolute": "fabs", "abs": "fabs"}  # functions that Python calls by other names


def shows(name: str) -> bool:
    """Whether a call of something unknown only shows what it is given: it prints or logs it, as its name says.

    ``self.log``, ``self.last_logs.update``.
    """
    owner, _, function = name.rpartition(".")
    return function in _LOGGERS or (function in _KEEPERS and _KEPT.search(owner) is not None)


def counts_up(name: str) -> bool:
    """Whether a function gives numbers at equal distances, of numbers of the program: it takes no tensor of data."""
    return name in _COUNTING


def lists_places(name: str) -> bool:
    """Whether a function of a test alone lists the places where it holds: ``torch.nonzero``, ``mask.nonzero``."""
    return name.rpartition(".")[2] in _LISTING


def reads_data(name: str) -> bool:
    """Whether a function gives what stands in a file: data, whatever the file is called."""
    return name in _READERS


def decomposes(name: str) -> bool:
    """Whether a function gives factors of a matrix that have full rank: eigenvectors, rotations, triangles."""
    return name in _DECOMPOSING


def of_numbers(name: str) -> bool:
    """Whether a function works on a number of Python: outside of its domain it raises, and it has no gradient."""
    return name.startswith(_MATH)


def on_numbers(name: str) -> str:
    """The function of Python's own that a function of numpy is for a single number: ``math.log`` for ``numpy.log``."""
    if not name.startswith(_NUMPY):
        return name
    own = name.removeprefix(_NUMPY)
    return _MATH + _OTHERWISE.get(own, own)
