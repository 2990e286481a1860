"""This module knows how files may write time stamps: units since 1970, and strptime formats with what a text must look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

# Decimal places that lead from the unit to microseconds.
UNITS = {"unix_s": 6, "unix_ms": 3, "unix_us": 0, "unix_ns": -3}
# The unit of each stamp by its size, for files that change it half-way.
AUTO = "unix_auto"
EPOCHS = frozenset({*UNITS, AUTO})
# Python's codes and the text that may stand there. The text is checked before it is parsed, because parsers forgive:
# second 60 becomes the next minute, `+2024` a year, `.5` five nanoseconds.
_CODES = {
    "Y": r"[0-9]{4}", "y": r"[0-9]{2}", "m": r"[0-9]{1,2}", "d": r"[0-9]{1,2}", "b": "[A-Za-z]{3}", "B": "[A-Za-z]{3,9}",
    "j": r"[0-9]{3}", "H": r"[0-9]{1,2}", "I": r"[0-9]{1,2}", "M": r"[0-9]{2}", "S": r"[0-5][0-9]", "p": "[AaPp][Mm]",
    "a": "[A-Za-z]{3}", "A": "[A-Za-z]{6,9}", "%": "%",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StampFormat:
    """A strptime format, ready to use: the parser's spelling, and what a text must look like."""

    parser: str
    pattern: str
    has_time: bool
    has_offset: bool

    @staticmethod
    @cache
    def compile(text: str) -> StampFormat:
        """Translate a Python strptime format; `%f` after a dot, `%z` at the end.

        Raises:
            ValueError: a code that is not supported, or no whole date.
        """
        body, offset = (text[:-2].rstrip(), True) if text.endswith("%z") else (text, False)
        parts = re.findall(r"\.%f|%.?|[^%.]+|\.", body)
        codes = {part[1:] for part in parts if part.startswith("%")}
        if unknown := codes - set(_CODES):
            known = " ".join(f"%{code}" for code in _CODES)
            raise ValueError(f"%{min(unknown)} in {text!r} is not supported; use {known}, .%f, and %z at the end")
        if not (codes & {"Y", "y"} and ((codes & {"m", "b", "B"} and "d" in codes) or "j" in codes)):
            raise ValueError(f"{text!r} holds no whole date; use codes such as %Y-%m-%d %H:%M:%S, or iso, unix_ms")
        pattern = ""
        for part, before, after in zip(parts, ["", *parts], [*parts[1:], ""], strict=False):
            piece = (
                _CODES[part[1:]] if part.startswith("%") else r"\.[0-9]{1,6}0*" if part == ".%f" else re.escape(part)
            )
            # Codes without a separator need all their digits: `2011113` is the 3rd of November, or the 13th of January.
            pattern += piece.replace("{1,2}", "{2}") if "%" in before[:1] + after[:1] else piece
        return StampFormat(body.replace(".%f", "%.f"), f"^{pattern}$", bool(codes & {"H", "I"}), offset)
