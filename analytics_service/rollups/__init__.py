"""Keeps the rollups up to date: what an answer may take in place of readings."""
