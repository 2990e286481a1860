"""This module asks a running page to load its definitions anew, so that assets appear which came after it was started.

`gb up` names its page to every process of its own in `PAGE`. A page elsewhere may be guarded: there a person reloads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gb_pipeline.dagster_runtime.client import DagsterClient, DagsterError

PAGE = "GB_PAGE"
BY_HAND = "reload the code location on the page's Deployment tab, or start `gb up` again"

_LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { name } } } }"
LOAD_ERROR = "locationOrLoadError { __typename ... on PythonError { message errorChain { error { message } } } }"
_RELOAD = f"""mutation Reload($name: String!) {{ reloadRepositoryLocation(repositoryLocationName: $name) {{
  __typename
  ... on WorkspaceLocationEntry {{ {LOAD_ERROR} }}
  ... on UnauthorizedError {{ message }} ... on ReloadNotSupported {{ message }}
  ... on RepositoryLocationNotFound {{ message }} }} }}"""


def request_reload(page: str | None = None) -> str:
    """Load the definitions of a page anew. Runs that are under way go on.

    Args:
        page: its address; by default the one that this process belongs to.

    Returns:
        A sentence: what was done, or what a person has to do.
    """
    page = page or os.environ.get(PAGE)
    if not page:
        return f"no page is known to this process: {BY_HAND}"
    try:
        with DagsterClient(page) as client:
            entries = client.graphql(_LOCATIONS)["workspaceOrError"].get("locationEntries", [])
            for entry in entries:
                answer = client.graphql(_RELOAD, name=entry["name"])["reloadRepositoryLocation"]
                if failed := answer.get("message") or find_load_error(answer):
                    reason = failed.strip()[:200]
                    return f"the definitions of {entry['name']} could not be loaded anew ({reason}): {BY_HAND}"
    except DagsterError as error:
        return f"{error.what}: {BY_HAND}"
    return "the definitions are loaded anew" if entries else f"the page has no code location: {BY_HAND}"


def find_load_error(entry: Mapping[str, Any]) -> str | None:
    """Why a code location does not load, as the page has it; None where it does.

    Args:
        entry: of the location, with the fields of `LOAD_ERROR`.
    """
    problem = entry.get("locationOrLoadError") or {}
    if problem.get("__typename") != "PythonError":
        return None
    # The last of the chain is what our own code said.
    return [str(problem["message"]), *(str(link["error"]["message"]) for link in problem["errorChain"])][-1].strip()
