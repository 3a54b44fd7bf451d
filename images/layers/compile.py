"""Compile every module under a folder to the same bytes in every build; compiled modules are left alone.

`python -m compileall` is not reproducible: it marks an object for sharing by its current reference count, which depends
on the order of its workers (https://github.com/python/cpython/issues/78274). marshal's version 2 shares nothing. The
.pyc files are not checked against their sources (PEP 552): a container with a read-only root could not rewrite them.
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

UNCHECKED_HASH = 1
SHARES_NOTHING = 2


def compiled(source: Path) -> bool:
    """Compile one module; False if it is not in this Python's grammar (torch has tests for newer versions)."""
    target = Path(importlib.util.cache_from_source(str(source)))
    if target.exists():
        return True
    text = source.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(text, str(source), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(text)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(header + marshal.dumps(code, SHARES_NOTHING))
    return True


def main(folder: Path) -> None:
    """Compile everything under a folder on every core."""
    # tests of packages are never imported
    sources = [source for source in sorted(folder.rglob("*.py")) if not {"test", "tests"} & set(source.parts)]
    with ProcessPoolExecutor() as pool:
        done = list(pool.map(compiled, sources, chunksize=64))
    left = [str(source) for source, well in zip(sources, done, strict=True) if not well]
    print(f"compiled {sum(done)} modules, left {len(left)}: {' '.join(left)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
