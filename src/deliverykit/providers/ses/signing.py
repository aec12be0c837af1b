"""AWS Signature Version 4, at the instant it is given. Held to botocore's own signer, byte by byte, in the tests.

Source: AWS's "Create a signed AWS API request", read 2026-11-23.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import field, frozen

from deliverykit.words.credentials import Secret
from deliverykit.words.wire import HttpRequest

__all__ = ["Keys", "keys_of", "signed"]


@frozen(kw_only=True)
class Keys:
    """What signs a request; ``token`` belongs to temporary keys."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def keys_of(value: object) -> Keys | None:
    """The keys in a boto3 session (which may ask its own sources for them) or in a mapping; ``None`` where there are none.

    A mapping names them as the fields of ``SES``, with or without ``aws_`` before them.
    """
    if isinstance(value, Mapping):
        named = {str(name).lower().removeprefix("aws_"): text for name, text in value.items() if text}
        given = (named.get("access_key_id"), named.get("secret_access_key"), named.get("session_token", ""))
        access, secret, token = (one.reveal() if isinstance(one, Secret) else one for one in given)
    else:
        session: Any = value
        credentials = session.get_credentials() if hasattr(session, "get_credentials") else None
        if credentials is None:
            return None
        # Frozen, so that key and token are of one moment even while they are being renewed.
        now = credentials.get_frozen_credentials()
        access, secret, token = now.access_key, now.secret_key, now.token or ""
    if not (isinstance(access, str) and isinstance(secret, str) and isinstance(token, str)):
        return None
    return Keys(access=access, secret=secret, token=token)


def signed(request: HttpRequest, keys: Keys, *, service: str, region: str, now: int) -> HttpRequest:
    """The request with its signature, dated ``now`` (UTC ms): over its method, address, every header, and body."""
    date = datetime.fromtimestamp(now // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    token = {"X-Amz-Security-Token": keys.token} if keys.token else {}
    headers = {**request.headers, "X-Amz-Date": date, **token}
    host, path, query = _place(request.url)
    lines = sorted([("host", host), *((name.lower(), " ".join(value.split())) for name, value in headers.items())])
    names = ";".join([name for name, _ in lines])
    stated = "".join([f"{name}:{value}\n" for name, value in lines])
    asked = f"{request.method}\n{path}\n{query}\n{stated}\n{names}\n{hashlib.sha256(request.body).hexdigest()}"
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(keys.secret, date[:8], region, service), text.encode(), hashlib.sha256).hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return HttpRequest(method=request.method, url=request.url, headers=headers, body=request.body)


@lru_cache(64)
def _place(url: str) -> tuple[str, str, str]:
    """Host, path and query as they are signed: as they travel, the query in order."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    standard = parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme))
    pairs = sorted(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
    return (
        host if standard else f"{host}:{parts.port}",
        quote(parts.path or "/", safe="/~"),
        "&".join(f"{name}={value}" for name, value in pairs),
    )


@lru_cache(64)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The same for all requests of a day."""
    key = f"AWS4{secret}".encode()
    for step in (day, region, service, "aws4_request"):
        key = hmac.digest(key, step.encode(), hashlib.sha256)
    return key
