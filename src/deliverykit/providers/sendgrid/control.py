"""Asking SendGrid about a key: ``GET /v3/scopes``, and ``GET /v3/user/credits`` where the key may.

Source: Twilio's OpenAPI description (twilio/sendgrid-oai, January 2026: scopes, user), read 2026-11-23; the names of
the scopes for event webhooks are those the console gives, and nothing here depends on them.
"""

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from deliverykit.contracts.checking import asks_to_wait, unclear
from deliverykit.words.checks import CheckProblem, CheckReport
from deliverykit.words.credentials import revealed
from deliverykit.words.errors import TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from deliverykit.providers.sendgrid.send import SendGrid

__all__ = ["checked"]

_SEND = "mail.send"
_CREDITS = "user.credits.read"
_WEBHOOKS = ("user.webhooks.event.settings.read", "user.webhooks.event.settings.update")


def checked(server: "SendGrid") -> Generator[HttpRequest, HttpResponse, CheckReport]:
    """The key's scopes; then the credits."""
    response = yield _get(server, "/v3/scopes")
    body = response.json()
    scopes = body.get("scopes") if isinstance(body, Mapping) else None
    if response.status != 200 or not isinstance(scopes, list) or not all(isinstance(one, str) for one in scopes):
        return _refused(server, response)
    lacking = [one for one in _WEBHOOKS if one not in scopes]
    facts = {
        "Scopes": f"{len(scopes)}, {_SEND} {'among' if _SEND in scopes else 'not among'} them",
        "Event webhooks": f"lacks {', '.join(lacking)}" if lacking else "has the scopes to read and change them",
    }
    problems = []
    if _SEND not in scopes:
        problems.append(
            CheckProblem(
                what=f"the key lacks the scope {_SEND}",
                mend="in SendGrid under Settings, API Keys, edit the key: Mail Send, full access",
                blocks=True,
            )
        )
    if _CREDITS in scopes:
        try:
            answer = yield _get(server, "/v3/user/credits")
        except TransportError:
            return CheckReport.of(facts, problems)  # what is known is known
        told, used_up = _credits(answer)
        facts |= told
        problems += used_up
    return CheckReport.of(facts, problems)


def _get(server: "SendGrid", path: str) -> HttpRequest:
    return HttpRequest(
        method="GET",
        url=server.base_url.rstrip("/") + path,
        headers={"Authorization": f"Bearer {revealed(server.api_key)}"},
    )


def _credits(response: HttpResponse) -> tuple[dict[str, str], list[CheckProblem]]:
    body: Any = response.json()
    if response.status != 200 or not isinstance(body, Mapping):
        return {}, []
    left, total, again = body.get("remain"), body.get("total"), body.get("next_reset")
    if not isinstance(left, int) or not isinstance(total, int):
        return {}, []
    until = f", until {again}" if isinstance(again, str) else ""
    facts = {"Credits": f"{left:,} of {total:,} left{until}"}
    if left > 0:
        return facts, []
    problem = CheckProblem(what="the plan's emails are used up", mend=f"wait{until}, or raise the plan")
    return facts, [problem]


def _refused(server: "SendGrid", response: HttpResponse) -> CheckReport:
    text = server.error(response)
    if text is not None and asks_to_wait(server.table, response, text):
        return unclear(server.label, response, text, waits=True)
    if text is not None and response.status == 401:
        return CheckReport.refused(
            f"SendGrid refuses the key (401: {text})",
            "make a new one under Settings, API Keys; the key of an EU subuser works at https://api.eu.sendgrid.com only",
        )
    if text is not None and response.status == 403:
        return CheckReport.unknown(
            f"the key may not list its scopes (403: {text})", "send a test email, which proves that it may send"
        )
    return unclear(server.label, response, text or "")
