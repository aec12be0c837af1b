"""Trying credentials without sending: an adapter's requests, transmitted, repeated where that is safe, within a time."""

from itertools import count

from attrs import evolve, frozen
from tenacity import stop_after_attempt, wait_random_exponential

from deliverykit.contracts.answers import retry_at
from deliverykit.contracts.provider import Provider
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.verdicts import TenacityBackOff
from deliverykit.words.checks import CheckReport
from deliverykit.words.errors import ConfigurationError, Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["checked"]

_STEPS = 10
"""More requests than any check needs; it only ends what an adapter's bug would spin."""

_FACTS = 50
"""More facts, and more problems, than any check reports."""

_BACK_OFF = TenacityBackOff(wait_random_exponential(multiplier=0.5, max=4), stop_after_attempt(3))
"""Three tries of one request, the waits between them with full jitter."""


async def checked(context: Context, ports: Ports, account: str, provider: Provider, within: float) -> CheckReport:
    """Ask this provider's ESP whether it takes the credentials, for ``within`` seconds at most. Writes nothing, spends nothing.

    Whatever goes wrong is in the report; its texts are bounded, printable and without the provider's secrets.
    """
    try:
        equipped = context.equipped(account, provider)
    except ConfigurationError as error:
        words = provider.safe_text(error)
        return CheckReport.refused(f"the credentials cannot be had: {words}", "set what it names where this process runs")
    except Exception as error:  # noqa: BLE001  whatever a host's callable raises; its words may hold a secret
        name = type(error).__name__
        context.teller.failed(f"the credentials of a {provider.name} provider cannot be had", error, trace=False)
        return CheckReport.refused(f"the credentials cannot be had: {name}", "mend what Mailer(credentials={…}) gives for them")
    await ports.prepare()
    asking = _Asking(context, ports, account, context.clock.monotonic() + within, within)
    return _cleaned(await asking.told(equipped), equipped)


@frozen
class _Asking:
    """One check under way. ``ends`` is on the monotonic clock."""

    context: Context
    ports: Ports
    account: str
    ends: float
    within: float

    async def told(self, provider: Provider) -> CheckReport:
        """Drive the adapter's generator to its report."""
        try:
            flow = provider.check(self.context.clock.now())
            request = next(flow)
            for _ in range(_STEPS):
                self.context.permissions.check_address(self.account, provider, request.url, "request")
                answer = await self._answer(request)
                request = flow.throw(answer) if isinstance(answer, TransportError) else flow.send(answer)
            flow.close()
        except StopIteration as done:
            if isinstance(done.value, CheckReport):
                return done.value
        except TransportError as error:
            return CheckReport.unknown(
                f"{provider.label} gave no answer ({provider.safe_text(error)})",
                "look at the network, at proxies, and at the address (base_url) where one is given; then check again",
            )
        except ConfigurationError as error:
            return CheckReport.refused(f"no request can be made: {provider.safe_text(error)}", "mend that")
        except Exception as error:  # noqa: BLE001  it is told of
            self.context.teller.failed(f"the adapter {provider.name} failed to check its credentials", error)
            words = f"the adapter {provider.name} failed: {type(error).__name__}"
            return CheckReport.unknown(words, "the log says where; report it to whoever wrote it")
        return CheckReport.unknown(f"the adapter {provider.name} came to no report", "mend its check()")

    async def _answer(self, request: HttpRequest) -> HttpResponse | TransportError:
        for tries in count(1):
            left = self.ends - self.context.clock.monotonic()
            if left <= 0:
                break
            answer = await self._once(evolve(request, within=left))
            wait = self._again(request, answer, tries)
            if wait is None or self.context.clock.monotonic() + wait >= self.ends:
                return answer
            await self.ports.sleep(wait)
        return TransportError(Stage.POOL, f"not done within {self.within:g} s")

    async def _once(self, request: HttpRequest) -> HttpResponse | TransportError:
        try:
            answer = await self.ports.transmit(request)
        except TransportError as error:
            return error
        if not isinstance(answer, HttpResponse):
            return TransportError(Stage.READ, f"the transport returned {type(answer).__name__}, not an HttpResponse")
        return answer

    def _again(self, request: HttpRequest, answer: HttpResponse | TransportError, tries: int) -> float | None:
        """After how many seconds to ask once more; ``None`` where this is the answer."""
        if isinstance(answer, TransportError):
            return _BACK_OFF.seconds(tries) if answer.stage.surely_not_sent else None
        wait = _BACK_OFF.seconds(tries)
        if wait is None or request.method != "GET" or not (answer.status == 429 or answer.status >= 500):
            return None
        now = self.context.clock.now()
        return max(wait, ((retry_at(answer, now) or now) - now) / 1000)


def _cleaned(report: CheckReport, provider: Provider) -> CheckReport:
    clean = provider.safe_text
    return evolve(
        report,
        facts={clean(name): clean(value) for name, value in list(report.facts.items())[:_FACTS]},
        problems=tuple(evolve(one, what=clean(one.what), mend=clean(one.mend)) for one in report.problems[:_FACTS]),
    )
