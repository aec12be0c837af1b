"""Asking Mailgun about the sending domain, ``GET /v4/domains/{name}``; and about a key that may only send.

Source: Mailgun's OpenAPI description (mailgun/mailgun-mcp-server, 2026), read 2026-11-23, not tried against the live API.
It names no values of ``state``; ``active``, ``unverified`` and ``disabled`` are those its clients know.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deliverykit.contracts.checking import asks_to_wait, unclear
from deliverykit.words.checks import CheckProblem, CheckReport
from deliverykit.words.wire import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from deliverykit.providers.mailgun.send import Mailgun

__all__ = ["checked"]

_OTHER = {"us": "eu", "eu": "us"}


def checked(server: "Mailgun") -> Generator[HttpRequest, HttpResponse, CheckReport]:
    """The domain. A domain's sending key may not look at that; so where the key may not, a message that is none.

    That is the sending call without From, recipients and text, in test mode: it cannot send. A key that is no good
    is refused there (401) before anything is missed (400).
    """
    # The key is in no local: tools show those of a traceback.
    response = yield HttpRequest(
        method="GET",
        url=f"{server.address}/v4/domains/{server.domain}",
        headers={"Authorization": server.authorization},
    )
    if response.status in (401, 403):
        response = yield HttpRequest(
            url=f"{server.address}/v3/{server.domain}/messages",
            headers={"Authorization": server.authorization, "Content-Type": "application/x-www-form-urlencoded"},
            body=b"o:testmode=yes",
        )
        return _tried(server, response)
    body = response.json()
    domain = body.get("domain") if isinstance(body, Mapping) else None
    if response.status != 200 or not isinstance(domain, Mapping) or not isinstance(domain.get("state"), str):
        return _refused(server, response)
    facts = {"Domain": server.domain, "Region": server.region, "State": domain["state"]}
    if isinstance(domain.get("type"), str):
        facts["Type"] = domain["type"]
    return CheckReport.of(facts, _problems(domain, server.domain))


def _problems(domain: Mapping[str, Any], name: str) -> Iterator[CheckProblem]:
    if domain["state"] == "disabled" or domain.get("is_disabled") is True:
        told = domain.get("disabled")
        reason = told.get("reason") if isinstance(told, Mapping) else None
        yield CheckProblem(
            what=f"the domain {name} is disabled" + (f" ({reason})" if reason else ""),
            mend="Mailgun's control panel says why; its support enables it again",
            blocks=True,
        )
    if domain["state"] == "unverified":
        yield CheckProblem(
            what=f"the domain {name} is unverified",
            mend="set its DNS records as Mailgun shows them under Sending, Domains, DNS records, and have them checked there",
            blocks=True,
        )
    if domain.get("type") == "sandbox":
        yield CheckProblem(
            what="it is a sandbox domain: it sends to its authorized recipients only", mend="add a domain of your own"
        )


def _tried(server: "Mailgun", response: HttpResponse) -> CheckReport:
    text = server.error(response)
    if response.status != 400 or text is None or re.search(r"not allowed to send", text, re.IGNORECASE):
        return _refused(server, response)
    facts = {"Domain": server.domain, "Region": server.region, "Key": "may send for the domain, and look at nothing"}
    return CheckReport.of(facts)


def _refused(server: "Mailgun", response: HttpResponse) -> CheckReport:
    text = server.error(response)
    if text is not None and asks_to_wait(server.table, response, text):
        return unclear(server.label, response, text, waits=True)
    other = _OTHER[server.region]
    if text is not None and response.status == 404:
        return CheckReport.refused(
            f"Mailgun knows no domain {server.domain} in its region {server.region} (404: {text})",
            f"look at its name, and whether it lives in the other region (region={other!r})",
        )
    if text is not None and response.status in (401, 403):
        return CheckReport.refused(
            f"Mailgun refuses the key ({response.status}: {text})",
            f"look at the key and at the region: keys of one are not known in the other (region={other!r})",
        )
    if text is not None and response.status == 400:
        return CheckReport.refused(f"Mailgun would not send ({text})", "Mailgun's control panel shows what the domain lacks")
    return unclear(server.label, response, text or "")
