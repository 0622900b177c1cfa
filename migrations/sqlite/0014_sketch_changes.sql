-- Sketches are made by a task of their own that holds nobody up: it reads facts without a lock, and says first up to which
-- it will; from then on changes of those are noted, for it to take over later.
-- The paired file does the same.
ALTER TABLE rollup_head RENAME COLUMN sketched_fact TO sketching_fact;

-- The sketches have every fact up to this number as it was when it was taken over, and none after. The step changes with
-- whatever is done to sketches, so that nobody writes what was made of others than are stored.
CREATE TABLE sketch_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  fact INTEGER NOT NULL,
  step INTEGER NOT NULL
) STRICT;
INSERT INTO sketch_head (id, fact, step) SELECT 1, h.sketching_fact, 0 FROM rollup_head AS h;

-- Facts that changed though they may be in the sketches: what is to be taken out of them (times: -1) and added (1).
CREATE TABLE sketch_changes (
  id INTEGER PRIMARY KEY,
  fact_id INTEGER NOT NULL,
  series_no INTEGER NOT NULL,
  occurred_at INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  latency_ms INTEGER,
  times INTEGER NOT NULL CHECK (times IN (-1, 1))
) STRICT;
