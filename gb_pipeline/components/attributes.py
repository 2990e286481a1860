"""What may stand under `attributes` of a `MarketDataset`: the settings of a source, each of which may also be a template.

Names, types, defaults and descriptions are those of `SourceSettings`; here is only what its validators accept besides, so that
`dg check yaml` and editors know it without loading any code.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import dagster as dg
from pydantic import BaseModel, Field, create_model

from gb_pipeline.config.source_settings import SourceSettings
from gb_pipeline.config.symbols.spec import SymbolSettings, SymbolsSpec

# `{{ env.NAME }}` of Dagster or `${NAME}` of gb.yaml.
_Template = Annotated[str, Field(pattern=r"\{\{.*\}\}|\$\{.*\}", description="a template")]
_WIDER: dict[str, Any] = {
    "name": str | None,
    "symbols": list[str | SymbolSettings] | SymbolsSpec | _Template,
    "resolutions": str | list[str] | None,
}
_NAME = "the source's short name (a-z, 0-9, _), first part of every asset key; by default the name of the folder"


@cache
def attributes_model() -> type[BaseModel]:
    """The model whose JSON schema `dg` shows and checks; unknown names are refused."""
    fields: dict[str, Any] = {}
    for name, field in SourceSettings.model_fields.items():
        kind = _WIDER.get(name) or (str if field.annotation is str else field.annotation | _Template)
        default = ... if field.is_required() else None if field.default_factory else field.default
        if name in _WIDER and default is not ...:
            # What it says is in the description; the model only has to know that it may be left out.
            default = None
        fields[name] = (
            kind,
            Field(default=None if name == "name" else default, description=field.description or _NAME),
        )
    model: type[BaseModel] = create_model("MarketDatasetAttributes", __base__=dg.Model, **fields)
    return model
