"""A lake on another machine, asked over HTTP with the methods of `Lake`.

`remote` has the methods and `results` those of `Results`, `arguments` what is sent for their keywords, `transport` the connection,
and `uploads` what sends bars.
"""

from __future__ import annotations

from gb_pipeline.client.remote import RemoteLake
from gb_pipeline.client.results import RemoteResults

__all__ = ["RemoteLake", "RemoteResults"]
