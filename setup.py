"""Builds the engine's fast path for small models on a CPU, where there is a compiler.

All else stands in pyproject.toml. Without a compiler the same arithmetic runs in torch.
"""

import hashlib
import platform
from pathlib import Path

from setuptools import Extension, setup

SOURCE = "system2/engine/layers.c"
HASH = hashlib.sha256(Path(SOURCE).read_bytes()).hexdigest()
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

setup(
    ext_modules=[
        Extension(
            "system2.engine._layers",
            [SOURCE],
            define_macros=[
                ("SOURCE", f'"{hashlib.sha256(Path(SOURCE).read_bytes()).hexdigest()}"')
            ],
            extra_compile_args=["-O3", *(["-mavx2", "-mfma"] if IS_X86 else [])],
            optional=True,
        )
    ]
)
