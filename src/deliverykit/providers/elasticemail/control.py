"""Asking Elastic Email about a key: ``GET /v4/domains``, then the older ``/v2/account/load`` for what the account may send.

Source: Elastic Email's OpenAPI description (v4, May 2026) and ``error-handling.md`` of its examples; for v2, where v4 has
no such call, its client ElasticEmail.WebApiClient (which posts a form). Read 2026-11-23, not tried against the live API.
"""

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from deliverykit.contracts.checking import asks_to_wait, unclear
from deliverykit.words.checks import CheckProblem, CheckReport
from deliverykit.words.credentials import revealed
from deliverykit.words.errors import TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from deliverykit.providers.elasticemail.send import ElasticEmail

__all__ = ["checked"]

_NAMED = 5
_SHOWN = {
    "Account": "StatusFormatted",
    "Daily limit": "DailySendLimit",
    "Credits": "EmailCredits",
    "Reputation": "Reputation",
}


def checked(server: "ElasticEmail") -> Generator[HttpRequest, HttpResponse, CheckReport]:
    """The domains, which need the access level ``ViewSettings``; then the account."""
    base, key = server.base_url.rstrip("/"), server.api_key  # revealed in no local: tools show those of a traceback
    response = yield HttpRequest(method="GET", url=f"{base}/v4/domains", headers={"X-ElasticEmail-ApiKey": revealed(key)})
    domains = response.json()
    if response.status != 200 or not isinstance(domains, list) or not all(isinstance(one, Mapping) for one in domains):
        return _refused(server, response)
    verified = [str(one.get("Domain")) for one in domains if one.get("Spf") is True and one.get("Dkim") is True]
    facts = {"Verified domains": _listed(verified)}
    problems = []
    if not verified:
        problems.append(
            CheckProblem(
                what="no domain of this account has both SPF and DKIM verified",
                mend="verify the domain of your From under Settings, Domains; mail from any other is refused when it is sent",
            )
        )
    try:
        answer = yield HttpRequest(
            url=f"{base}/v2/account/load",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode({"apikey": revealed(key)}).encode(),  # in the body: addresses are written into logs on the way
        )
    except TransportError:
        return CheckReport.of(facts, problems)  # what is known is known
    return CheckReport.of(facts | _account(answer), problems)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}" if names else "none"


def _account(response: HttpResponse) -> dict[str, str]:
    """What v2 tells; nothing where it does not, for the key has been found good already."""
    body: Any = response.json()
    data = body.get("data") if isinstance(body, Mapping) and body.get("success") is True else None
    if not isinstance(data, Mapping):
        return {}
    found = {name: data.get(theirs) for name, theirs in _SHOWN.items()}
    return {
        name: f"{value:,}" if isinstance(value, int | float) else value
        for name, value in found.items()
        if isinstance(value, int | float | str) and value != ""
    }


def _refused(server: "ElasticEmail", response: HttpResponse) -> CheckReport:
    text = server.error(response)
    if text is not None and asks_to_wait(server.table, response, text):
        return unclear(server.label, response, text, waits=True)
    if text is None or response.status not in (400, 401, 403):
        return unclear(server.label, response, text or "")
    if "access denied" in text.lower():
        return CheckReport.unknown(
            f"the key may not look at the account, or the account is disabled ({response.status}: {text})",
            "give the key the access level ViewSettings, or send a test email, which proves that it may send",
        )
    return CheckReport.refused(
        f"Elastic Email refuses the key ({response.status}: {text})",
        "make a new one under Settings, Manage API Keys; a wrong key and an expired one read the same",
    )
