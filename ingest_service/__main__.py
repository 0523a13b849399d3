"""Runs the ingest service: `python -m ingest_service`, configured by WATTSTREAM_* variables."""

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream.server import main

if __name__ == "__main__":
    main("ingest", IngestConfig, lifespan)
