-- The earliest and the latest moment of every 512 rows: part n holds the rows whose number divided by 512 is n. Blocks find
-- a span of time roughly, parts find its edges.
CREATE TABLE device_authentication_log_parts (
    part     INTEGER PRIMARY KEY,
    earliest TEXT    NOT NULL,
    latest   TEXT    NOT NULL
) STRICT;

INSERT INTO device_authentication_log_parts (part, earliest, latest)
SELECT row / 512, min(timestamp), max(timestamp) FROM device_authentication_logs GROUP BY row / 512;
