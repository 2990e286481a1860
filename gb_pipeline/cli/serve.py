"""`gb serve` answers other programs and browsers over HTTP; `api` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gb_pipeline.cli.options import Config, LakeFolder, open_lake, project_of
from gb_pipeline.cli.output import ExitCode
from gb_pipeline.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need a token first.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 8321,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name by which it may be called, such as that of a proxy.", show_default=False),
    ] = None,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Refuse who brings no token, also while there are none.")
    ] = False,
    dagster_url: Annotated[
        str | None,
        typer.Option(help="Address of Dagster's page, to which the page in the browser links.", show_default=False),
    ] = None,
    requests_per_second: Annotated[
        float, typer.Option(help="How often one token may ask; four times as often per address.")
    ] = 50.0,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write the URL to this file as soon as it answers.", show_default=False)
    ] = None,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Serve the lake over HTTP, to programs and to a browser.

    A browser shows it at http://127.0.0.1:8321/page/ until Ctrl-C or SIGTERM. Bars, coverage, gaps, restatements, SQL and uploads
    are below http://127.0.0.1:8321/v1; /v1/openapi.json describes all of it. Downloads that run when it is stopped may end.

    Without a token, and only while none was made, programs of this machine may read; to write, make one with
    `gb token create NAME --scope write`.
    """
    try:
        from gb_pipeline.api.options import ServeOptions
        from gb_pipeline.api.serving import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"fastapi", "uvicorn", "starlette"}:
            raise
        raise ConfigError(
            f"the server needs {error.name}, which is not installed", fix="pip install 'gb_pipeline[serve]'"
        ) from None
    options = ServeOptions(
        host=host,
        port=port,
        allowed_hosts=tuple(allow_host or ()),
        require_token=require_token,
        dagster_url=dagster_url,
        requests_per_second=requests_per_second,
        burst=max(1, int(requests_per_second * 4)),
    )
    opened = open_lake(config, lake)
    run(opened, options, settings=project_of(opened, config), ready_file=ready_file)
    return ExitCode.OK
