"""``python -m deliverykit.sandbox``."""

import sys

from deliverykit.sandbox.server import main

sys.exit(main())
