"""Checking an AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests")."""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote

from attrs import frozen

from deliverykit.sandbox.account import Account
from deliverykit.sandbox.wire import Request

__all__ = ["Claim", "check", "claim"]

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([A-Za-z0-9]{4,128})/(\d{8})/([^/,\s]*)/([^/,\s]*)/([^/,\s]*)\s*,"
    r"\s*SignedHeaders=([a-z0-9;_-]+)\s*,\s*Signature=([0-9a-f]{64})"
)
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_SKEW = 5 * 60 * 1000


@frozen
class Claim:
    """What an Authorization header says."""

    key: str
    date: str
    region: str
    service: str
    end: str
    signed: tuple[str, ...]
    signature: str


def claim(header: str) -> Claim | None:
    """The Authorization header taken apart; ``None`` where it is malformed."""
    match = _AUTHORIZATION.fullmatch(header.strip())
    if match is None:
        return None
    key, date, region, service, end, signed, signature = match.groups()
    return Claim(key, date, region, service, end, tuple(signed.split(";")), signature)


def check(found: Claim, request: Request, account: Account) -> tuple[str, str] | None:
    """AWS's error code and text for what is wrong; ``None`` where nothing is, or the secret is unknown."""
    sent = request.header("x-amz-date")
    if scope := _scope_problem(found, sent):
        return scope
    unsigned = {name for name in request.headers if name.startswith("x-amz-")} - set(found.signed)
    if "host" not in found.signed:
        return _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    if unsigned:
        return _invalid(f"'{min(unsigned)}' must be a 'SignedHeader' in the AWS Authorization.")
    if account.check_clock and (late := _skew_problem(sent, account.now)):
        return late
    if not account.knows(found.key):
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    secret = account.secrets.get(found.key)
    if secret is not None and not hmac.compare_digest(_signature(found, request, sent, secret), found.signature):
        return _invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
            "and signing method. Consult the service documentation for details."
        )
    return None


def _invalid(text: str) -> tuple[str, str]:
    return "InvalidSignatureException", text


def _scope_problem(found: Claim, sent: str) -> tuple[str, str] | None:
    if not re.fullmatch(r"\d{8}T\d{6}Z", sent):
        return "IncompleteSignatureException", (
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if found.date != sent[:8]:
        return _invalid(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{found.date}' != "
            f"'{sent[:8]}', from '{sent}'."
        )
    if not _REGION.fullmatch(found.region):
        return _invalid("Credential should be scoped to a valid region.")
    if found.service != "ses":
        return _invalid("Credential should be scoped to correct service: 'ses'.")
    if found.end != "aws4_request":
        return _invalid(f"Credential should be scoped with a valid terminator: 'aws4_request', not '{found.end}'.")
    return None


def _skew_problem(sent: str, now: int) -> tuple[str, str] | None:
    try:
        at = round(datetime.strptime(sent, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return "IncompleteSignatureException", f"Date must be in ISO-8601 'basic format'. Got '{sent}'."
    if now - at > _SKEW:
        return _invalid(f"Signature expired: {sent} is now earlier than {_basic(now - _SKEW)} ({_basic(now)} - 5 min.)")
    if at - now > _SKEW:
        return _invalid(f"Signature not yet current: {sent} is still later than {_basic(now + _SKEW)} ({_basic(now)} + 5 min.)")
    return None


def _basic(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=64)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (date, region, service, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def _encoded(text: str) -> str:
    """Percent-encoded as AWS does it: a plus sign is a plus sign."""
    return quote(unquote(text), safe="-_.~")


def _signature(found: Claim, request: Request, sent: str, secret: str) -> str:
    pairs = (pair.partition("=") for pair in request.query.split("&") if pair)
    query = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    headers = "".join(f"{name}:{re.sub(' +', ' ', request.header(name)).strip()}\n" for name in found.signed)
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            headers,
            ";".join(found.signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{found.date}/{found.region}/{found.service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{sent}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(_signing_key(secret, found.date, found.region, found.service), text.encode(), "sha256").hexdigest()
