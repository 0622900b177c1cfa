-- The paired file under migrations/sqlite adds sums of quarters of an hour. Here there are none: servers that write at the same
-- time would wait for each other's.
SELECT 1;
