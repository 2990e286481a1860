"""incidents.yaml: what it may say, and what is said about an entry that cannot be used."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.config.incidents import read_incidents, refuse_unknown_names
from gb_pipeline.config.project_incidents import ProjectIncidents
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError

PROJECT = """
sources:
  own: {provider: csv, options: {path: "{symbol}.csv"}, calendar: 24/7, start: 2024-01-01, symbols: [BTC-USD]}
"""
ENTRY = {
    "from": "2024-01-02T10:00Z", "to": "2024-01-02T12:00Z", "source": "own", "kind": "halt", "reason": "news",
    "evidence": "https://example.org/1",
}  # fmt: skip


def entry(**changes: Any) -> str:
    """An entry of a file, with some keys changed; those that are None are left out."""
    keys = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
    return "- " + "\n  ".join(f"{key}: {value}" for key, value in keys.items()) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The incidents.yaml of a project."""
    (tmp_path / "gb.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path / "incidents.yaml"


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("2024-01-02T14:30Z", datetime(2024, 1, 2, 14, 30, tzinfo=UTC)),
        ("2024-01-02T14:30:00Z", datetime(2024, 1, 2, 14, 30, tzinfo=UTC)),
        ("2024-01-02T09:30:00-05:00", datetime(2024, 1, 2, 14, 30, tzinfo=UTC)),
        ("2024-07-02 09:30 America/New_York", datetime(2024, 7, 2, 13, 30, tzinfo=UTC)),
        ("2024-01-02", date(2024, 1, 2)),
        ("'2024-01-02'", date(2024, 1, 2)),
    ],
)
def test_an_end_is_an_instant_with_a_zone_or_a_session(file: Path, text: str, bound: date) -> None:
    file.write_text(entry(**{"from": text, "to": "2024-12-01"}), encoding="utf-8")
    assert read_incidents(file)[0].start == bound


def test_all_that_an_entry_may_say(file: Path) -> None:
    text = entry(
        source="[own, other]", symbols="[btc-*, ETH-USD]", resolutions="[1m, 1h]", calendar="NYSE", exchange="XNAS"
    )
    file.write_text(
        f"{text}{entry(**{'from': '2024-03-01', 'to': None, 'source': 'all', 'symbols': 'all'})}", encoding="utf-8"
    )
    first, second = read_incidents(file)
    assert (first.sources, first.symbols) == (("own", "other"), ("BTC-*", "ETH-USD"))
    assert (first.resolutions, first.calendars, first.exchanges) == (("1m", "1h"), ("XNYS",), ("XNAS",))
    assert (second.sources, second.symbols, second.start, second.end) == ((), (), date(2024, 3, 1), date(2024, 3, 2))
    assert (second.entry, second.line) == (2, 11)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry(knd="x"), "entry 1 (line 1): knd is no key of an incident\n  -> did you mean kind?"),
        (entry(to="2024-01-02T10:00Z"), "to is not after from"),
        (entry(**{"from": "2024-01-02", "to": "2024-01-02"}), "`to` is exclusive"),
        (entry(to=None), "to is missing"),
        (entry(**{"from": None}), "from is missing"),
        (entry(**{"from": "2024-01-02 10:00:00"}), "from has no time zone"),
        (entry(**{"from": "2024-01-02 10:00 America/New_Yrok"}), "did you mean America/New_York"),
        (entry(**{"from": "2024-03-10 02:30 America/New_York"}), "shows that time never"),
        (entry(to="2024-11-03 01:30 America/New_York"), "shows that time twice"),
        (entry(**{"from": "yesterday"}), "from is no time"),
        (entry(**{"from": "[1]"}), "from is no time"),
        (entry(kind="hlat"), "did you mean halt?"),
        (entry(kind=None), "kind is missing"),
        (entry(reason=None), "reason is missing"),
        (entry(reason="''"), "reason is not a text"),
        (entry(evidence=None), "evidence is missing"),
        (entry(source=None), "does not say what it concerns"),
        (entry(source="[]"), "source"),
        (entry(source="[1]"), "source is not a name"),
        (entry(symbols="[a/b]"), "is no symbol"),
        (entry(resolutions="7x"), "7x"),
        (entry(calendar="XNSY"), "XNYS"),
        ("own: halt\n", "is not a list of incidents"),
        ("- halt\n", "entry 1 (line 1): is no incident"),
        (entry() + "\n" + entry(**{"from": "2024-01-02T11:59Z", "to": "2024-01-03"}), "entry 2 (line 8) overlaps entry 1 (line 1)"),
        ("- from: 2024-01-02\n  from: 2024-01-03\n", "a key that stands in line 1 already"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_with_its_place_when_settings_are_loaded(file: Path, text: str, said: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        Settings.load(file.parent)
    assert said in str(error.value)
    assert str(file) in error.value.what
    with pytest.raises(ConfigError):
        ProjectIncidents(file.parent / "gb.yaml")()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "onw"}, "there is no source 'onw'\n  -> did you mean own?"),
        ({"symbols": "BTC-UDS"}, "there is no symbol 'BTC-UDS' of own\n  -> did you mean BTC-USD?"),
        ({"symbols": "XAU-*"}, ""),
    ],
)
def test_names_that_there_are_not_are_said(file: Path, changes: dict[str, str], said: str) -> None:
    file.write_text(entry(**changes), encoding="utf-8")
    items = read_incidents(file)
    if not said:
        refuse_unknown_names(file, items, {"own": ["BTC-USD"]})
        return
    with pytest.raises(ConfigError) as error:
        refuse_unknown_names(file, items, {"own": ["BTC-USD"]})
    assert said in str(error.value) and "entry 1 (line 1)" in error.value.what


def test_one_scope_may_have_incidents_that_touch_and_overlapping_ones_of_another(file: Path) -> None:
    after = entry(**{"from": "2024-01-02T12:00Z", "to": "2024-01-03"})
    file.write_text(entry() + after + entry(symbols="BTC-*"), encoding="utf-8")
    assert [item.entry for item in read_incidents(file)] == [1, 2, 3]


def test_the_file_may_be_absent_or_empty_or_lie_elsewhere(file: Path) -> None:
    read = ProjectIncidents(file.parent / "gb.yaml")
    assert read().items == () and Settings.load(file.parent).incidents is None
    file.write_text("# nothing yet\n", encoding="utf-8")
    assert read().items == () and Settings.load(file.parent).incidents == file
    file.write_text(entry(), encoding="utf-8")
    assert [item.kind for item in read().items] == ["halt"]
    (file.parent / "gb.yaml").write_text(f"incidents: known/halts.yaml\n{PROJECT}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"there is no .*halts\.yaml"):
        read()
    (file.parent / "known").mkdir()
    file.rename(file.parent / "known" / "halts.yaml")
    assert [item.kind for item in read().items] == ["halt"]


def test_an_exchange_is_that_of_the_listing(file: Path) -> None:
    listed = PROJECT.replace("[BTC-USD]", "[{code: BTC-USD, exchange: XNAS}, ETH-USD]")
    (file.parent / "gb.yaml").write_text(listed, encoding="utf-8")
    file.write_text(entry(source=None, exchange="XNAS"), encoding="utf-8")
    incidents = ProjectIncidents(file.parent / "gb.yaml")()
    assert incidents.exchanges == {("own", "BTC-USD"): "XNAS", ("own", "ETH-USD"): ""}
