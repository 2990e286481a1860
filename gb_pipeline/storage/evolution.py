"""This module says what a table's log tells of its schema, and lets it have columns that were declared after it was made.

Files that are older than a column read as null there. The next commit names the column in the log, so that other engines see it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.dataset import Dataset

# In a table's configuration: the columns that some of its files lack.
ADDED = "gb_pipeline.addedColumns"


def schema_text(dataset: Dataset) -> str:
    """The schema of a declaration as the log has it."""
    from deltalake import Schema

    return str(Schema.from_arrow(dataset.schema).to_json())


def evolved_metadata(dataset: Dataset, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the log has to say of a table from now on; None where it has all declared columns.

    Args:
        dataset: the declaration.
        metadata: the newest `metaData` action of the table.

    Raises:
        LakeError: the table has columns that are not declared, so that whoever rewrites a file would lose them, or columns of
            another type or partition; or a new column is not optional.
    """
    stored = json.loads(metadata["schemaString"])
    declared = {field["name"]: field for field in json.loads(schema_text(dataset))["fields"]}
    known = {field["name"]: field for field in stored["fields"]}
    if list(metadata["partitionColumns"]) != list(dataset.partitions):
        raise LakeError(
            f"table {dataset.name} is partitioned by {', '.join(metadata['partitionColumns'])}, not by"
            f" {', '.join(dataset.partitions)}",
            fix="partitions of a table stay: declare another table",
        )
    if unknown := [name for name in known if name not in declared]:
        raise LakeError(
            f"table {dataset.name} has {_columns(unknown)} that this gb_pipeline does not know, and would lose",
            fix="upgrade gb_pipeline, or open the lake with the declaration that has them; nothing was written",
        )
    if changed := [name for name in known if known[name]["type"] != declared[name]["type"]]:
        name = changed[0]
        raise LakeError(
            f"column {name} of table {dataset.name} is stored as {known[name]['type']}, not as {declared[name]['type']}",
            fix="a column keeps its type: declare another name for the new one",
        )
    new = [name for name in declared if name not in known]
    if required := [name for name in new if not declared[name]["nullable"]]:
        raise LakeError(
            f"table {dataset.name} has rows without {_columns(required)}, which must not be null",
            fix="declare it with nullable=True",
        )
    if not new:
        return None
    configuration = dict(metadata["configuration"])
    added = [*filter(None, configuration.get(ADDED, "").split(",")), *new]
    fields = [*stored["fields"], *(declared[name] for name in new)]
    return {
        **metadata,
        "schemaString": json.dumps({**stored, "fields": fields}, separators=(",", ":")),
        "configuration": {
            **configuration,
            "delta.dataSkippingStatsColumns": ",".join(dataset.indexed),
            ADDED: ",".join(added),
        },
    }


def lacks_columns(dataset: Dataset, metadata: Mapping[str, Any]) -> bool:
    """Whether some files of a table may lack a declared column."""
    if ADDED in metadata["configuration"]:
        return True
    known = {field["name"] for field in json.loads(metadata["schemaString"])["fields"]}
    return not known.issuperset(dataset.schema.names)


def _columns(names: list[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {', '.join(names)}"


def first_actions(dataset: Dataset) -> list[dict[str, Any]]:
    """What the first entry of a table says before anything else: the protocol, its schema and partitions."""
    metadata: Mapping[str, Any] = {
        "id": str(uuid.uuid4()),
        "name": dataset.name,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema_text(dataset),
        "partitionColumns": list(dataset.partitions),
        # Entries are kept until `gb vacuum` removes them: a checkpoint that is damaged is made again from them.
        "configuration": {
            "delta.dataSkippingStatsColumns": ",".join(dataset.indexed),
            "delta.enableExpiredLogCleanup": "false",
        },
    }
    return [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": metadata}]
