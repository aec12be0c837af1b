"""What SES refuses and can be known before it is asked; and raw MIME as it is handed to SES.

Sources: botocore's description of SESv2 (1.44.5) and AWS's SES developer guide, read 2026-11-23 and 2026-11-30.
"""

import json
from collections.abc import Iterable, Iterator

from deliverykit.contracts.outgoing import Outgoing
from deliverykit.words.errors import MessageError
from deliverykit.words.raw import has_long_line, header_names, rewritten

__all__ = ["ID_HEADER", "METADATA_HEADER", "THEIR_HEADERS", "commands_ses", "our_headers", "problems", "raw_message"]

ID_HEADER = "X-Deliverykit-Id"
"""The header that carries our id beside the tag: an identity's notifications hold headers and no tags."""
METADATA_HEADER = "X-Deliverykit-Metadata"
"""Metadata as JSON, in ``mail.headers`` of events. A reader of the mail can see it, as any header."""

THEIR_HEADERS = frozenset(
    {
        "from", "sender", "to", "cc", "bcc", "return-path",
        "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc",
    }
)  # fmt: skip
"""What would name another sender or recipient."""

_NOT_IN_RAW = frozenset({"sender", "return-path"})
"""Taken out of the host's MIME, as Bcc is; its From is replaced, its To and Cc are text to read, the envelope is ours."""

# RFC 5322, 3.6 and RFC 2045: fields that stand once.
# SES answers 400 "Duplicate header 'Subject'." (users' reports, read 2026-11-30).
_ONCE = (
    "from", "to", "cc", "bcc", "subject", "reply-to", "sender", "message-id", "date", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding",
)  # fmt: skip

# As the developer guide lists them under "Amazon SES unsupported attachment types". Written down from memory of that page on
# 2026-11-30, not read again: compare it before you rely on a rare extension.
_BLOCKED = frozenset(
    (  # noqa: SIM905  a list of a hundred names reads better so
        "ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse ksh lib lnk "
        "mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml msh2xml msi "
        "msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb vbe vbs "
        "vps vsmacros vss vst vsw vxd ws wsc wsf wsh xnk"
    ).split()
)

_NAME_ENDS = b";\r\n"


def commands_ses(name: str) -> bool:
    """Whether a header of this name stands for a parameter of the call (the guide's page on sending events)."""
    return name.lower().startswith("x-ses-")


def our_headers(mail: Outgoing) -> dict[str, str]:
    """Our id and the metadata, as headers."""
    metadata = dict(mail.message.metadata)
    return {ID_HEADER: mail.id, **({METADATA_HEADER: json.dumps(metadata)} if metadata else {})}


def raw_message(mail: Outgoing, raw: bytes) -> bytes:
    """The host's MIME with our From, our id, and the Reply-To of a forced sender; the envelope is ``Destination``."""
    reply_to = {"Reply-To": ", ".join(one.header for one in mail.reply_to)} if mail.reply_to else {}
    ours = {"From": mail.sender.header, **reply_to, **our_headers(mail)}
    return rewritten(raw, _NOT_IN_RAW, ours)


def problems(mail: Outgoing) -> Iterator[str]:
    """Why SES refuses this mail, beyond what is declared as capabilities."""
    if mail.message.raw is not None:
        yield from _raw_problems(mail, mail.message.raw)
        return
    for name in mail.message.headers:
        lowered = name.lower()
        if lowered in THEIR_HEADERS:
            yield f"headers: {name} cannot be set at Amazon SES; it would name another sender or recipient"
        elif commands_ses(name):
            yield f"headers: {name} is a command to SES; remove it and configure the server instead"
        elif lowered == METADATA_HEADER.lower():
            yield f"headers: {name} carries the metadata at SES; use metadata="
    unsubscribe = mail.message.unsubscribe
    # Name and value at most 996 characters together (MessageHeader, API description, 2026-11-23).
    if unsubscribe and any(len(name) + len(value) > 996 for name, value in unsubscribe.headers.items()):
        yield "unsubscribe: List-Unsubscribe is longer than the 996 characters SES takes; shorten the addresses"
    yield from _blocked(one.filename for one in mail.message.attachments)


def _raw_problems(mail: Outgoing, raw: bytes) -> Iterator[str]:
    try:
        data = raw_message(mail, raw)
    except MessageError as error:
        yield str(error)
        return
    names = header_names(data)
    for name in dict.fromkeys(filter(commands_ses, names)):
        yield f"raw: the header {name} is a command to SES; remove it and configure the server instead"
    lowered = [name.lower() for name in names]
    for name in _ONCE:
        if (count := lowered.count(name)) > 1:
            yield f"raw: {count} {name.title()} headers, SES takes one; remove the others"
    # "The length of any single line of text in the message can't exceed 1,000 characters" (RawMessage, API description).
    if has_long_line(data):
        yield "raw: a line is longer than 998 bytes, SES takes 1,000 with its line end; break or encode it"
    yield from _blocked(_file_names(raw))


def _blocked(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        extension = name.rstrip(" .").rpartition(".")[2].lower()
        if extension in _BLOCKED and "." in name:
            yield f"attachments: SES refuses files that end in .{extension} ({name[:60]!r}); zip it, or use another ESP"


def _file_names(raw: bytes) -> Iterator[str]:
    """The file names in the part headers of raw MIME: ``name`` and ``filename``, quoted or not, RFC 2231 included.

    Found by searching, since a parser takes seconds for a large message. Only lines of Content-Type and
    Content-Disposition count, so a name in a text is none.
    """
    lowered = raw.lower()
    at = lowered.find(b"name")
    while at >= 0:
        sign = lowered.find(b"=", at, at + 12)
        if sign > 0 and not lowered[at + 4 : sign].strip(b" \t*0123456789") and _in_part_header(lowered, at):
            yield _value(raw, sign + 1)
        at = lowered.find(b"name", at + 4)


def _in_part_header(lowered: bytes, at: int) -> bool:
    """Whether this place belongs to a Content-Type or Content-Disposition field, folded over at most 20 lines."""
    for _ in range(20):
        start = max(lowered.rfind(b"\n", 0, at), -1) + 1
        if lowered.startswith((b"content-type", b"content-disposition"), start):
            return True
        if not start or not lowered.startswith((b" ", b"\t"), start):
            return False
        at = start - 1
    return False


def _value(raw: bytes, at: int) -> str:
    text = raw[at : at + 600].lstrip(b" \t")
    if text.startswith(b'"'):
        text = text[1:].partition(b'"')[0]
    else:
        text = text[: min((end for one in _NAME_ENDS if (end := text.find(one)) >= 0), default=len(text))]
    return text.decode("utf-8", "replace").strip()
