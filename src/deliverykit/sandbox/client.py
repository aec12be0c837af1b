"""``Sandbox``: the four ESPs in a process of their own, and what a test asks of them."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast
from urllib.parse import urlsplit

from deliverykit.sandbox.faults import Fault
from deliverykit.sandbox.received import Received, Submission
from deliverykit.sandbox.server import KEYS_VARIABLE
from deliverykit.words.arguments import ERA, choice, duration, flag, items, line, mapping, optional, refused, short, whole
from deliverykit.words.errors import ConfigurationError

__all__ = ["ESPS", "Sandbox"]

ESPS = ("ses", "sendgrid", "mailgun", "elasticemail")
_START_SECONDS = 30.0


class Sandbox:
    """Amazon SES, SendGrid, Mailgun and Elastic Email on localhost, without delivering anything.

    ::

        with Sandbox() as sandbox:
            SendGrid(api_key="SG.any", base_url=sandbox.url("sendgrid"))

    They run in a process of their own, which ends with the ``with`` block, with :meth:`stop`, and
    with this process. Any well-formed credential works until :meth:`keys` says otherwise. SES
    signatures are verified where the secret is known: for the key pair of AWS's documentation
    (``AKIAIOSFODNN7EXAMPLE``) and those of ``ses_keys``, secrets by access key id.

    ``keep`` bounds how many mails and submissions each ESP remembers (the newest), for long runs;
    counts go on, and no raw bytes are kept then. The object may be shared by threads.

    Raises :class:`~deliverykit.ConfigurationError` for what it does not know, and where h11 is missing.
    """

    def __init__(self, *, ses_keys: Mapping[str, str] | None = None, keep: int | None = None) -> None:
        optional(whole, keep, "keep", least=0)
        self._ses_keys = _keys(ses_keys, "ses_keys") if ses_keys is not None else {}
        self._keep = keep
        self._urls: dict[str, str] = {}
        self._end: weakref.finalize[[subprocess.Popen[str]], Sandbox] | None = None

    @classmethod
    def attach(cls, control_url: str) -> Self:
        """A client of a sandbox that runs already; ``control_url`` is what it printed, with its token at the end.

        Stopping this does not stop that.
        """
        sandbox = cls()
        line(control_url, "control_url", least=1, most=1_000)
        if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9_-]*/?)?", control_url):
            refused("control_url", control_url, "not the address of a sandbox", "give what it printed: http://127.0.0.1:…/…")
        sandbox._urls = {"control": control_url}
        sandbox._urls = sandbox._call("info")
        return sandbox

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the process and wait until it listens; nothing where it runs."""
        if self._urls:
            return self
        if importlib.util.find_spec("h11") is None:
            raise ConfigurationError("the sandbox needs h11; install deliverykit[sandbox]")
        command = [sys.executable, "-m", "deliverykit.sandbox", "--json", "--until-eof"]
        command += [] if self._keep is None else ["--keep", str(self._keep)]
        keys = "\n".join(f"{name}={secret}" for name, secret in self._ses_keys.items())
        source = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, KEYS_VARIABLE: keys, "PYTHONPATH": path},
        )
        self._end = weakref.finalize(self, _ended, process)
        self._urls = _announced(process)
        return self

    def stop(self) -> None:
        """End the process; harmless when it has ended."""
        self._urls = {}
        if self._end is not None:
            self._end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _call(self, name: str, **arguments: object) -> Any:
        if not self._urls:
            raise ConfigurationError("the sandbox does not run; use it as `with Sandbox() as sandbox:` or call start()")
        try:
            asked = json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ConfigurationError(f"{name}: an argument is not JSON; give text, numbers, lists and mappings") from None
        place = urlsplit(self._urls["control"])
        connection = HTTPConnection(place.netloc, timeout=60)
        headers = {"Connection": "close", "Authorization": f"Bearer {place.path.strip('/')}"}
        try:
            connection.request("POST", f"/{name}", asked, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, ValueError, HTTPException) as error:
            kind = type(error).__name__
            raise ConfigurationError(f"no sandbox answers at {place.netloc} ({kind}); start one") from None
        finally:
            connection.close()
        if response.getheader("Content-Type") == "application/octet-stream" or not body:
            return body
        result = json.loads(body)
        if response.status != 200:
            raise ConfigurationError(result["error"])
        return result

    # -- what there is ------------------------------------------------------------------------

    def url(self, esp: str) -> str:
        """The base URL of ``"ses"``, ``"sendgrid"``, ``"mailgun"`` or ``"elasticemail"``, without a path."""
        if not self._urls:
            raise ConfigurationError("the sandbox does not run; use it as `with Sandbox() as sandbox:` or call start()")
        return self._urls[_known(esp)]

    @property
    def control_url(self) -> str:
        """Where :meth:`attach` in another process finds this sandbox, with the token that lets it in."""
        self._call("now")
        return self._urls["control"]

    def received(self, esp: str | None = None, *, start: int = 0) -> list[Received]:
        """The mail this ESP accepted, in order, leaving out the first ``start``; of all four, by time, where none is named."""
        whole(start, "start", least=0)
        if esp is None:
            return sorted((mail for one in ESPS for mail in self.received(one, start=start)), key=lambda mail: mail.at)
        found: list[Received] = []
        page = {"next": start, "more": True}
        while page["more"]:
            page = self._call("received", esp=_known(esp), start=page["next"])
            found += [Received.from_plain(one) for one in page["mails"]]
        return found

    def count(self, esp: str | None = None) -> int:
        """How many mails were accepted since the last :meth:`clear`; cheap."""
        return int(self._call("count", esp=None if esp is None else _known(esp)))

    def requests(self, esp: str | None = None, *, start: int = 0) -> list[Submission]:
        """Every request that wanted to send mail, refused, hung and reset ones too, in order."""
        whole(start, "start", least=0)
        if esp is None:
            return sorted((one for name in ESPS for one in self.requests(name, start=start)), key=lambda one: one.at)
        found: list[Submission] = []
        page = {"next": start, "more": True}
        while page["more"]:
            page = self._call("requests", esp=_known(esp), start=page["next"])
            found += [Submission(**one) for one in page["requests"]]
        return found

    def bytes_seen(self, esp: str | None = None) -> bytes:
        """Every byte that came over the wire, heads and refused requests included; not with ``keep``."""
        return bytes(self._call("bytes_seen", esp=None if esp is None else _known(esp)))

    def clear(self, esp: str | None = None) -> None:
        """Forget mails, submissions and bytes. Settings, faults, the clock, quota counts and idempotency keys stay."""
        self._call("clear", esp=None if esp is None else _known(esp))

    def reset(self) -> None:
        """As at the start: nothing received, no fault, no setting, no count towards a quota, the true time."""
        self._call("reset")

    # -- trouble ------------------------------------------------------------------------------

    def fault(self, esp: str, kind: str, times: int | None = 1, **options: Any) -> None:
        """Make the next ``times`` submissions (``None``: all, until :meth:`clear_faults`) fail in this way.

        Faults of one ESP strike in the order they were given, one per request; ``latency`` adds to
        whatever else strikes. The kinds and their options:

        - ``latency(seconds=0.1)``: the request is taken at once, the answer comes late.
        - ``throttle(retry_after=, status=, text=)``, ``quota(retry_after=, status=, text=)``: the ESP's own refusals.
        - ``bad_key(text=, status=)``, ``rejected(text=, status=, code=)``: likewise; ``code`` is SES's error type or
          SendGrid's field.
        - ``server_error(status=500, text=, retry_after=, accepted=False)``.
        - ``hang(accepted=True, seconds=)``: reads the request and never answers.
        - ``reset(when="after", accepted=True)``: a TCP reset; ``when="before"`` is never accepted.
        - ``garbage(status=200, text=, accepted=False)``: a page of HTML.
        - ``drip(seconds=1)``, ``truncate()``: the true answer, slowly or by half.
        - ``huge(size=64_000_000, accepted=True)``: 200 and so many bytes of blanks.
        - ``redirect(status=307)``: to itself.

        ``accepted`` is whether the mail was taken all the same. Every kind also takes ``credential=``
        (only requests with this key), ``every=n`` (each n-th of those it meets), and ``on=``: ``"send"``
        (the default), ``"other"`` calls, or ``"all"``.
        """
        try:
            Fault.of(line(kind, "kind"), options)
        except ConfigurationError:
            raise
        except (ValueError, TypeError) as error:
            raise ConfigurationError(short(str(error), 500)) from None
        optional(whole, times, "times", least=0)
        self._call("fault", esp=_known(esp), kind=kind, times=times, options=options)

    def clear_faults(self, esp: str | None = None) -> None:
        """Disarm all faults; requests that hang go on hanging."""
        self._call("clear_faults", esp=None if esp is None else _known(esp))

    def keys(self, esp: str, keys: Iterable[str] | Mapping[str, str] | None) -> None:
        """Only these credentials work from now on; ``None`` is any.

        For SES they are access key ids; a mapping gives their secrets, so that signatures are verified.
        """
        secrets = _keys(keys, "keys") if isinstance(keys, Mapping) else {}
        ids = list(secrets) if isinstance(keys, Mapping) else _texts(keys, "keys")
        self._call("keys", esp=_known(esp), keys=ids, secrets=secrets)

    def verify_only(self, esp: str, names: Iterable[str] | None) -> None:
        """Only these From domains and addresses are verified; ``None`` is any. At Mailgun it is the domain in the path."""
        self._call("verify_only", esp=_known(esp), names=_texts(names, "names"))

    def domains(self, names: Iterable[str] | None) -> None:
        """Only these domains exist at Mailgun; ``None`` is any."""
        self._call("domains", names=_texts(names, "names"))

    def recipients_refused(self, esp: str, recipients: Iterable[str]) -> None:
        """These recipients are turned down with the ESP's own answer."""
        self._call("recipients_refused", esp=_known(esp), recipients=_texts(recipients, "recipients") or [])

    def limit(self, esp: str, *, per_day: int | None = None, per_second: int | None = None) -> None:
        """The ESP's own limits: recipients in the last 24 hours, submissions in the last second; ``None`` is none."""
        optional(whole, per_day, "per_day", least=0)
        optional(whole, per_second, "per_second", least=0)
        self._call("limit", esp=_known(esp), per_day=per_day, per_second=per_second)

    def account(self, esp: str, **fields: Any) -> None:
        """What the ESP tells about the account, by its own field names; without fields the usual again.

        - ``ses``: ``ProductionAccessEnabled``, ``SendingEnabled``, ``EnforcementStatus``
        - ``sendgrid``: ``scopes`` (a list)
        - ``mailgun``: ``state``, ``type``, ``is_disabled``, ``disabled``
        - ``elasticemail``: ``StatusFormatted``, ``EmailCredits``, ``Reputation``

        It changes what is told, not what is done: mail is taken as before.
        """
        self._call("account", esp=_known(esp), fields=fields)

    # -- time ---------------------------------------------------------------------------------

    def move_clock(self, by: timedelta) -> int:
        """Move the sandbox's clock forward, or back; what it shows then, in UTC milliseconds."""
        length = duration(by, "by", least=-ERA)
        return int(self._call("move_clock", milliseconds=round(length.total_seconds() * 1000)))

    def now(self) -> int:
        """What the sandbox's clock shows, in UTC milliseconds."""
        return int(self._call("now"))

    def check_clock(self, check: bool) -> None:
        """Whether SES refuses a signature that is more than five minutes off; it does at first."""
        self._call("check_clock", check=flag(check, "check"))


def _known(esp: str) -> str:
    return choice(esp, "esp", ESPS)


def _texts(given: object, what: str) -> list[str] | None:
    """Texts for the control endpoint; ``None`` stays ``None``."""
    if given is None:
        return None
    return [line(one, what, most=1_000) for one in items(given, what, "give a list of texts")]


def _keys(given: object, what: str) -> dict[str, str]:
    """Secrets by key id; no error shows one."""
    known = mapping(given, what, "give secrets by access key id")
    for name, secret in known.items():
        if not isinstance(secret, str) or not secret.isprintable() or "=" in name:
            raise ConfigurationError(f"{what}[{short(name)!r}]: not a secret as text; give it as str")
    return known


def _announced(process: "subprocess.Popen[str]") -> dict[str, str]:
    """The URLs the new process prints; ends it where it does not within half a minute."""
    output = cast("IO[str]", process.stdout)
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    watchdog.start()
    try:
        urls: dict[str, str] = {}
        while "control" not in urls:
            line = output.readline()
            if not line:
                _ended(process)
                raise ConfigurationError("the sandbox's process ended before it listened; its output says why")
            found = json.loads(line)
            urls[found["name"]] = found["url"]
        return urls
    finally:
        watchdog.cancel()


def _ended(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
