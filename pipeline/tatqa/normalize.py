"""Unicode that means the same as plainer characters, and what of it was made plain.

Left as they are: dashes (a dash-only cell, a range), quotes, currency signs, superscripts, everything that a reader tells apart.
"""

from __future__ import annotations

import re
from collections import Counter

_PLAIN = {
    "minus sign": {"\u2212": "-", "\u2010": "-", "\u2011": "-"},  # the hyphens of their own are typeset as U+002D is
    "space": dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),  # non-breaking, figure, thin, narrow
    "ligature": {
        "\ufb00": "ff",
        "\ufb01": "fi",
        "\ufb02": "fl",
        "\ufb03": "ffi",
        "\ufb04": "ffl",
        "\ufb05": "st",
        "\ufb06": "st",
    },
    "zero-width character": dict.fromkeys("\u00ad\u200b\u2060\ufeff", ""),
}
_KIND = {char: kind for kind, chars in _PLAIN.items() for char in chars}
_TABLE = str.maketrans({char: plain for chars in _PLAIN.values() for char, plain in chars.items()})
_ANY = re.compile("[" + "".join(_KIND) + "]")


def plain(text: str, counted: Counter[str]) -> str:
    """`text` with these characters made plain; adds to `counted` how many of each kind there were."""
    if text.isascii() or not (found := _ANY.findall(text)):
        return text
    counted.update(_KIND[char] for char in found)
    return text.translate(_TABLE)
