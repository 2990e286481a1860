"""A lake on another machine, asked over HTTP with the methods of `Lake`.

`remote` has the methods, `arguments` what is sent for their keywords, `transport` the connection, and `uploads` what sends bars.
"""

from __future__ import annotations

from gb_pipeline.client.remote import RemoteLake

__all__ = ["RemoteLake"]
