"""What pyproject.toml cannot say: how the compiled module is built, or that none is.

GATEWISE_PURE=1 builds the pure Python package; otherwise a build compiles or fails.
GATEWISE_DEBUG=1 builds with every check of Cython's turned on, and hardly optimised.
GATEWISE_NO_THREADS=1 builds for a system without threads, as WebAssembly mostly is.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
from glob import glob
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

PURE = os.environ.get("GATEWISE_PURE") == "1"
DEBUG = os.environ.get("GATEWISE_DEBUG") == "1"
NO_THREADS = os.environ.get("GATEWISE_NO_THREADS") == "1"

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
    # Else it would switch the GIL on: CONTRIBUTING.md says what makes it safe without.
    "freethreading_compatible": True,
}

THREADS = [] if NO_THREADS else ["-pthread"]

UNIX_FLAGS = ["-std=c11", "-fvisibility=hidden", *THREADS]
UNIX_FLAGS += ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]
# Otherwise the compiler, by its own lights, fuses some products with their sums, and the
# same source gives other figures from one compiler to the next.
UNIX_FLAGS += ["-ffp-contract=off"]

UNIX_LINK_FLAGS = [*THREADS]
if sys.platform == "linux" and not DEBUG:
    # Names that nobody asks for are a twentieth of the module.
    UNIX_LINK_FLAGS += ["-s"]

MSVC_FLAGS = ["/std:c11", "/experimental:c11atomics"]
MSVC_FLAGS += ["/Od", "/Zi", "/UNDEBUG"] if DEBUG else ["/O2"]


class BuildNative(build_ext):
    """Compile with the flags of the compiler at hand, or fail and name the way out."""

    def build_extension(self, ext: Extension) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = MSVC_FLAGS if msvc else UNIX_FLAGS
        ext.extra_link_args = [] if msvc else UNIX_LINK_FLAGS
        if not msvc:
            # Python's own path, which some builds of it link everything with: the module
            # needs nothing but the system's libraries.
            linker = self.compiler.linker_so
            kept = [flag for flag in linker if not flag.startswith("-Wl,-rpath")]
            self.compiler.set_executable("linker_so", kept)
        try:
            # In any case, since the module may be linked anew although none of them is old.
            ext.extra_objects = [*self._variants(ext, 1), *self._variants(ext, 0)]
            super().build_extension(ext)
        except Exception as error:
            # Which exception it is differs between the versions of setuptools.
            raise SystemExit(f"error: {error}\n\n{WAY_OUT}") from error

    def _variants(self, ext: Extension, single: int) -> list[str]:
        """Have every variant of the core in single, or else in double precision."""
        kind = "debug" if DEBUG else "release"
        folder = str(Path(self.build_temp, f"{kind}_{single}"))
        objects: list[str] = self.compiler.object_filenames(VARIANTS, output_dir=folder)
        made_of = ["setup.py", *VARIANTS, *ext.depends]
        newest = max(Path(file).stat().st_mtime for file in made_of)
        old = [
            source
            for source, made in zip(VARIANTS, objects, strict=True)
            if self.force or not Path(made).exists() or Path(made).stat().st_mtime < newest
        ]
        if old:
            self.compiler.compile(
                old,
                output_dir=folder,
                macros=[("SINGLE", str(single))],
                include_dirs=ext.include_dirs,
                debug=self.debug,
                extra_postargs=ext.extra_compile_args,
            )
        return objects


class SameSdist(sdist):
    """With SOURCE_DATE_EPOCH an archive of the same bits wherever it is made."""

    def make_archive(self, base_name: str, format: str, *args: Any, **others: Any) -> str:
        file: str = super().make_archive(base_name, format, *args, **others)
        time = os.environ.get("SOURCE_DATE_EPOCH")
        if time and format == "gztar":
            Path(file).write_bytes(settled(Path(file), int(time)))
        return file


def settled(archive: Path, time: int) -> bytes:
    """The same files, in the order of their names, all of this time and nobody's."""
    settled = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        gzip.GzipFile("", "wb", fileobj=settled, mtime=time) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as new,
    ):
        for member in sorted(old, key=lambda member: member.name):
            member.mtime, member.uid, member.gid = time, 0, 0
            member.uname = member.gname = ""
            # What else there is depends on the mask of whoever made the archive.
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return settled.getvalue()


WAY_OUT = (
    "gatewise could not compile its native module: it needs a C11 compiler that works.\n"
    "With GATEWISE_PURE=1 in the environment the same command installs the pure Python\n"
    "package, which computes the same in NumPy, more slowly."
)


VARIANTS = sorted(glob("csrc/variants/*.c"))


def native() -> Extension:
    extension = Extension(
        "gatewise.kernels.native.compiled",
        sources=[
            "src/gatewise/kernels/native/compiled.pyx",
            *sorted(set(glob("csrc/**/*.c", recursive=True)) - set(VARIANTS)),
        ],
        depends=[
            *VARIANTS,
            *sorted(glob("src/gatewise/kernels/native/*.px[di]")),
            *sorted(glob("csrc/**/*.h", recursive=True)),
        ],
        include_dirs=["csrc"],
        define_macros=[("GATEWISE_NO_THREADS", "1")] if NO_THREADS else [],
    )
    # Read by Cython's build_ext, which setuptools builds upon.
    extension.cython_directives = DIRECTIVES
    extension.cython_c_in_temp = True
    return extension


setup(
    ext_modules=[] if PURE else [native()],
    cmdclass={"build_ext": BuildNative, "sdist": SameSdist},
)
