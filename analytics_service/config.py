"""Configuration of the analytics service."""

from dataclasses import dataclass

from wattstream.config import setting


@dataclass(frozen=True)
class AnalyticsConfig:
    """What can be configured, by WATTSTREAM_ANALYTICS_* and, where shared, by WATTSTREAM_*."""

    listen: str = setting("127.0.0.1:50053", "address to listen on, host:port; port 0 takes a free one")
    postgres_dsn: str = setting(
        "postgresql://127.0.0.1/wattstream", "the database that holds history", shared=True, secret=True
    )
    log_level: str = setting(
        "info", "least level that is logged", shared=True, choices=("debug", "info", "warning", "error")
    )
    workers: int = setting(1, "processes that share the address, and the connections that come to it", at_least=1)
    default_deadline_s: float = setting(30.0, "deadline of calls that come without one, in seconds", at_least=0.001)
    drain_s: float = setting(10.0, "how long open calls may take to end at shutdown, in seconds", at_least=0)
    statement_timeout_s: float = setting(30.0, "how long one SQL statement may take, in seconds", at_least=0.001)
    connections: int = setting(
        8, "questions answered at once, each on a connection of its own; others wait", at_least=1
    )
    max_window_days: int = setting(31, "longest window that may be asked for, in days", at_least=1)
    max_batch: int = setting(1000, "most vehicles that one question may name", at_least=1)
    max_watchers: int = setting(200, "WatchEfficiencyAlerts calls at most; more are told to come again", at_least=1)
    alert_poll_s: float = setting(1.0, "how often to look for changes of alerts to tell of, in seconds", at_least=0.01)
