"""`python -m state_service` serves the live state until SIGTERM."""

from state_service.config import StateConfig
from state_service.service import lifespan
from wattstream import server

if __name__ == "__main__":
    server.main("state", StateConfig, lifespan)
