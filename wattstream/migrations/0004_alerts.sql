-- Alerts: sustained drops of efficiency, the rules by which they are found, and what is still to be looked at.

-- When a drop is worth an alert; meter_key 0 is the fleet, for meters without a rule of their own.
CREATE TABLE efficiency_rules (
    meter_key     int4 PRIMARY KEY,
    threshold     float8 NOT NULL DEFAULT 0.85 CHECK (threshold > 0 AND threshold <= 1),
    hysteresis    float8 NOT NULL DEFAULT 0.02 CHECK (hysteresis BETWEEN 0 AND 0.5),
    least_minutes int4 NOT NULL DEFAULT 15 CHECK (least_minutes BETWEEN 1 AND 10080),
    window_hours  int4 NOT NULL DEFAULT 24 CHECK (window_hours BETWEEN 1 AND 168)
);

INSERT INTO efficiency_rules (meter_key) VALUES (0);

-- About a vehicle (meter_key 0), a meter (vehicle_key 0), or a vehicle at a meter. Times UTC, energies kWh. Every change of
-- a row gives it the next revision; changes are made one transaction at a time, under the lock that the analytics
-- service takes for it, so that revisions become visible in their order.
CREATE TABLE efficiency_alerts (
    alert_id          int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_key       int4 NOT NULL,
    meter_key         int4 NOT NULL,
    state             int2 NOT NULL CHECK (state IN (1, 2, 3)), -- open, closed, withdrawn, as in AlertState
    since             timestamptz NOT NULL, -- the start of the first hour of the drop
    until             timestamptz NOT NULL, -- the end of its last hour with kept minutes, so far
    minutes_kept      int4 NOT NULL,
    kwh_consumed_ac   float8 NOT NULL,
    kwh_delivered_dc  float8 NOT NULL,
    lowest_efficiency float8 NOT NULL,
    threshold         float8 NOT NULL,
    opened_at         timestamptz NOT NULL DEFAULT now(),
    changed_at        timestamptz NOT NULL DEFAULT now(),
    closed_at         timestamptz,
    acknowledged_at   timestamptz,
    acknowledged_by   text NOT NULL DEFAULT '',
    note              text NOT NULL DEFAULT '',
    revision          int8 NOT NULL UNIQUE
);

CREATE SEQUENCE efficiency_alert_revisions OWNED BY efficiency_alerts.revision;
CREATE INDEX efficiency_alerts_subject ON efficiency_alerts (vehicle_key, meter_key, since);
CREATE INDEX efficiency_alerts_meter ON efficiency_alerts (meter_key, since);
CREATE INDEX efficiency_alerts_open ON efficiency_alerts (revision) WHERE state = 1;

-- Vehicles and meters whose rollups have changed since they were looked at, and the first hour that did.
CREATE TABLE efficiency_due (
    device_key int4 PRIMARY KEY,
    hour       timestamptz NOT NULL
);

-- Up to which revision each webhook has been told.
CREATE TABLE webhook_progress (
    webhook  text PRIMARY KEY,
    revision int8 NOT NULL
);
