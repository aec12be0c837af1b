"""``deliverykit sandbox``: the four ESPs on this machine, and how to point at them."""

import sys
from collections.abc import Mapping

from deliverykit.words.errors import ConfigurationError

__all__ = ["serve"]


def serve(arguments: list[str]) -> int:
    """Run them until Ctrl-C. The options are those of ``python -m deliverykit.sandbox``."""
    from deliverykit.sandbox.server import main

    try:
        return main(arguments, announce=_pointed)
    except OSError as error:
        raise ConfigurationError(f"sandbox: cannot listen there ({error.strerror or error}); give another --port") from None


def _pointed(urls: Mapping[str, str]) -> None:
    """Print the URLs, and what to write where a host builds its providers."""
    sys.stdout.write(
        f"""Four ESPs on this machine. They accept mail and deliver none.

  Amazon SES     {urls["ses"]}
  SendGrid       {urls["sendgrid"]}
  Mailgun        {urls["mailgun"]}
  Elastic Email  {urls["elasticemail"]}

Point your delivery servers at them:

  SES(region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE",
      secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
      base_url="{urls["ses"]}")
  SendGrid(api_key="SG.any", base_url="{urls["sendgrid"]}")
  Mailgun(api_key="any", domain="mg.example.com", base_url="{urls["mailgun"]}")
  ElasticEmail(api_key="any", base_url="{urls["elasticemail"]}")

and look at what they received, from Python:

  from deliverykit.sandbox import Sandbox
  Sandbox.attach("{urls["control"]}").received("sendgrid")

Ctrl-C ends it.
"""
    )
    sys.stdout.flush()
