"""What every adapter's check says alike: an answer that tells nothing about the credentials."""

from deliverykit.words.checks import CheckReport
from deliverykit.words.wire import HttpResponse

__all__ = ["unclear"]


def unclear(label: str, response: HttpResponse, text: str = "") -> CheckReport:
    """UNKNOWN: the ESP named ``label`` asks to wait, fails, or something else answered in its place.

    ``text`` is the error in the ESP's own shape, where it is in that shape. A body of another shape is not quoted: the
    address may be that of an internal page.
    """
    said = f"{response.status}: {text}" if text else str(response.status)
    if response.status == 429:
        return CheckReport.unknown(f"{label} asks to wait ({said})", "check again in a minute")
    if response.status >= 500:
        return CheckReport.unknown(f"{label} failed to answer ({said})", "check again later")
    return CheckReport.unknown(
        f"this is not how {label} answers ({said})",
        "look whether its address (base_url) is right, and whether a proxy or a sign-in page stands between",
    )
