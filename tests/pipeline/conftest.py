"""Steps that run inside the test process use the kernels of `python -m pipeline`, whatever the processor has."""

from __future__ import annotations

from pipeline.__main__ import use_the_same_kernels

use_the_same_kernels()  # before any test module imports torch
