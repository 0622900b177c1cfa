-- Facts by time are found in slots of ten seconds, in which they stand as they came: calls of many agents are told of in no
-- order, and by the time itself every fact of a batch would be on a page of its own.
-- The paired file under migrations/postgres does the same.

DROP INDEX facts_time;
DROP INDEX facts_failed;
CREATE INDEX facts_time ON facts (occurred_at / 10000);
CREATE INDEX facts_failed ON facts (occurred_at / 10000) WHERE flags >= 4;
