"""`python -m analytics_service` answers questions over history until SIGTERM."""

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from wattstream import server

if __name__ == "__main__":
    server.main("analytics", AnalyticsConfig, lifespan)
