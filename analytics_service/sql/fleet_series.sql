-- What the readings of the whole fleet add up to, bucket by bucket, the buckets beginning at %(starts)s and counted from 1:
-- energies in kWh, SoC in percent, temperature in degrees Celsius, minutes as (vehicle, meter, minute). See fleet.sql.
WITH {fleet}
SELECT width_bucket(start, %(starts)s::timestamptz[]) AS bucket,
    sum(readings)::int8 AS readings,
    coalesce(sum(readings) FILTER (WHERE meter_key = 0), 0)::int8 AS readings_without_meter,
    sum(readings_kept)::int8 AS readings_kept, sum(minutes_kept)::int8 AS minutes_kept,
    sum(minutes_shared)::int8 AS minutes_shared,
    sum(minutes_without_meter_data)::int8 AS minutes_without_meter_data,
    sum(kwh_consumed_ac) AS kwh_consumed_ac, sum(kwh_delivered_dc) AS kwh_delivered_dc,
    sum(sum_soc) AS sum_soc, sum(sum_battery_temp) AS sum_battery_temp, NULL::text[] AS meter_ids
FROM parts
GROUP BY 1
