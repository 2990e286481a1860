"""This module signs requests to Kalshi: RSA-PSS with SHA-256 over time, method and path, in three headers.

https://docs.kalshi.com/getting_started/api_keys. The private key is read when something is signed, and never shown.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gb_pipeline.errors import ConfigError

_FIX = "make a key on https://kalshi.com/account/profile, and give its file as `private_key_file`, or its text as `private_key`"


def sign(key_id: str, private_key: Any, method: str, path: str, milliseconds: int) -> dict[str, str]:
    """Headers of one request.

    Args:
        key_id: of the account page.
        private_key: as of `load_private_key`.
        method: GET.
        path: without a query.
        milliseconds: now, since 1970 UTC; Kalshi refuses what is some seconds off.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
    signature = private_key.sign(f"{milliseconds}{method}{path}".encode(), scheme, hashes.SHA256())
    return {
        "KALSHI-ACCESS-KEY": key_id,
        "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode("ascii"),
        "KALSHI-ACCESS-TIMESTAMP": str(milliseconds),
    }


def load_private_key(source: str, text: Callable[[], str] | None, file: Callable[[], str] | None) -> Any:
    """The RSA key of a stream.

    Args:
        source: name of the stream, for messages.
        text: opens the option `private_key`: PEM in one line, with `\\n` or nothing between its lines; None where it is not given.
        file: opens the option `private_key_file`; likewise.

    Raises:
        ConfigError: neither or both are given, the file cannot be read, or it is no RSA key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if (text is None) == (file is None):
        raise ConfigError(f"stream {source} needs one of private_key and private_key_file", fix=_FIX)
    try:
        if file is not None:
            key = serialization.load_pem_private_key(Path(file()).expanduser().read_bytes(), None)
        else:
            assert text is not None
            body = "".join(part for part in text().replace("\\n", "\n").split("-----") if " KEY" not in part)
            key = serialization.load_der_private_key(base64.b64decode("".join(body.split()), validate=True), None)
    except OSError as error:
        raise ConfigError(
            f"the private_key_file of stream {source} cannot be read: {error.strerror}",
            fix="correct its path or its mode",
        ) from None
    except (ValueError, TypeError):
        # What such errors say may hold parts of the key.
        raise ConfigError(f"the private key of stream {source} cannot be read, or needs a password", fix=_FIX) from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError(f"the private key of stream {source} is not an RSA key", fix=_FIX)
    return key
