"""Amazon SES, API v2."""

from deliverykit.providers.ses.send import SES

__all__ = ["SES"]
