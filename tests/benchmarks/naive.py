"""What systems of this kind usually do: a call a reading, and for each call an INSERT and an UPSERT in one transaction.

It has it easier than such a system: nothing comes over the network, statements are prepared, and its history is empty.
Two processes of eight threads were faster on two cores than one process, sixteen processes, or psycopg's pipeline.
"""

import multiprocessing
import os
import threading
import time
from multiprocessing.synchronize import Barrier

import psycopg

from tests.benchmarks.messages import Load, device_id

CONNECTIONS = 16
_TABLES = """
CREATE TABLE naive_history (
    device_id   text NOT NULL,
    recorded_at timestamptz NOT NULL,
    kwh         float8 NOT NULL,
    voltage     float8 NOT NULL,
    PRIMARY KEY (device_id, recorded_at)
);
CREATE TABLE naive_state (
    device_id   text PRIMARY KEY,
    recorded_at timestamptz NOT NULL,
    kwh         float8 NOT NULL,
    voltage     float8 NOT NULL
);
"""
_INSERT = "INSERT INTO naive_history VALUES (%s, to_timestamp(%s), %s, %s)"
_UPSERT = (
    "INSERT INTO naive_state VALUES (%s, to_timestamp(%s), %s, %s) ON CONFLICT (device_id) DO UPDATE"
    " SET recorded_at = excluded.recorded_at, kwh = excluded.kwh, voltage = excluded.voltage"
)
Reading = tuple[str, float, float, float]


def run(dsn: str, load: Load) -> float:
    """Store the readings of a load's meters, over 16 connections; return how many seconds it took."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLES)
    kwh, voltage = load.values["kwh_consumed_ac"], load.values["voltage"]
    readings = [
        (device_id("meter", number), time_us / 1e6, float(kwh[minute, number]), float(voltage[minute, number]))
        for minute, time_us in enumerate(load.times_us.tolist())
        for number in range(load.devices)
    ]
    parts = [readings[i::CONNECTIONS] for i in range(CONNECTIONS)]
    count = min(os.cpu_count() or 1, CONNECTIONS)
    context = multiprocessing.get_context("spawn")
    step = context.Barrier(count + 1)
    processes = [context.Process(target=_process, args=(dsn, parts[i::count], step)) for i in range(count)]
    for process in processes:
        process.start()
    step.wait(60)
    begin = time.perf_counter()
    step.wait(600)
    seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
    return seconds


def _process(dsn: str, parts: list[list[Reading]], step: Barrier) -> None:
    connections = [psycopg.connect(dsn) for _ in parts]
    threads = [threading.Thread(target=_serve, args=pair) for pair in zip(connections, parts, strict=True)]
    step.wait()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    step.wait()


def _serve(connection: psycopg.Connection, readings: list[Reading]) -> None:
    for reading in readings:
        connection.execute(_INSERT, reading)
        connection.execute(_UPSERT, reading)
        connection.commit()
