"""Alerts: finding sustained drops of efficiency, and telling of them."""
