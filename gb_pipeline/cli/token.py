"""`gb token` makes, lists and revokes the tokens of `gb serve`; `api.tokens` keeps them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, lake_address_of, parse_moment
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from gb_pipeline.api.tokens import Token, TokenStore

_STYLES = {"valid": "green", "expired": "yellow", "revoked": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tokens = typer.Typer(help="Who may ask `gb serve`, and for what.", no_args_is_help=True)
    tokens.command("create")(create)
    tokens.command("list")(list_tokens)
    tokens.command("revoke")(revoke)
    app.add_typer(tokens, name="token")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom or what it is for.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: read, write, sql or admin; may be repeated. read by default.", show_default=False
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends, such as +90d or 2027-01-31; never by default.", show_default=False),
    ] = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Make a token and print it.

    It is shown this once: only its hash is stored. As soon as there is one, every request needs a token. Send it as
    `Authorization: Bearer gb_...`.
    """
    token, text = _store(config, lake).create(name, scope or ["read"], expires=parse_moment(expires))
    if as_json:
        print_json({**_describe(token), "token": text})
        return ExitCode.OK
    note(f"{token.id} for {name} may {', '.join(token.scopes)}; it is shown this once:")
    typer.echo(text)
    return ExitCode.OK


def list_tokens(config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """List all tokens that were made, without what only their owners know."""
    tokens = [_describe(token) for token in _store(config, lake).list()]
    if as_json:
        print_json(tokens)
    elif tokens:
        headings = ["id", "name", "scopes", "state", "created", "expires"]
        rows = [[", ".join(row[key]) if key == "scopes" else row[key] for key in headings] for row in tokens]
        print_table(headings, rows, styles=_STYLES)
    else:
        note("no token was made; programs of this machine may read")
    return ExitCode.OK


def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="As `gb token list` shows it.", show_default=False)],
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Let a token be refused from the next request on, also by servers that run."""
    token = _store(config, lake).revoke(id)
    note(f"{token.id} for {token.name} is revoked")
    return ExitCode.OK


def _store(config: Path | None, lake: Path | None) -> TokenStore:
    from gb_pipeline.api.tokens import TokenStore
    from gb_pipeline.reading.opening import about_lake
    from gb_pipeline.storage.address import Storage

    root = lake_address_of(config, lake)
    return TokenStore(Storage.at(root, state=about_lake(root, config)[0]).state)


def _describe(token: Token) -> dict[str, Any]:
    now = datetime.now(UTC)
    state = "revoked" if token.revoked else "valid" if token.is_valid(now) else "expired"
    scopes = [scope.value for scope in token.scopes]
    return {
        "id": token.id,
        "name": token.name,
        "scopes": scopes,
        "state": state,
        "created": token.created,
        "expires": token.expires,
    }
