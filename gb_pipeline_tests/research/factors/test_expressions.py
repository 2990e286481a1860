"""Texts become the terms that operators make, and nothing but formulas is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline import ConfigError, EquityPricing, GbError, parse_expression
from gb_pipeline.research.factors.expressions import FUNCTIONS
from gb_pipeline.research.factors.indicators import RSI, SMA
from gb_pipeline.research.factors.rolling import rolling_correlation, rolling_mean, rolling_quantile
from gb_pipeline.research.factors.terms import Factor, Filter, Term

close, volume = EquityPricing.close, EquityPricing.volume


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("$close", close),
        ("Mean($close, 20)/$close", SMA(close, 20) / close),
        ("Ref($close, 5) - 2 * $close ** 0.5", close.shift(5) - 2 * close**0.5),
        ("Ref($close, 0)", close),
        ("Quantile($close, 10, 0.8)", rolling_quantile(close, 10, 0.8)),
        ("Corr($close, Log($volume + 1), 5)", rolling_correlation(close, (volume + 1).log(), 5)),
        ("Mean($close > Ref($close, 1), 5)", rolling_mean(close > close.shift(1), 5)),
        ("If(($close > 5) & ~($volume < 9), 1, -1)", ((close > 5) & ~(volume < 9)).if_else(1, -1)),
        ("RSI($close, 2 + 12)", RSI(14)),
        ("Of($close, 'SPY')", close.of("SPY")),
        ("CSRank(-$close)", (-close).rank()),
        ("$eps / $earnings.price", close / volume),
    ],
)
def test_a_text_is_the_term_that_it_describes(text: str, term: Term) -> None:
    assert parse_expression(text, {"eps": close, "earnings.price": volume}).node == term.node


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to 4,000 characters"),
        ("1 + 1", "no column"),
        ("Mean($close", "never closed"),
        ("Mean($close, 2.5)", "not a count"),
        ("Mean($close, 0)", "not a count"),
        ("Mean($close, True)", "not allowed"),
        ("Mean($close, $close)", "not a count"),
        ("Mean($close)", "cannot be used like this"),
        ("Maen($close, 2)", "no function Maen"),
        ("Mean($cloze, 2)", r"no \$cloze"),
        ("close", "no column"),
        ("$close and $open", "BoolOp"),
        ("1 < $close < 2", "two things at a time"),
        ("9**9**9 * $close", "not finite"),
        ("(-1)**0.5 * $close", "not real"),
        ("'a' * 3 * $close", "no number"),
        ("[$close]", "List"),
        ("$close.__class__", "no "),
        ("__import__('os').system('true')", "only functions by name"),
        ("(lambda: $close)()", "only functions by name"),
        ("Mean($close, window=5)", "without keywords"),
        ("{x for x in ($close,)}", "SetComp"),
        ("column_close", "reserved"),
        ("-" * 3000 + "$close", "nested too deeply|too long|not an expression"),
        ("+".join(["$close"] * 570), "too long"),
    ],
)
def test_anything_else_is_refused_and_says_why(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_expression(text)


OPERATORS = ["(", ")", ",", "+", "-", "*", "/", "**", ">", "&", "~", "'S'", ".", "="]
pieces = st.sampled_from(["$close", "$volume", "1", "2", "0.5", *OPERATORS, *FUNCTIONS])


@given(st.lists(pieces, max_size=25).map("".join) | st.text(max_size=40))
def test_no_text_does_anything_but_become_a_term_or_an_error(text: str) -> None:
    try:
        assert isinstance(parse_expression(text), Factor | Filter)
    except GbError as error:
        assert error.fix
