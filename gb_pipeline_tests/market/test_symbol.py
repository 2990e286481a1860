"""Codes: what is accepted is safe everywhere, what is not safe is refused."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, GbError, InvalidSymbol
from gb_pipeline.market.symbol import MAX_CODE_LENGTH, AssetClass, Symbol, source_name, symbol_code

HOSTILE = [
    "", " ", ".", "..", "...", "A..B", "a/b", "A/B", "A\\B", "../A", "/A", "A B", "A\x00", "\x00", "A\n", "\nA", "A\t",
    "aapl", ".A", "A.", "-A", "A-", "_A", "A" * 65, "CON", "NUL", "COM1", "LPT9", "AUX.TXT", "CON.A",
    "\u0410APL",  # Cyrillic A
    "\uff21APL",  # full-width A
    "A\u200bB",  # zero-width space
    "A\u0301",  # combining accent
    "\u0661",  # a digit outside ASCII
    "\u212a",  # the Kelvin sign, whose lower case is an ASCII k
    "A'B", 'A"B', "A;B", "A%2F", "A*", "A?", "A:B", "A|B", "<A>", "$A", "{A}", "A=B", "~A",
]  # fmt: skip
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{name}{i}" for name in ("COM", "LPT") for i in range(10))}
PLAIN = ["A", "7", "AAPL", "BRK.B", "7203.T", "BTC-USDT", "BTC-USDT-PERP", "ESZ26", "AAPL260116C00190000", "A" * 64]
HELPERS = [Symbol.equity, Symbol.crypto, Symbol.forex, Symbol.future, Symbol.option, Symbol.prediction]


@pytest.mark.parametrize("code", HOSTILE)
def test_a_hostile_code_is_refused(code: str) -> None:
    with pytest.raises(InvalidSymbol):
        Symbol(code)


@pytest.mark.parametrize("code", [None, 7, b"AAPL", ["AAPL"]])
def test_what_is_no_text_is_refused(code: object) -> None:
    with pytest.raises(InvalidSymbol):
        Symbol(code)  # type: ignore[arg-type]
    with pytest.raises(InvalidSymbol):
        Symbol.equity(code)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", PLAIN)
def test_a_canonical_code_is_accepted_as_it_is(code: str) -> None:
    assert str(Symbol(code)) == code


def assert_safe(code: str) -> None:
    assert re.fullmatch(r"[A-Z0-9._-]+", code, re.ASCII)
    assert 0 < len(code) <= MAX_CODE_LENGTH
    for path in (PurePosixPath("lake") / code, PureWindowsPath("lake") / code):
        assert path.parts == ("lake", code)
    assert not code.startswith(".") and not code.endswith(".") and ".." not in code
    assert code.split(".", maxsplit=1)[0] not in DEVICES


NEARLY_CODES = st.text(alphabet=st.sampled_from("ABCNOUXZ019./\\-_ :\x00aé\u0410"), max_size=70)


@given(st.one_of(st.text(max_size=80), NEARLY_CODES, st.from_regex(r"[A-Z0-9._-]{1,70}")))
def test_every_accepted_code_is_a_safe_path_segment(text: str) -> None:
    for make in (Symbol, *HELPERS):
        try:
            symbol = make(text)
        except InvalidSymbol:
            continue
        assert_safe(symbol.code)


@given(st.text(max_size=80), st.sampled_from(AssetClass))
def test_a_canonical_code_stays_itself_through_its_helper(text: str, kind: AssetClass) -> None:
    try:
        symbol = Symbol.of(text, kind)
    except InvalidSymbol:
        return
    assert Symbol.of(symbol.code, kind) == symbol


@pytest.mark.parametrize(
    ("made", "code", "kind"),
    [
        (Symbol.equity(" aapl "), "AAPL", "equity"),
        (Symbol.equity("brk.b"), "BRK.B", "equity"),
        (Symbol.crypto("btc/usd"), "BTC-USD", "crypto"),
        (Symbol.crypto("BTC_USDT"), "BTC-USDT", "crypto"),
        (Symbol.crypto("btc/usdt:usdt"), "BTC-USDT-PERP", "crypto"),
        (Symbol.crypto("BTC-USDT-PERP"), "BTC-USDT-PERP", "crypto"),
        (Symbol.forex("eurusd"), "EUR-USD", "forex"),
        (Symbol.forex("EUR/USD"), "EUR-USD", "forex"),
        (Symbol.future("esz26"), "ESZ26", "future"),
        (Symbol.option("AAPL  260116C00190000"), "AAPL260116C00190000", "option"),
        (Symbol.prediction("fed-25dec"), "FED-25DEC", "prediction"),
        (Symbol.of("eur/usd", "forex"), "EUR-USD", "forex"),
        (Symbol.of("btc/usd", AssetClass.CRYPTO), "BTC-USD", "crypto"),
    ],
)
def test_a_helper_finds_the_canonical_code(made: Symbol, code: str, kind: str) -> None:
    assert (made.code, made.asset_class) == (code, kind)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Symbol.crypto, "BTC/USD/ETH"),
        (Symbol.crypto, "/USD"),
        (Symbol.crypto, "BTC/"),
        (Symbol.forex, "EURO"),
        (Symbol.forex, ""),
        (Symbol.future, "ES"),
        (Symbol.future, "ESA26"),
        (Symbol.future, "ESZ2026"),
        (Symbol.option, "AAPL260116X00190000"),
        (Symbol.option, "AAPL"),
        (Symbol.equity, "con"),
        (Symbol.equity, "../etc"),
        (Symbol.equity, "a" * 65),
    ],
)
def test_a_helper_refuses_what_is_not_of_its_kind(make: Callable[[str], Symbol], text: str) -> None:
    with pytest.raises(InvalidSymbol) as refusal:
        make(text)
    assert refusal.value.fix


def test_an_unknown_asset_class_is_an_error_of_ours() -> None:
    with pytest.raises(GbError):
        Symbol.of("AAPL", "bond")


@pytest.mark.parametrize("text", ["\u0131bm", "stra\u00dfe", "\u017fpy", "\ufb01ve"])
@pytest.mark.parametrize("make", HELPERS)
def test_upper_casing_never_turns_a_look_alike_into_ascii(make: Callable[[str], Symbol], text: str) -> None:
    assert text.upper().isascii()
    with pytest.raises(InvalidSymbol):
        make(text)


# --- names at the public boundary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", HOSTILE)
def test_a_hostile_code_is_refused_wherever_a_code_is_given(code: str) -> None:
    with pytest.raises(InvalidSymbol) as refused:
        symbol_code(code)
    assert refused.value.fix


@pytest.mark.parametrize("code", [None, 7, b"AAPL", ["AAPL"], ("AAPL",)])
def test_a_code_is_a_text_or_a_symbol(code: object) -> None:
    with pytest.raises(InvalidSymbol):
        symbol_code(code)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "meant"), [("btc-usd", "BTC-USD"), ("BTC/USD", "BTC-USD"), ("btc/usdt:usdt", "BTC-USDT-PERP"), (" aapl", "AAPL")]
)  # fmt: skip
def test_the_refusal_of_another_spelling_says_the_canonical_one(text: str, meant: str) -> None:
    with pytest.raises(InvalidSymbol) as refused:
        symbol_code(text)
    assert repr(meant) in refused.value.fix


@given(st.one_of(st.text(max_size=80), NEARLY_CODES, st.from_regex(r"[A-Z0-9._-]{1,70}", fullmatch=True)))
def test_an_accepted_code_round_trips_through_a_folder_and_needs_no_quoting(text: str) -> None:
    try:
        code = symbol_code(text)
    except InvalidSymbol:
        return
    assert code == text == symbol_code(Symbol(text))
    assert type(code) is str
    assert_safe(code)
    # A file system that ignores case holds one name for both spellings; the other spelling is never accepted.
    assert code.lower() == code or _refused(code.lower())
    assert code.swapcase() == code or _refused(code.swapcase())
    assert shlex.quote(code) == code
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / code).mkdir()
        assert [path.name for path in Path(folder).iterdir()] == [code]


def _refused(text: str) -> bool:
    try:
        symbol_code(text)
    except InvalidSymbol:
        return True
    return False


@pytest.mark.parametrize("name", ["a", "sim", "binance", "my_own_2", "a" * 32])
def test_a_name_of_a_source_is_accepted_as_it_is(name: str) -> None:
    assert source_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "Sim", "sim ", "sim\n", "1a", "_a", "a" * 33, "a-b", "a.b", "a/b", "..", "sim' OR source <> '", 'a"b', "a;b", "a=b",
     "a%20b", "\u0441im", "\u017fim", "con", "nul", "com1", None, 7, b"sim", ["sim"]],
)  # fmt: skip
def test_what_is_no_name_of_a_source_is_refused(name: object) -> None:
    with pytest.raises(ConfigError, match="not a name of a source") as refused:
        source_name(name)  # type: ignore[arg-type]
    assert "a-z" in refused.value.fix


def test_the_refusal_of_a_name_says_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as refused:
        source_name("My Broker")
    assert "my_broker" in refused.value.fix


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True)))
def test_an_accepted_name_of_a_source_is_safe_everywhere(text: str) -> None:
    try:
        name = source_name(text)
    except ConfigError as error:
        assert error.fix
        return
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name, re.ASCII)
    assert name == text == name.lower()
    assert name.upper() not in DEVICES
