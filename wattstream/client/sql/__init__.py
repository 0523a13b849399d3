"""The statements of the ingest service, one a file."""
