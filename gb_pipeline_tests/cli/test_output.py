"""Exit codes, JSON and tables."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import errors
from gb_pipeline.cli.app import run
from gb_pipeline.cli.output import ExitCode, exit_code, format_size, format_value, print_error, print_json, print_table
from gb_pipeline.market.resolution import Resolution


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, ExitCode.USAGE),
        (errors.InvalidSymbol, ExitCode.USAGE),
        (errors.NaiveTimestamp, ExitCode.USAGE),
        (errors.TransientVendorError, ExitCode.TRANSIENT),
        (errors.RateLimited, ExitCode.TRANSIENT),
        (errors.NotEntitled, ExitCode.FAILED),
        (errors.UnknownSeries, ExitCode.FAILED),
        (errors.LakeError, ExitCode.FAILED),
        (errors.GbError, ExitCode.FAILED),
    ],
)
def test_every_error_has_its_exit_code(kind: type[errors.GbError], code: ExitCode) -> None:
    assert exit_code(kind("what", fix="fix")) is code


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8))
def test_json_keeps_every_digit(value: Decimal) -> None:
    from gb_pipeline.cli.output import _to_json

    assert Decimal(json.loads(json.dumps(_to_json(value)))) == value


def test_json_is_exact_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    new_york = timezone(timedelta(hours=-5))
    print_json(
        {
            "price": Decimal("0.10000000"),
            "at": datetime(2024, 1, 2, 9, 30, tzinfo=new_york),
            "day": date(2024, 1, 2),
            "resolution": Resolution.MINUTE,
            "nan": float("nan"),
            "rows": [(1, None, True)],
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "price": "0.1",
        "at": "2024-01-02T14:30:00Z",
        "day": "2024-01-02",
        "resolution": "1m",
        "nan": None,
        "rows": [[1, None, True]],
    }


def test_cells_read_well() -> None:
    cells = [
        1234567,
        Decimal("0.50000000"),
        Decimal("100"),
        datetime(2024, 1, 2, 9, 30, tzinfo=UTC),
        None,
        True,
        ["a", 2],
    ]
    assert [format_value(cell) for cell in cells] == ["1,234,567", "0.5", "100", "2024-01-02 09:30", "", "True", "a, 2"]
    assert [format_size(n) for n in (0, 999, 1000, 12_345_678)] == ["0 B", "999 B", "1.0 kB", "12.3 MB"]


def test_points_of_a_column_are_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("price",), [(Decimal("1.50000000"),), (Decimal("22.25000000"),)])
    one, other = (line.rstrip() for line in capsys.readouterr().out.splitlines() if "." in line)
    assert one.index(".") == other.index(".")
    assert one.strip() == "1.50"


def test_text_from_a_vendor_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("why",), [("[red]not red[/red]",)])
    assert "[red]not red[/red]" in capsys.readouterr().out


def test_an_error_is_two_lines_however_long_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("broken:\n  line 1\n  line 2", "do\nthis")
    assert capsys.readouterr().err == "broken: line 1 line 2\n  -> do this\n"


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gb_pipeline.cli.options.load_settings", interrupted)
    monkeypatch.setattr("gb_pipeline.cli.doctor.load_settings", interrupted)
    assert run(["doctor"]) == 130


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stdout a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


@given(
    st.lists(
        st.sampled_from(
            [12345678901, Decimal("1234567.12345678"), date(2024, 1, 2), datetime(2024, 1, 2, 3, 4), "word"]
        ),
        min_size=1,
        max_size=14,
    )
)
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe of COLUMNS"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_no_number_date_or_word_is_cut_where_lines_have_an_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, row: list[object]
) -> None:
    on_terminal(monkeypatch)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_table([f"heading {number}" for number in range(len(row))], [row, row])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for value in row:
        assert out.count(format_value(value)) >= 2 or isinstance(value, Decimal)
    for number in range(len(row)):
        assert f"heading {number}" in out


def test_what_a_row_is_about_stands_beside_every_part_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    print_table(["name", *map(str, range(9))], [["mine:S03", *["a text of some length"] * 9]])
    parts = [line for line in capsys.readouterr().out.splitlines() if "mine:S03" in line]
    assert len(parts) > 1


def test_long_text_is_folded_and_long_names_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    name = "source:A-NAME-OF-MORE-THAN-FORTY-CHARACTERS-IN-ALL"
    print_table(["name", "finding"], [[name, "many words " * 20]])
    out = capsys.readouterr().out
    assert name in out
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("many") == 20


def test_a_cell_wider_than_the_terminal_makes_no_other_line_longer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    # Rich folds everything for a terminal that it knows nothing about.
    monkeypatch.setenv("TERM", "xterm")
    path = "/a/folder" * 20
    print_table(["what", "is"], [["close", "1.5"], ["path", path], ["row", "7"]])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == [f" path   {path}"]


@pytest.mark.parametrize("arguments", [[], ["symbols"], ["actions"]])
def test_without_a_command_the_help_is_shown_in_its_own_lines(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(arguments) == 2
    alone = capsys.readouterr().err
    assert run([*arguments, "--help"]) == 0
    assert alone == capsys.readouterr().out
    assert len(alone.splitlines()) > 5


def test_every_command_says_in_one_line_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["symbols"], ["actions"], ["fundamentals"], ["factors"], ["instruments"], ["rolls"]):
        run([*arguments, "--help"])
        assert "..." not in capsys.readouterr().out.split("Commands:")[1]


@pytest.mark.parametrize(("length", "left"), [(10, ["a", "b", "c"]), (50, ["a", "b"]), (75, ["a"])])
def test_optional_columns_go_first(capsys: pytest.CaptureFixture[str], length: int, left: list[str]) -> None:
    print_table(["a", "b", "c"], [["x" * length, "y" * 12, "z" * 14]], optional=["b", "c"])
    heading = capsys.readouterr().out.splitlines()[1].split()
    assert heading == left


def test_a_footer_stands_below_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "bars"], [["a", 1200], ["b", 34]], footer=("2 series", 1234))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[-1].split() == ["2", "series", "1,234"]
    assert lines[-1].index("1,234") + 5 == lines[2].index("1,200") + 5
