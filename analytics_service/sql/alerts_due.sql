-- The devices whose rollups have changed since they were looked at. efficiency_due by its primary key.
SELECT device_key FROM efficiency_due
