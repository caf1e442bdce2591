"""What pyproject.toml cannot say: how the compiled module is built, or that none is.

GATEWISE_PURE=1 builds the pure Python package; otherwise a build compiles or fails.
GATEWISE_DEBUG=1 builds with every check of Cython's turned on, and hardly optimised.
"""

from __future__ import annotations

import os
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PURE = os.environ.get("GATEWISE_PURE") == "1"
DEBUG = os.environ.get("GATEWISE_DEBUG") == "1"

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "embedsignature": False,
    # The annotations are for readers; the types are those of the C level functions.
    "annotation_typing": False,
    "wraparound": False,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
}

UNIX_FLAGS = ["-std=c11", "-fvisibility=hidden", "-pthread"]
UNIX_FLAGS += ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]
# Otherwise the compiler, by its own lights, fuses some products with their sums, and the
# same source gives other figures from one compiler to the next.
UNIX_FLAGS += ["-ffp-contract=off"]

MSVC_FLAGS = ["/std:c11", "/experimental:c11atomics"]
MSVC_FLAGS += ["/Od", "/Zi", "/UNDEBUG"] if DEBUG else ["/O2"]


class BuildNative(build_ext):
    """Compile with the flags of the compiler at hand, or fail and name the way out."""

    def build_extension(self, ext: Extension) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MSVC_FLAGS if msvc else UNIX_FLAGS
        ext.extra_link_args = [] if msvc else ["-pthread"]
        try:
            super().build_extension(ext)
        except Exception as error:
            # Which exception it is differs between the versions of setuptools.
            raise SystemExit(f"error: {error}\n\n{WAY_OUT}") from error


WAY_OUT = (
    "gatewise could not compile its native module: it needs a C11 compiler that works.\n"
    "With GATEWISE_PURE=1 in the environment the same command installs the pure Python\n"
    "package, which computes the same in NumPy, more slowly."
)


def native() -> Extension:
    extension = Extension(
        "gatewise.kernels.native.compiled",
        sources=[
            "src/gatewise/kernels/native/compiled.pyx",
            *sorted(glob("csrc/**/*.c", recursive=True)),
        ],
        depends=[
            *sorted(glob("src/gatewise/kernels/native/*.px[di]")),
            *sorted(glob("csrc/**/*.h", recursive=True)),
        ],
        include_dirs=["csrc"],
    )
    # Read by Cython's build_ext, which setuptools builds upon.
    extension.cython_directives = DIRECTIVES
    extension.cython_c_in_temp = True
    return extension


setup(ext_modules=[] if PURE else [native()], cmdclass={"build_ext": BuildNative})
