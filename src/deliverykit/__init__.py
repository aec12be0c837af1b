"""deliverykit: send mail through many delivery servers, under quotas, from a durable queue."""

__version__ = "0.1.0"
