"""How worker processes log: one line a record on standard error. Payloads never get here."""

from __future__ import annotations

import logging
import os
import sys


def configure_logging() -> None:
    """One line a record on standard error, with its action."""
    level = os.environ.get("WARMLANE_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(
        level=level if level in logging.getLevelNamesMapping() else "INFO",
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
