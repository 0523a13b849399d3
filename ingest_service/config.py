"""Configuration of the ingest service."""

from dataclasses import dataclass

from wattstream.config import setting


@dataclass(frozen=True)
class IngestConfig:
    """What can be set, from WATTSTREAM_INGEST_* and the shared WATTSTREAM_* variables."""

    listen: str = setting("127.0.0.1:50051", "address to listen on, host:port")
    postgres_dsn: str = setting("postgresql://127.0.0.1/wattstream", "the database", shared=True, secret=True)
    state_address: str = setting("127.0.0.1:50052", "address of the state service")
    log_level: str = setting(
        "info", "least level that is logged", shared=True, choices=("debug", "info", "warning", "error")
    )
    workers: int = setting(1, "processes that share the address, and the connections that come to it", at_least=1)
    default_deadline_s: float = setting(10.0, "deadline of unary calls that come without one", at_least=0.001)
    drain_s: float = setting(20.0, "how long open calls may take to end at shutdown", at_least=0)

    unknown_devices: str = setting(
        "register", "what to do with a device that is not registered", choices=("register", "reject")
    )
    max_future_s: float = setting(300.0, "how far recorded_at may be ahead of the server's clock", at_least=0)
    retention_days: int = setting(3650, "readings older than this are rejected", at_least=1)
    max_kwh: float = setting(1000.0, "largest energy of one reading, AC or DC", at_least=0)
    max_voltage_v: float = setting(2000.0, "largest voltage of one reading", at_least=0)
    min_battery_temp_c: float = setting(-60.0, "lowest battery temperature of one reading")
    max_battery_temp_c: float = setting(150.0, "highest battery temperature of one reading")
    max_batch_readings: int = setting(10_000, "readings in one message", at_least=1)

    connections: int = setting(4, "connections to the database, of which two write history", at_least=3)
    statement_timeout_s: float = setting(30.0, "how long one statement may take", at_least=0.001)
    max_group_readings: int = setting(50_000, "readings in one transaction, about", at_least=1)
    max_buffered_bytes: int = setting(64 * 1024 * 1024, "messages held while their commit is awaited", at_least=1)
    stream_window_bytes: int = setting(
        512 * 1024,
        "messages of one stream held while their commit is awaited; less where there are many streams, but one always",
        at_least=1,
    )
    gather_s: float = setting(0.1, "how long a busy service gathers small messages for a commit", at_least=0)
    unary_wait_s: float = setting(5.0, "how long a unary call waits for its commit", at_least=0.001)

    # Of each process: where several share the address, a peer may have as much of each.
    max_streams_per_peer: int = setting(
        0, "streams one peer may have open, 0 for any number; many devices may sit behind one address", at_least=0
    )
    max_readings_s_per_peer: float = setting(
        0.0, "readings/s one peer may send, 0 for any number; many devices may sit behind one address", at_least=0
    )

    hand_over_interval_s: float = setting(0.1, "least time between two hand-overs to the state service", at_least=0)
    hand_over_deadline_s: float = setting(5.0, "how long one hand-over may take", at_least=0.001)
    state_probe_s: float = setting(5.0, "how often an idle service asks whether the state store is empty", at_least=0.1)
