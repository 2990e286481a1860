"""A heat map has a cell per symbol and session, told by the ledger alone, and drawn as a PNG that readers of PNGs accept."""

from __future__ import annotations

import io

import pytest
from matplotlib.image import imread

from gb_pipeline.errors import GbError
from gb_pipeline.reading.heat_map import Cell, read_heat_map
from gb_pipeline.reading.png import encode_png

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


@pytest.fixture
def stored(lake, write):
    """A has three days, one of them with a hole; B has the second day only, with too many bad rows."""
    for day in DAYS:
        write("sim", "A-USD", day, [str(100 + hour) for hour in range(24 if day != DAYS[1] else 20)], resolution="1h")
    write("sim", "B-USD", DAYS[1], ["-1"] * 24, resolution="1h")
    return lake


def test_every_symbol_and_session_has_a_cell_also_what_nobody_asked_for(stored):
    picture = read_heat_map(stored, "sim", "1h", ["A-USD", "B-USD", "C-USD"])

    assert (picture.symbols, picture.sessions) == (["A-USD", "B-USD", "C-USD"], list(DAYS))
    assert [[Cell(cell) for cell in row] for row in picture.rows] == [
        [Cell.COMPLETE, Cell.OPEN, Cell.COMPLETE],
        [Cell.NEVER, Cell.NOT_STORED, Cell.NEVER],
        [Cell.NEVER] * 3,
    ]
    assert sum(picture.counts.values()) == 9 and picture.counts[Cell.NEVER] == 5


def test_where_several_share_a_cell_the_worst_counts_and_nothing_is_lost_from_the_counts(stored):
    picture = read_heat_map(stored, "sim", "1h", columns=2, rows=1)

    assert [[Cell(cell) for cell in row] for row in picture.rows] == [[Cell.NOT_STORED, Cell.COMPLETE]]
    assert picture.sessions == [DAYS[0], DAYS[2]] and sum(picture.counts.values()) == 6


def test_the_newest_days_can_be_asked_for(stored):
    assert read_heat_map(stored, "sim", "1h", days=2).sessions == list(DAYS[1:])


def test_of_what_is_not_there_is_no_picture(stored):
    assert read_heat_map(stored, "other", "1h") is None
    assert read_heat_map(stored, "sim", "1d") is None


def test_no_file_of_bars_is_opened(stored):
    for file in (stored.store.storage.root / "lake" / "bars_1h").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(GbError):
        stored.bars("A-USD", "1h")

    assert read_heat_map(stored, "sim", "1h").counts[Cell.COMPLETE] == 2


@pytest.mark.parametrize("scale", [1, 3])
def test_the_png_has_a_square_of_its_colour_per_cell(scale):
    picture = imread(io.BytesIO(encode_png([b"\0\1", b"\1\2"], ["#ff0000", "#00ff00", "#0000ff"], scale=scale)))

    assert picture.shape[:2] == (2 * scale, 2 * scale)
    corners = [tuple(picture[row, column][:3]) for row in (0, -1) for column in (0, -1)]
    assert corners == [(1, 0, 0), (0, 1, 0), (0, 1, 0), (0, 0, 1)]
