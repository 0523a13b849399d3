"""What running processes have used: CPU seconds and memory, from /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process, its ended children and its living descendants have used."""
    return sum(_cpu_s(process) for process in family(pid))


def machine_cpu_s() -> float:
    """Return the CPU seconds that all cores together have been busy, also for other machines on the same hardware."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
    return (user + nice + system + irq + softirq + steal) * _TICK_S


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; what they share is counted once each."""
    return sum(_rss_bytes(process) for process in family(pid))


def family(pid: int) -> Iterator[int]:
    """Yield a process and its living descendants."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="utf-8").split():
                yield from family(int(child))


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return sum(int(fields[i]) for i in (11, 12, 13, 14)) * _TICK_S
    return 0.0


def _rss_bytes(pid: int) -> int:
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
