"""Texts that are no name of anything a lake can hold."""

from __future__ import annotations

SOURCES = [
    "sim' OR source <> '", "../sim", "sim/../other", "Sim", "SIM", "s im", "", ".", "..", "sim\n", "sim\0", "símb", "con", "nul",
    "-sim", "1sim", "sim=1", "sim%2e", "s" * 33, "s" * 100_000, "sіm", "\ud800",
]  # fmt: skip
SYMBOLS = [
    "BTC-USD' OR 1=1 --", "..", "../../etc/passwd", "A/B", "A\\B", "btc-usd", "BTC-USD\n", "BTC USD", " BTC-USD", "ВТС-USD", "CON",
    "COM1", "NUL.TXT", "", "-BTC", "BTC-", "A..B", "A\0B", "A=B", "A%2FB", "A*", "A?", "A:B", "A" * 65, "A" * 100_000, "Ａ",
    "\ud800",
]  # fmt: skip
