"""Twilio SendGrid, Web API v3."""

from deliverykit.providers.sendgrid.send import SendGrid

__all__ = ["SendGrid"]
