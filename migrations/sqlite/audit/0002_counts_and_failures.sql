-- How many attempts a row stands for: more than 1 where a flood of failures was counted instead of recorded one by one.
ALTER TABLE device_authentication_logs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1;

-- Which rows of a block are failures, by their code. Filled with the rows themselves: failures are few, or counted.
CREATE TABLE device_authentication_log_failures (
    block        INTEGER NOT NULL,
    failure_code TEXT    NOT NULL,
    row          INTEGER NOT NULL,
    PRIMARY KEY (block, failure_code, row)
) STRICT, WITHOUT ROWID;

INSERT INTO device_authentication_log_failures (block, failure_code, row)
SELECT row / 16384, coalesce(failure_code, ''), row FROM device_authentication_logs WHERE success = 0;
