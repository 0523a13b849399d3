"""What can be configured."""

from dataclasses import dataclass

from wattstream.config import setting


@dataclass(frozen=True)
class StateConfig:
    """Configuration of the state service; WATTSTREAM_STATE_<NAME>, or WATTSTREAM_<NAME> where it is shared."""

    listen: str = setting("127.0.0.1:50052", "address to listen on, host:port")
    redis_url: str = setting(
        "redis://127.0.0.1:6379/0", "Redis or Valkey that holds the states", shared=True, secret=True
    )
    log_level: str = setting(
        "info", "least level that is logged", shared=True, choices=("debug", "info", "warning", "error")
    )
    workers: int = setting(1, "processes that share the address, and the connections that come to it", at_least=1)
    default_deadline_s: float = setting(10.0, "deadline of unary calls that come without one, in seconds", at_least=0.1)
    drain_s: float = setting(10.0, "how long open calls may take to end at shutdown, in seconds", at_least=0.0)
    online_within_s: float = setting(
        180.0, "a device is online this long after its last reading, in seconds", at_least=1
    )
    max_connections: int = setting(32, "connections to Redis at most; calls wait for a free one", at_least=3)
    max_watchers: int = setting(200, "WatchStates calls at most; more are told to come again", at_least=1)
