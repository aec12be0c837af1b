"""The sandbox: Amazon SES, SendGrid, Mailgun and Elastic Email on localhost, for tests and development."""

from deliverykit.sandbox.client import ESPS, Sandbox
from deliverykit.sandbox.received import Received, Submission
from deliverykit.sandbox.wire import File

__all__ = ["ESPS", "File", "Received", "Sandbox", "Submission"]
