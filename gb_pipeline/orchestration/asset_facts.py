"""This module says what Dagster's page knows of the assets of a group without a run: owners, where they lie, what made them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.providers.registry import find_problem
from gb_pipeline.storage.address import Storage

# What makes the bars of any source, for whoever wants to read it.
_CODE = Path(__file__).parent / "assets" / "bars.py"


@dataclass(frozen=True)
class AssetFacts:
    """What is the same for every asset of a group.

    Attributes:
        owners: e-mail addresses, and teams as `team:data`.
        metadata: the address of the table, and links to what says how it is made.
        problem: why nothing can be asked of the source's provider; empty where it can.
    """

    owners: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def describe(self, text: str) -> str:
        """The description of an asset, which begins with the problem where there is one."""
        return f"**Nothing can be fetched: {self.problem}.**\n\n{text}" if self.problem else text

    @classmethod
    def of(cls, settings: Settings, group: SeriesGroup) -> AssetFacts:
        """What gb.yaml says of a group.

        Example:
            >>> AssetFacts.of(settings, SeriesGroup.of(settings, "coinbase", "1m")).owners
            ('team:data',)
        """
        references = [
            dg.LocalFileCodeReference(
                file_path=str(settings.path),
                line_number=_find_line(settings.path, group.source.name),
                label=f"{settings.path.name}: {group.source.name}",
            ),
            dg.LocalFileCodeReference(file_path=str(_CODE), line_number=1, label="how bars are fetched"),
        ]
        problem = find_problem(group.source)
        return cls(
            problem="" if problem is None else f"{problem.what}; {problem.fix}",
            owners=group.source.owners or settings.owners,
            metadata={
                "dagster/uri": Storage.at(settings.lake, state=settings.state).table(group.table),
                "dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references),
            },
        )


NO_FACTS = AssetFacts()


def describe_columns(schema: pa.Schema) -> dg.TableSchema:
    """A table's columns with their meanings, as the page shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=(field.metadata or {}).get(b"comment", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def _find_line(file: Path, source: str) -> int:
    """Where a source begins in gb.yaml; the first line where it is written in some other way."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pattern = re.compile(rf"""\s+["']?{re.escape(source)}["']?\s*:""")
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)
