"""The log has a bounded size and bounded lines, and a disk that is full costs lines and nothing else."""

from __future__ import annotations

from pathlib import Path

from gb_pipeline.dagster_runtime.log_file import LogFile, shorten


def test_a_full_file_starts_anew_and_only_so_many_older_ones_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", most_bytes=100, older_files=2)
    for number in range(100):
        log.write(f"line {number:02}")

    kept = {file.name: file.read_text(encoding="utf-8").splitlines() for file in tmp_path.iterdir()}
    assert sorted(kept) == ["log", "log.1", "log.2"]
    assert all(sum(len(line) + 1 for line in lines) <= 100 for lines in kept.values())
    in_order = [*kept["log.2"], *kept["log.1"], *kept["log"]]
    assert in_order == [f"line {number:02}" for number in range(100 - len(in_order), 100)]


def test_a_long_line_keeps_its_two_ends_and_no_line_its_colours(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write("\x1b[32mSubmitted run\x1b[0m of " + "sim/bars_1m/BTC-USDT, " * 500 + "2024-01-01 to 2024-01-30")

    line = (tmp_path / "log").read_text(encoding="utf-8")
    assert line.startswith("Submitted run of sim/") and line.endswith("2024-01-01 to 2024-01-30\n")
    assert len(line) < 1000
    assert shorten("as it is") == "as it is"


def test_a_file_that_cannot_be_written_costs_lines_and_says_how_many(tmp_path: Path) -> None:
    echoed: list[str] = []
    log = LogFile(tmp_path / "later" / "log", echo=echoed.append)
    assert log.problem() == "No such file or directory"
    log.write("first")
    log.write("second")
    (tmp_path / "later").mkdir()
    log.write("third")

    assert log.problem() == ""
    assert echoed == ["first", "second", "third"]
    text = (tmp_path / "later" / "log").read_text(encoding="utf-8")
    assert text == "... 2 lines are lost: the file could not be written\nthird\n"
