"""AWS Signature Version 4, by botocore's own signer, at the instant it is given."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from deliverykit.words.errors import ConfigurationError
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
        found = (named.get("access_key_id"), named.get("secret_access_key"), named.get("session_token", ""))
    else:
        session: Any = value
        credentials = session.get_credentials() if hasattr(session, "get_credentials") else None
        if credentials is None:
            return None
        # Frozen, so that key and token are of one moment even while they are being renewed.
        now = credentials.get_frozen_credentials()
        found = (now.access_key, now.secret_key, now.token or "")
    access, secret, token = found
    if not (isinstance(access, str) and isinstance(secret, str) and isinstance(token, str)):
        return None
    return Keys(access=access, secret=secret, token=token)


def signed(request: HttpRequest, keys: Keys, *, service: str, region: str, now: int) -> HttpRequest:
    """The request with its signature, dated ``now`` (UTC ms). Raises ``ConfigurationError`` where botocore is not installed.

    botocore's ``add_auth`` is taken apart: it reads the wall clock and logs the session token.
    """
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise ConfigurationError("Amazon SES needs botocore to sign its requests: pip install 'deliverykit[ses]'") from None
    signer: Any = SigV4Auth(Credentials(keys.access, keys.secret, keys.token or None), service, region)
    date = datetime.fromtimestamp(now // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    token = {"X-Amz-Security-Token": keys.token} if keys.token else {}
    headers = {**request.headers, "X-Amz-Date": date, **token}
    aws: Any = AWSRequest(method=request.method, url=request.url, data=request.body, headers=headers)
    aws.context["timestamp"] = date
    signature = signer.signature(signer.string_to_sign(aws, signer.canonical_request(aws)), aws)
    names = signer.signed_headers(signer.headers_to_sign(aws))
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={signer.scope(aws)}, SignedHeaders={names}, Signature={signature}"
    return HttpRequest(method=request.method, url=request.url, headers=headers, body=request.body)
