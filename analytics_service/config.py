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
        4, "questions answered at once, each on a connection of its own; half for the fleet; others wait", at_least=1
    )
    max_window_days: int = setting(400, "longest window that may be asked for, in days", at_least=1)
    max_batch: int = setting(1000, "most devices that one question may name", at_least=1)
    refresh: bool = setting(True, "whether this process takes its turn at keeping rollups and alerts up to date")
    refresh_every_s: float = setting(5.0, "how long to rest when no rollup is out of date, in seconds", at_least=0.01)
    refresh_grace_s: float = setting(300.0, "how long after its end an hour is rolled up, in seconds", at_least=0)
    refresh_settle_s: float = setting(
        10.0, "how long a rollup that is out of date waits for more late readings, in seconds", at_least=0
    )
    refresh_devices: int = setting(1000, "devices that are refreshed in one transaction at most", at_least=1)
    alerts_every_s: float = setting(
        5.0, "how long to rest when no rollup has changed that alerts are found in, in seconds", at_least=0.01
    )
    max_watchers: int = setting(200, "WatchEfficiencyAlerts calls at most; more are told to come again", at_least=1)
    webhook_url: str = setting("", "where alerts are posted to, http:// or https://; empty: nowhere", secret=True)
    webhook_secret: str = setting("", "what webhooks are signed with: whsec_ and base64; see operations", secret=True)
    webhook_timeout_s: float = setting(20.0, "deadline of one attempt to deliver a webhook, in seconds", at_least=0.1)
    alert_poll_s: float = setting(1.0, "how often to look for changes of alerts to tell of, in seconds", at_least=0.01)
