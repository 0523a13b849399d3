"""Answers questions over windows of history with SQL."""
