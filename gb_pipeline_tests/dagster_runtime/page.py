"""The API of the page, answered in this process: the queries that the page itself sends, over some definitions and an instance."""

# No postponed annotations: Dagster looks at that of `context`.
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.schema import create_schema

_SCHEMA = create_schema()
_METADATA = "metadataEntries { label ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } }"
_ASSET = f"""query($key: AssetKeyInput!, $partitions: [String!]) {{
  assetNodeOrError(assetKey: $key) {{ ... on AssetNode {{
    partitionKeys
    partitionStats {{ numPartitions numMaterialized numMaterializing numFailed }}
    assetPartitionStatuses {{ ... on TimePartitionStatuses {{ ranges {{ startKey endKey status }} }} }}
    latestMaterializationByPartition(partitions: $partitions) {{ partition runId timestamp {_METADATA} }}
    newest: assetMaterializations(limit: 1) {{ partition runId timestamp {_METADATA} }}
    observed: assetObservations(limit: 1) {{ partition runId timestamp {_METADATA} }}
  }} }}
  assetsLatestInfo(assetKeys: [$key]) {{
    latestMaterialization {{ partition runId timestamp }} latestRun {{ id status }} inProgressRunIds unstartedRunIds
  }}
  assetCheckExecutions(assetKey: $key, checkName: "sound", limit: 1) {{ runId status timestamp evaluation {{ success }} }}
}}"""
_PARTITION = f"""query($key: AssetKeyInput!, $partition: String!) {{
  assetNodeOrError(assetKey: $key) {{ ... on AssetNode {{
    latestRunForPartition(partition: $partition) {{ id status }}
    assetMaterializations(partitions: [$partition], limit: 1) {{ runId timestamp {_METADATA} }}
    assetObservations(partitions: [$partition], limit: 1) {{ runId timestamp {_METADATA} }}
  }} }}
}}"""


class Page:
    """Answers."""

    def __init__(self, process: WorkspaceProcessContext) -> None:
        self._process = process

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        context = self._process.create_request_context()
        answer = asyncio.run(_SCHEMA.execute_async(query, context_value=context, variable_values=variables))
        assert not answer.errors, answer.errors
        return dict(answer.data or {})

    def everything(self, key: dg.AssetKey, partitions: list[str]) -> dict[str, Any]:
        """All that the pages of an asset and of each of its days show."""
        one = {"path": list(key.path)}
        answers = {"asset": self.ask(_ASSET, key=one, partitions=partitions)}
        return answers | {each: self.ask(_PARTITION, key=one, partition=each) for each in partitions}


@contextmanager
def open_page(instance: dg.DagsterInstance, file: str, attribute: str) -> Iterator[Page]:
    """The page of the definitions that an attribute of a file holds."""
    target = LoadableTargetOrigin(python_file=file, attribute=attribute)
    origin = InProcessCodeLocationOrigin(loadable_target_origin=target, location_name="here")
    with WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget([origin])) as process:
        yield Page(process)
