"""Keeps and answers the newest reading of every device, in Redis."""
