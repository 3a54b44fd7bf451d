"""Unicode characters that mean the same as plain ones, replaced and counted.

Left as they are: dashes (a dash-only cell, a range), quotes, currency signs, superscripts, everything that a reader
tells apart.
"""

from __future__ import annotations

import re
from collections import Counter

_PLAIN = {
    "minus sign": {"\u2212": "-", "\u2010": "-", "\u2011": "-"},  # both hyphens are typeset like U+002D
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
    "full-width digit": {chr(0xFF10 + digit): str(digit) for digit in range(10)},
    "zero-width character": dict.fromkeys("\u00ad\u200b\u2060\ufeff", ""),
}
_KIND = {char: kind for kind, chars in _PLAIN.items() for char in chars}
_TABLE = str.maketrans({char: plain for chars in _PLAIN.values() for char, plain in chars.items()})
_ANY = re.compile("[" + "".join(_KIND) + "]")
_IN_NUMBERS = re.compile(r"(?<=\d)(?:[，．](?=\d)|％)")  # full-width too, but Chinese punctuation elsewhere
_NARROW = {"，": ",", "．": ".", "％": "%"}


def plain(text: str, counted: Counter[str]) -> str:
    """`text` with these characters replaced; adds the number of each kind to `counted`."""
    if text.isascii():
        return text
    if found := _ANY.findall(text):
        counted.update(_KIND[char] for char in found)
        text = text.translate(_TABLE)
    text, signs = _IN_NUMBERS.subn(lambda sign: _NARROW[sign.group()], text)
    if signs:
        counted["full-width digit"] += signs
    return text
