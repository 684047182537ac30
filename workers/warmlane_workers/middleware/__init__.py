"""Dramatiq middleware, one concern a file. The order is in `warmlane_workers.app`."""
