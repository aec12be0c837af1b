"""Elastic Email, REST API v4."""

from deliverykit.providers.elasticemail.send import ElasticEmail

__all__ = ["ElasticEmail"]
