"""This module says what is wrong with settings in a person's words, and which spelling was probably meant.

Pydantic finds what is wrong; nothing is accepted or changed here. No message quotes a value: it may be a password in the wrong
place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin
from zoneinfo import available_timezones

from gb_pipeline.market.spelling import did_you_mean, list_some, near_names

if TYPE_CHECKING:
    # A lake is read without its settings being validated.
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

# Of one file: whoever corrects these finds the others.
_MOST = 5
_FEW_NAMES = 12
_CHOICES = frozenset({"enum", "literal_error"})


def describe_problems(
    error: ValidationError,
    model: type[BaseModel],
    *,
    hidden: Sequence[str] = (),
    mappings: Mapping[str, type[BaseModel]] | None = None,
) -> str:
    """What is wrong, each with its place and the spelling that was probably meant, in one sentence.

    Args:
        error: of the validation.
        model: that was validated.
        hidden: fields that nobody writes.
        mappings: models of fields that may also be written as a mapping, by the field's name.

    Example:
        >>> describe_problems(error, Settings)
        'sources.mine.calender is no setting (did you mean calendar?)'
    """
    lines = [_describe(item, model, hidden, mappings or {}) for item in error.errors()]
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "; ".join([*lines[:_MOST], *more])


def suggest_zone(text: str, otherwise: str) -> str:
    """What to do about a name that is no time zone."""
    return did_you_mean(near_names(text, sorted(available_timezones()), 3), otherwise)


def suggest(name: str, names: Sequence[str], what: str) -> str:
    """What to do about a name that is not among some: which one was probably meant, and which there are.

    Example:
        >>> suggest("cvs", ["ccxt", "csv"], "use one of")
        'did you mean csv? use one of ccxt, csv'
    """
    return f"{did_you_mean(near_names(name, names, 3))} {what} {list_some(names, 30) or 'none yet'}".strip()


def _describe(
    item: ErrorDetails, model: type[BaseModel], hidden: Sequence[str], mappings: Mapping[str, type[BaseModel]]
) -> str:
    place = ".".join(str(part) for part in item["loc"])
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        names = [name for name in _names_at(model, item["loc"][:-1], mappings) if name not in hidden]
        listed = f"; there is {', '.join(names)}" if 0 < len(names) <= _FEW_NAMES else ""
        return _with_hint(f"{place} is no setting", did_you_mean(near_names(str(item["loc"][-1]), names)), listed)
    if kind == "missing":
        return f"{place} is missing"
    if kind in _CHOICES:
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        near = near_names(str(item["input"]), choices) if isinstance(item["input"], str) else []
        return _with_hint(f"{place} is not one of {', '.join(choices)}", did_you_mean(near))
    if kind == "value_error":
        return f"{place}: {context['error']}".removeprefix(": ")
    return f"{place}: {item['msg'][:1].lower()}{item['msg'][1:]}"


def _with_hint(text: str, hint: str, otherwise: str = "") -> str:
    return f"{text} ({hint})" if hint else text + otherwise


def _names_at(model: type[BaseModel], place: Sequence[int | str], mappings: Mapping[str, type[BaseModel]]) -> list[str]:
    """The settings that there are at a place."""
    from pydantic import BaseModel

    kinds: list[Any] = [model]
    for part in place:
        kinds = [inner for kind in kinds for inner in _step(kind, part, mappings)]
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [field.alias or name for kind in models for name, field in kind.model_fields.items()]


def _step(kind: Any, part: int | str, mappings: Mapping[str, type[BaseModel]]) -> Iterator[Any]:
    """The types that can stand at a key or a position of a type."""
    from pydantic import BaseModel

    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: (name, field) for name, field in kind.model_fields.items()}
        if part in fields:
            name, field = fields[str(part)]
            yield from _alternatives(field.annotation)
            yield from [mappings[name]] if name in mappings else []
    elif get_origin(kind) is dict:
        yield from _alternatives(get_args(kind)[1])
    elif get_origin(kind) in {tuple, list} and isinstance(part, int):
        yield from _alternatives(get_args(kind)[0])


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is None or get_origin(kind) in {dict, tuple, list}:
        yield kind
    else:
        for inner in get_args(kind):
            yield from _alternatives(inner)
