"""This module adds symbols to a source and takes them out, wherever its symbols are written down.

It decides which file changes and how. Asking the vendor is in `vendor_lists`; what is stored always stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gb_pipeline.config import strict_yaml
from gb_pipeline.config.settings import SourcePlace
from gb_pipeline.config.symbols import symbol_file
from gb_pipeline.config.symbols.resolved import Universe
from gb_pipeline.config.symbols.spec import canonical
from gb_pipeline.config.symbols.table import write_whole
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.universe import yaml_edit

# A line that begins another document than the first one.
_DOCUMENTS = re.compile(r"(?<=\n)---(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Edited:
    """What was changed: the file, where in it (empty for a file of symbols), and which codes."""

    path: Path
    where: str
    codes: tuple[str, ...]


def add(place: SourcePlace, universe: Universe, asset_class: AssetClass, codes: Sequence[str]) -> list[Edited]:
    """Give a source symbols that it has not.

    They go into its file of symbols where it has one, and else into the list of the source: what a discovery or a
    point-in-time list does not hold stands there. What was excluded is excluded no more.

    Args:
        place: where the source is written: gb.yaml, or a `defs.yaml`.
        universe: the source's.
        asset_class: the source's.
        codes: canonical, none of them a symbol of the source.

    Raises:
        ConfigError: the file cannot be changed.
    """
    if universe.kind == "file" and universe.path is not None:
        symbol_file.add(universe.path, codes)
        return [Edited(universe.path, "", tuple(codes))]
    text, config = _read_text(place.file), place.file
    symbols = _read_symbols(text, place)
    keys: tuple[str, ...] = (*place.keys, "symbols")
    if not isinstance(symbols, dict):
        write_whole(config, yaml_edit.add(text, keys, codes))
        return [Edited(config, ".".join(keys), tuple(codes))]
    edited = []
    if excluded_before := [code for code in codes if code in universe.excluded_codes]:
        way = (*keys, universe.kind, "exclude")
        excluded = symbols[universe.kind]["exclude"]
        back = [number for number, item in enumerate(excluded) if _canonical_code(item, asset_class) in excluded_before]
        text = yaml_edit.remove(text, way, back)
        edited.append(Edited(config, ".".join(way), tuple(excluded_before)))
    if rest := [code for code in codes if code not in excluded_before]:
        text = yaml_edit.add(text, (*keys, "list"), rest)
        edited.append(Edited(config, ".".join((*keys, "list")), tuple(rest)))
    write_whole(config, text)
    return edited


def remove(place: SourcePlace, universe: Universe, asset_class: AssetClass, codes: Sequence[str]) -> list[Edited]:
    """Take symbols out of a source; of a discovery or a point-in-time list they are excluded from then on.

    Args:
        place: where the source is written: gb.yaml, or a `defs.yaml`.
        universe: the source's.
        asset_class: the source's.
        codes: canonical, all of them symbols of the source.

    Raises:
        ConfigError: the file cannot be changed, or it names them by a variable.
    """
    config = place.file
    text = before = _read_text(config)
    symbols = _read_symbols(text, place)
    keys: tuple[str, ...] = (*place.keys, "symbols")
    listed = (*keys, "list") if isinstance(symbols, dict) else keys
    items = (symbols.get("list") if isinstance(symbols, dict) else symbols) or []
    read = ((number, _canonical_code(item, asset_class)) for number, item in enumerate(items))
    spelled = {number: code for number, code in read if code is not None and code in codes}
    elsewhere = tuple(code for code in codes if code in universe.file_codes)
    unknown = sorted(set(codes) - set(spelled.values()) - set(elsewhere))
    if unknown:
        raise ConfigError(
            f"{config} does not spell out {', '.join(unknown)}: a variable may stand for it", fix="edit it by hand"
        )
    edited = []
    if spelled:
        text = yaml_edit.remove(text, listed, list(spelled))
        edited.append(Edited(config, ".".join(listed), tuple(spelled.values())))
    if elsewhere and universe.kind == "file" and universe.path is not None:
        symbol_file.remove(universe.path, elsewhere, asset_class)
        edited.append(Edited(universe.path, "", elsewhere))
    elif elsewhere:
        text = yaml_edit.add(text, (*keys, universe.kind, "exclude"), elsewhere)
        edited.append(Edited(config, ".".join((*keys, universe.kind, "exclude")), elsewhere))
    if text != before:
        write_whole(config, text)
    return edited


def _read_text(config: Path) -> str:
    """The file as it is, line ends included."""
    return config.read_bytes().decode("utf-8")


def _read_symbols(text: str, place: SourcePlace) -> Any:
    if len(_DOCUMENTS.findall(text.strip())) > 0:
        raise ConfigError(
            f"{place.file} holds several components", fix="edit it by hand, or give each a file of its own"
        )
    body = strict_yaml.parse(text, str(place.file))
    for key in place.keys:
        body = body[key]
    return body.get("symbols")


def _canonical_code(item: Any, asset_class: AssetClass) -> str | None:
    """The canonical code that an item of a list stands for; None where a variable does."""
    code = item.get("code") if isinstance(item, dict) else item
    kind = item.get("asset_class") if isinstance(item, dict) else None
    try:
        return canonical(str(code), AssetClass(kind or asset_class)).code
    except (GbError, ValueError):
        return None
