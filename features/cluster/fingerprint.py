"""What a process computes with: two that have the same give the same bytes."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import scipy.linalg  # noqa: F401 - brings its BLAS, whose kind is looked at
from threadpoolctl import threadpool_info

import features

LIBRARIES = ("numpy", "scipy", "numba", "pyarrow", "pymongo", "scikit-learn", "pandas", "distributed")
FUNCTIONS = "^(exp|log|log1p|exp2|power|sin|cos|sqrt|add|multiply)$"
"""Of numpy, whose last digit may hang on which instructions the processor has."""


@cache
def fingerprint() -> dict[str, str]:
    """By name: all of our code, Python, libraries, and the kinds of arithmetic chosen for this processor."""
    return {
        "echotune-features": _code(),
        "Python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "arithmetic": _arithmetic(),
    }


def difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """The first thing that differs, such as `has numba 0.61, here 0.62`; empty where nothing does."""
    for name, own in ours.items():
        other = theirs.get(name, "none")
        if own != other:
            return f"has {name} {other}, here {own}"
    return ""


def _code() -> str:
    """The package's version and a hash of its sources."""
    root = Path(features.__file__).parent
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return f"{features.__version__}+{digest.hexdigest()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _arithmetic() -> str:
    """BLAS kernels, and numpy's loops over float64 by what they were built for."""
    blas = sorted({str(found.get("architecture", "")) for found in threadpool_info() if found["user_api"] == "blas"})
    chosen = np.lib.introspect.opt_func_info(func_name=FUNCTIONS, signature="float64")
    loops = {name: sorted({found["current"] for found in kinds.values()}) for name, kinds in sorted(chosen.items())}
    digest = hashlib.blake2b(repr(loops).encode(), digest_size=3).hexdigest()
    return f"{platform.machine()} {'+'.join(blas)} {digest}"
