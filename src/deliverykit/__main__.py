"""``python -m deliverykit``: the same as the command ``deliverykit``."""

import sys

from deliverykit.cli import main

sys.exit(main())
