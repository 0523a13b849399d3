import asyncio

import pytest
import structlog

from wattstream import health


async def fine() -> None:
    return


async def away() -> None:
    raise ConnectionError


async def hanging() -> None:
    await asyncio.Event().wait()


async def test_a_dependency_is_logged_when_it_goes_and_when_it_comes_back_and_not_between() -> None:
    servicer = health.HealthServicer()
    with structlog.testing.capture_logs() as lines:
        for check in (fine, fine, away, away, away, fine, fine):
            await health.update(servicer, ["a.Service"], {"store": check})
    assert [line["event"] for line in lines] == ["dependency is away", "dependency is back"]


async def test_a_check_that_hangs_counts_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_CHECK_DEADLINE_S", 0.01)
    servicer = health.HealthServicer()
    await health.update(servicer, ["a.Service"], {"slow": hanging, "store": fine})
    assert (servicer.serves("slow"), servicer.serves("store"), servicer.serves("a.Service")) == (False, True, False)


async def test_a_service_that_depends_on_nothing_serves() -> None:
    servicer = health.HealthServicer()
    await health.update(servicer, ["a.Service"], {})
    assert servicer.serves("a.Service") is True
    assert servicer.serves("b.Service") is None


async def test_nothing_serves_again_after_the_end() -> None:
    servicer = health.HealthServicer()
    await health.update(servicer, ["a.Service"], {"store": fine})
    servicer.close()
    await health.update(servicer, ["a.Service"], {"store": fine})
    assert [servicer.serves(name) for name in ("", "a.Service", "store")] == [False, False, False]
