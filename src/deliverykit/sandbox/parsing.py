"""Reading what requests carry: addresses, form bodies, MIME. On purpose independent of deliverykit's own parsing."""

import base64
import binascii
import re
from email import policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser, BytesParser
from email.utils import collapse_rfc2231_value, getaddresses
from typing import Any
from urllib.parse import parse_qsl

from attrs import frozen

from deliverykit.sandbox.wire import File, Mail, Malformed

__all__ = ["Part", "decoded", "form", "header_block", "is_address", "mailboxes", "opened", "unpacked"]

_ADDRESS = re.compile(
    r"\A([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*|\"([ !#-\[\]-~]|\\[ -~])+\")"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_address(text: object) -> bool:
    """Whether it is one bare ASCII address at a domain with a dot."""
    return isinstance(text, str) and len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


def mailboxes(text: str) -> list[tuple[str, str]] | None:
    """``(name, address)`` of a header-like list of addresses; ``None`` where one is no address."""
    text = text.strip()
    if is_address(text):
        return [("", text)]
    if _CONTROL.search(text):
        return None
    found = getaddresses([text])
    if not found or not all(is_address(email) for _, email in found):
        return None
    return [(words(name), email) for name, email in found]


def words(text: str) -> str:
    """Text with its RFC 2047 encoded words decoded."""
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text


def unpacked(text: object, what: str) -> bytes:
    """Base64, strictly; raises :class:`Malformed`."""
    if not isinstance(text, str):
        raise Malformed(f"{what} is not base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{what} is not base64: {error}") from None


@frozen
class Part:
    """One field of a form; ``filename`` is ``None`` where the part names none."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str = ""

    @property
    def text(self) -> str:
        """The content as UTF-8."""
        return self.content.decode("utf-8", "replace")


def form(content_type: str, body: bytes) -> list[Part]:
    """The fields of a form body, multipart or urlencoded; raises :class:`Malformed`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" or not body:
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20_000)
        except ValueError as error:
            raise Malformed(str(error)) from None
        return [Part(name, value.encode()) for name, value in pairs]
    if kind != "multipart/form-data":
        raise Malformed(f"Unsupported content type {kind!r}")
    return _multipart(_head(f"Content-Type: {content_type}".encode()).get_param("boundary"), body)


def _head(raw: bytes) -> "Message[str, str]":
    return BytesHeaderParser(policy=policy.compat32).parsebytes(raw)


def _multipart(boundary: Any, body: bytes) -> list[Part]:
    if not isinstance(boundary, str) or not boundary:
        raise Malformed("no boundary in multipart/form-data")
    mark = b"--" + boundary.encode("latin-1")
    body = b"\r\n" + body
    pieces = body.split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise Malformed("multipart: NextPart: EOF")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank:
        raise Malformed("malformed MIME header in multipart")
    fields = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            fields[name.strip().lower()] = value.strip().decode("utf-8", "replace")
    parameters = Message()
    parameters["Content-Disposition"] = fields.get(b"content-disposition", "")
    called = parameters.get_param("name", header="content-disposition")
    filename = parameters.get_param("filename", header="content-disposition")
    if not isinstance(called, str):
        raise Malformed("a part without a name")
    return Part(
        called,
        content,
        None if filename is None else collapse_rfc2231_value(filename).replace("%22", '"'),
        fields.get(b"content-type", ""),
    )


def header_block(mime: bytes) -> dict[str, list[str]]:
    """The header fields of raw MIME by lower-case name, unfolded and decoded; cheap."""
    end = re.search(rb"\r?\n\r?\n", mime)
    found: dict[str, list[str]] = {}
    for name, value in _head(mime[: end.end()] if end else mime).items():
        found.setdefault(name.lower(), []).append(re.sub(r"\r?\n[ \t]*", " ", str(value)).strip())
    return found


_OWN = frozenset({"from", "to", "cc", "bcc", "reply-to", "subject", "mime-version"})


def opened(mail: Mail) -> Mail:
    """The mail with its MIME taken apart into text, html, headers and attachments."""
    if mail.mime is None:
        return mail
    email = BytesParser(EmailMessage, policy=policy.default).parsebytes(mail.mime)
    mail.headers = {
        name: re.sub(r"[\r\n]+[ \t]*", " ", str(value))
        for name, value in email.items()
        if name.lower() not in _OWN and not name.lower().startswith("content-")
    }
    files: list[File] = []
    for part in email.walk():
        if not part.is_multipart():
            _take(mail, part, files)
    mail.attachments = tuple(files)
    mail.mime = None
    return mail


def _take(mail: Mail, part: EmailMessage, files: list[File]) -> None:
    kind = part.get_content_type()
    filename = part.get_filename()
    attached = filename is not None or part.get_content_disposition() == "attachment"
    content = part.get_payload(decode=True)
    raw = content if isinstance(content, bytes) else b""
    if kind in {"text/plain", "text/html"} and not attached:
        text = decoded(raw, part.get_content_charset("utf-8"))
        mail.text, mail.html = (text, mail.html) if kind == "text/plain" else (mail.text, text)
    else:
        content_id = str(part.get("Content-ID", "")).strip().removeprefix("<").removesuffix(">")
        files.append(File(filename or "", raw, kind, content_id))


def decoded(raw: bytes, charset: str) -> str:
    """Text of a charset, or of UTF-8 where nobody knows the charset."""
    try:
        return raw.decode(charset, "replace")
    except LookupError:
        return raw.decode("utf-8", "replace")
