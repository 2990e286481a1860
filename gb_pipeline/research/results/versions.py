"""This module lists strategies, versions and their runs, and knows which runs a short name means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.research.results.index import RunIndex
from gb_pipeline.research.results.loading import find_run
from gb_pipeline.research.results.notes import Note, Notes, Target
from gb_pipeline.research.results.run import RunName, RunState, check_text
from gb_pipeline.research.results.segments import Segment


def runs_of(index: RunIndex, strategy: str) -> pl.DataFrame:
    """What the index has of the runs of a strategy, in the order in which they became known.

    Raises:
        LakeError: there is none.
    """
    found = [
        segment.runs[rows] for segment in index.segments() if len(rows := segment.postings["strategy"].rows(strategy))
    ]
    if not found:
        known = list_strategies(index.segments())["strategy"].to_list()
        raise LakeError(
            f"there is no strategy {strategy!r:.80} in these results",
            fix=did_you_mean(near_names(str(strategy), known[:20_000]), "see `gb results list`"),
        )
    return pl.concat(found).sort("known_at", maintain_order=True)


def list_strategies(segments: Sequence[Segment]) -> pl.DataFrame:
    """Strategies with the number of their runs and versions, sorted."""
    kinds = {"strategy": pl.String(), "version": pl.String(), "started_at": pl.Datetime("us", "UTC")}
    parts = [segment.runs.select(list(kinds)) for segment in segments]
    return (
        pl.concat([pl.DataFrame(schema=kinds), *parts])
        .group_by("strategy")
        .agg(
            pl.len().cast(pl.Int64).alias("runs"),
            pl.col("version").n_unique().cast(pl.Int64).alias("versions"),
            pl.col("started_at").max().alias("last"),
        )
        .sort("strategy")
    )


def list_versions(index: RunIndex, notes: Notes, strategy: str) -> pl.DataFrame:
    """The versions of a strategy; see `Results.manage_versions`."""
    state = pl.col("state")
    listed = (
        runs_of(index, strategy)
        .group_by("version", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("runs"),
            (state == RunState.SUCCEEDED.value).sum().cast(pl.Int64).alias("succeeded"),
            (state == RunState.FAILED.value).sum().cast(pl.Int64).alias("failed"),
            pl.col("started_at").min().alias("first"),
            pl.col("started_at").max().alias("last"),
        )
        .sort("first", "version")
    )
    names = listed["version"].to_list()
    return listed.with_columns(
        pl.Series("tags", [notes.tags((strategy, name, None)) for name in names], pl.List(pl.String)),
        pl.Series("retired", [notes.reason_retired((strategy, name, None)) for name in names], pl.String),
    )


def existing_target(index: RunIndex, strategy: str, version: str, run_id: str | None) -> Target:
    """A version or a run that there is.

    Raises:
        LakeError: there is none.
    """
    if run_id is not None:
        find_run(index, RunName(strategy, version, run_id))
    else:
        known = runs_of(index, strategy)["version"].unique().to_list()
        if version not in known:
            raise LakeError(
                f"{strategy} has no version {version!r:.80}",
                fix=did_you_mean(near_names(str(version), known), "see `gb results list`"),
            )
    return strategy, version, run_id


def notes_of(
    index: RunIndex, strategy: str, version: str | None, run_id: str | None, changes: Mapping[str, str | None]
) -> list[Note]:
    """Notes that say what is to be changed; none where nothing is.

    Raises:
        ConfigError: no version is named, or a reason is empty.
        LakeError: there is no such version or run.
    """
    wanted = {kind: text for kind, text in changes.items() if text is not None}
    if not wanted:
        return []
    if version is None:
        raise ConfigError(f"which version of {strategy} is to change was not said", fix="name it: version=...")
    if {"retire", "restore"} <= set(wanted):
        raise ConfigError("a version cannot be retired and restored at once", fix="leave one out")
    target = existing_target(index, strategy, version, run_id)
    notes = []
    for kind, text in wanted.items():
        if kind in {"tag", "untag"}:
            notes.append(Note(*target, kind, check_text(text, "a tag")))
        else:
            if not text.strip():
                raise ConfigError(f"no reason was given to {kind} {strategy}/{version}", fix="say why, in a few words")
            notes.append(Note(*target, kind, None, text))
    return notes


def run_of(index: RunIndex, notes: Notes, name: RunName | str) -> RunName:
    """The run that is named, or the last one of `strategy/version` that succeeded and is not retired.

    Raises:
        LakeError: there is none.
    """
    if isinstance(name, str) and name.count("/") == 1:
        strategy, version = name.split("/")
        existing_target(index, strategy, version, None)
        runs = runs_of(index, strategy).filter(
            (pl.col("version") == version) & (pl.col("state") == RunState.SUCCEEDED.value)
        )
        for run_id in runs.sort("started_at", maintain_order=True)["run_id"].reverse().to_list():
            if notes.reason_retired((strategy, version, run_id)) is None:
                return RunName(strategy, version, run_id)
        raise LakeError(f"no run of {strategy} {version} succeeded", fix="name a run: strategy/version/run_id")
    return RunName.parse(name)


def with_metrics(found: pl.DataFrame, segments: Sequence[Segment]) -> pl.DataFrame:
    """Rows of an answer, and a column for each metric that one of them has."""
    kept = found.with_row_index("place")
    values = []
    for (number,), part in kept.partition_by("segment", as_dict=True).items():
        postings = segments[int(number)].postings["metric"]
        for name in postings.names["name"].to_list():
            entries = postings.of(name)
            rows = entries["row"].to_numpy()
            places = rows.searchsorted(part["row"].to_numpy())
            inside = places < len(rows)
            hit = inside.copy()
            hit[inside] = rows[places[inside]] == part["row"].to_numpy()[inside]
            if hit.any():
                values.append(
                    pl.DataFrame(
                        {"place": part["place"].filter(pl.Series(hit)), "value": entries["value"].gather(places[hit])}
                    ).with_columns(pl.lit(f"metrics.{name}").alias("name"))
                )
    answer = kept.drop("segment", "row")
    if values:
        wide = pl.concat(values).pivot(on="name", index="place", values="value")
        names = sorted(name for name in wide.columns if name != "place")
        answer = answer.join(wide.select("place", *names), on="place", how="left", maintain_order="left")
    return answer.drop("place")
