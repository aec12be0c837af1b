"""Mailgun, HTTP API v3."""

from deliverykit.providers.mailgun.multipart import File
from deliverykit.providers.mailgun.send import Mailgun

__all__ = ["File", "Mailgun"]
