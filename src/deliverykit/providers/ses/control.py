"""Asking Amazon SES about the account, ``GET /v2/email/account``.

Source: botocore's description of SESv2 (1.44.5, GetAccount) and AWS's page on common errors, read 2026-11-23.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deliverykit.contracts.checking import asks_to_wait, unclear, would_not_send
from deliverykit.providers.ses.table import CLOCK, DENIED
from deliverykit.words.checks import CheckProblem, CheckReport
from deliverykit.words.wire import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from deliverykit.providers.ses.send import SES

__all__ = ["checked"]


def checked(server: "SES", now: int) -> Generator[HttpRequest, HttpResponse, CheckReport]:
    """One call, which needs the permission ``ses:GetAccount``; AWS allows one a second."""
    request = HttpRequest(method="GET", url=f"{server.address}/v2/email/account")
    response = yield server.authenticated(request, now)
    account = response.json()
    if response.status != 200 or not isinstance(account, Mapping) or "SendQuota" not in account:
        return _refused(server, response)
    facts = {
        "Region": server.region,
        "Access": "production" if account.get("ProductionAccessEnabled") is True else "sandbox",
        "Sending": "enabled" if account.get("SendingEnabled") is True else "paused",
        "Standing": str(account.get("EnforcementStatus") or "not told").lower(),
        **_quota(account["SendQuota"]),
    }
    return CheckReport.of(facts, _problems(account, server.region))


def _quota(quota: Any) -> dict[str, str]:
    if not isinstance(quota, Mapping):
        return {}
    most, rate, sent = (quota.get(name) for name in ("Max24HourSend", "MaxSendRate", "SentLast24Hours"))
    facts = {}
    if isinstance(most, int | float):
        used = f", {sent:,.0f} used" if isinstance(sent, int | float) else ""
        facts["In 24 hours"] = f"unlimited{used}" if most < 0 else f"{most:,.0f} emails{used}"
    if isinstance(rate, int | float):
        facts["Rate"] = f"{rate:,g} a second"
    return facts


def _problems(account: Mapping[str, Any], region: str) -> Iterator[CheckProblem]:
    standing = account.get("EnforcementStatus")
    if account.get("SendingEnabled") is False:
        yield CheckProblem(
            what=f"sending is paused for this account in {region}",
            mend="the SES console says why, and how to have it resumed (Reputation metrics, or a case at AWS Support)",
            blocks=True,
        )
    if standing == "SHUTDOWN":
        yield CheckProblem(what="AWS has shut down sending", mend="answer the case AWS opened about it", blocks=True)
    if standing == "PROBATION":
        yield CheckProblem(what="the account is under review (probation)", mend="answer the case AWS opened about it")
    if account.get("ProductionAccessEnabled") is False:
        yield CheckProblem(
            what="the account is in the SES sandbox: it sends to verified addresses only, and little",
            mend=f"request production access in the SES console of {region}",
        )


def _refused(server: "SES", response: HttpResponse) -> CheckReport:
    text = server.error(response)
    if text is not None and asks_to_wait(server.table, response, text):
        return unclear(server.label, response, text, waits=True)
    if text is None or response.status not in (400, 401, 403):
        return unclear(server.label, response, text or "")
    if re.search(CLOCK, text, re.IGNORECASE):
        return CheckReport.refused(f"the clock of this machine is wrong ({text})", "set it, by NTP for instance")
    if re.search(DENIED, text, re.IGNORECASE):
        return CheckReport.unknown(
            f"the key may not ask about the account ({text})",
            "allow it ses:GetAccount, or send a test email, which proves that it may send",
        )
    if would_not_send(server.table, response, text):
        return CheckReport.refused(f"Amazon SES would not send ({text})", "the SES console says why, and how to resume")
    return CheckReport.refused(
        f"Amazon SES refuses the key ({text})",
        "look at the key id and the secret key; a deleted or inactive key, or an expired token, reads so too",
    )
