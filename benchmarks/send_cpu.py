"""One blocking ``send()`` in CPU time, against the bare client and against what people use today, all to the same stand-in.

Ours writes a durable row before the wire and settles it after; the others keep nothing. Mail of the same bytes each.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.full_path import KEY, TEXT
from benchmarks.measuring import Contender, Row, compared
from benchmarks.standin import running
from deliverykit import CalendarQuota, Mailer, Message
from deliverykit.providers import SES, SendGrid

Call = Callable[[], object]
BODY = {
    "personalizations": [{"to": [{"email": "reader@example.org"}]}],
    "from": {"email": "news@example.com"},
    "subject": "The news of today",
    "content": [{"type": "text/plain", "value": TEXT}],
}


@contextmanager
def _bare(url: str) -> Iterator[Call]:
    """The floor: our own transport's client, one POST."""
    import httpx2

    with httpx2.Client() as client:
        headers = {"Authorization": "Bearer SG.bench"}
        yield lambda: client.post(f"{url}/v3/mail/send", json=BODY, headers=headers).raise_for_status()


@contextmanager
def _ours(url: str, durability: str = "full", *, ses: bool = False) -> Iterator[Call]:
    provider = (
        SES(region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="x" * 40, base_url=url)
        if ses
        else SendGrid(api_key="SG.bench", base_url=url)
    )
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'mail.db'}"
        with Mailer(store, secret_key=KEY, durability=durability) as mailer:  # type: ignore[arg-type]
            mailer.servers.add(
                id="a", name="a", provider=provider, sender="news@example.com",
                quota=CalendarQuota(hour=10**7, day=10**8, month=10**9),
            )  # fmt: skip
            assert mailer.servers.send_test("a", to="me@example.org").proof
            mailer.servers.activate("a")

            def call() -> None:
                assert mailer.send(Message(to="reader@example.org", subject="The news of today", text=TEXT))

            yield call


@contextmanager
def _boto3(url: str) -> Iterator[Call]:
    import boto3

    client = boto3.client(
        "sesv2", region_name="eu-west-1", endpoint_url=url, aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x"
    )
    yield lambda: client.send_email(
        FromEmailAddress="news@example.com",
        Destination={"ToAddresses": ["reader@example.org"]},
        Content={"Simple": {"Subject": {"Data": "The news of today"}, "Body": {"Text": {"Data": TEXT}}}},
    )


@contextmanager
def _sdk(url: str) -> Iterator[Call]:
    from sendgrid import SendGridAPIClient
    from sendgrid.helpers.mail import Mail

    client = SendGridAPIClient("SG.bench", host=url)

    def call() -> None:
        mail = Mail("news@example.com", "reader@example.org", "The news of today", plain_text_content=TEXT)
        assert client.send(mail).status_code == 202

    yield call


@contextmanager
def _anymail(url: str) -> Iterator[Call]:
    import django
    from django.conf import settings

    if not settings.configured:
        backend = "anymail.backends.sendgrid.EmailBackend"
        settings.configure(
            EMAIL_BACKEND=backend, ANYMAIL={"SENDGRID_API_KEY": "SG.bench", "SENDGRID_API_URL": f"{url}/v3/"}, SECRET_KEY="x"
        )
        django.setup()
    from django.core.mail import EmailMessage, get_connection

    connection = get_connection()  # kept open, which is anymail's faster way
    connection.open()

    def call() -> None:
        mail = EmailMessage("The news of today", TEXT, "news@example.com", ["reader@example.org"], connection=connection)
        assert mail.send() == 1

    yield call


CONTENDERS: dict[str, Callable[[str], AbstractContextManager[Call]]] = {
    "floor: httpx2, one bare POST": _bare,
    "deliverykit, SendGrid, durability full": _ours,
    "deliverykit, SendGrid, durability normal": lambda url: _ours(url, "normal"),
    "deliverykit, Amazon SES, durability full": lambda url: _ours(url, ses=True),
    "boto3, Amazon SES": _boto3,
    "sendgrid SDK": _sdk,
    "django-anymail, SendGrid, open connection": _anymail,
}


def send_cpu(short: bool) -> list[Row]:
    """CPU, not time: what waits for the wire or the disk lets others work. What is not installed is left out."""
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    count, rounds = (20, 1) if short else (300, 7)
    with running() as url, ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for name, make in CONTENDERS.items():
            with suppress(ImportError):
                contenders[name] = partial(_cpu, stack.enter_context(make(url)), count)
        return compared(
            "CPU of one send()",
            contenders,
            rounds,
            {name: "below 1,000 µs" for name in contenders if name.startswith("deliverykit")},
        )


def _cpu(call: Call, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - began) / count


CLAIMS = (send_cpu,)
