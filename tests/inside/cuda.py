"""Run in a built CUDA image, without a GPU: python - < tests/inside/cuda.py; prints what torch was built for."""

import json
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import torch
import triton

with tempfile.TemporaryDirectory() as scratch:
    source = Path(scratch) / "launcher.c"
    source.write_text(
        "#include <Python.h>\nint main(void) { return 0; }\n"
    )  # what Triton compiles at run time starts like this
    include = sysconfig.get_paths()["include"]
    subprocess.run(["gcc", "-shared", "-fPIC", f"-I{include}", str(source), "-o", f"{scratch}/launcher.so"], check=True)

print(
    json.dumps(
        {
            "torch": torch.__version__,
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
            "architectures": torch._C._cuda_getArchFlags().split(),
            "available": torch.cuda.is_available(),
        }
    )
)
