-- Facts: one for each LLM request, from events and reports; and what is added up of them.

-- The dimension of facts and roll-ups: who, for whom, through what. Rows are never changed and never go.
CREATE TABLE series (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  agent_id INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  -- Empty without a project.
  project_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  -- 0 where it is not known.
  provider_key_id INTEGER NOT NULL,
  model TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('completed', 'failed'))
) STRICT;
CREATE UNIQUE INDEX series_key ON series (agent_id, owner_id, project_id, provider, provider_key_id, model, status);
CREATE INDEX series_owner ON series (owner_id);
CREATE INDEX series_project ON series (project_id);

CREATE TABLE facts (
  id INTEGER PRIMARY KEY,
  series_no INTEGER NOT NULL,
  -- When it counts: the client's time, or that of receipt where the client's is absurd.
  occurred_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  -- 1: an event told of it, 2: a report did, 4: it failed.
  flags INTEGER NOT NULL CHECK (flags BETWEEN 1 AND 7),
  input_tokens INTEGER NOT NULL CHECK (input_tokens >= 0),
  output_tokens INTEGER NOT NULL CHECK (output_tokens >= 0),
  -- The most that the event or the report says.
  cost INTEGER NOT NULL CHECK (cost >= 0),
  latency_ms INTEGER,
  event_id TEXT,
  request_id TEXT,
  lease_id TEXT
) STRICT;
CREATE INDEX facts_time ON facts (occurred_at, id);
CREATE INDEX facts_series ON facts (series_no, occurred_at);
CREATE INDEX facts_failed ON facts (occurred_at, id) WHERE flags >= 4;

-- The names a fact goes by: the first 16 bytes of the SHA-256 of its event id and of its request id.
CREATE TABLE fact_ids (
  agent_id INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 16),
  fact_id INTEGER NOT NULL,
  PRIMARY KEY (agent_id, hash, fact_id)
) STRICT, WITHOUT ROWID;

-- What few facts have.
CREATE TABLE fact_extras (
  fact_id INTEGER PRIMARY KEY,
  -- The names said, where the series has others in their place because the agent used too many.
  provider TEXT,
  model TEXT,
  -- What the event said it cost, where the report of the same call said more.
  event_cost INTEGER CHECK (event_cost >= 0),
  -- Of an event that no lease could be told of, and the report of the same call: the provider key it named, or 0.
  event_key_id INTEGER,
  -- The report of the call, where the fact's own lease and request id are not the report's.
  report_lease_id TEXT,
  report_request_id TEXT,
  error_code TEXT,
  error_message TEXT,
  trace_id TEXT,
  span_id TEXT,
  cached_tokens INTEGER,
  reasoning_tokens INTEGER,
  -- A JSON object of texts.
  tags TEXT
) STRICT;

-- Sums over the facts of a series in a stretch of time. Level 0: a quarter of an hour, 1: an hour, 2: a day of UTC,
-- 3: a month of UTC. Level 0 is always complete; the others are as far as `rollup_head` says, and stand beside it.
CREATE TABLE rollups (
  level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 3),
  bucket_start INTEGER NOT NULL,
  series_no INTEGER NOT NULL,
  requests INTEGER NOT NULL CHECK (requests >= 0),
  input_tokens INTEGER NOT NULL CHECK (input_tokens >= 0),
  output_tokens INTEGER NOT NULL CHECK (output_tokens >= 0),
  cost INTEGER NOT NULL CHECK (cost >= 0),
  min_cost INTEGER NOT NULL CHECK (min_cost >= 0),
  max_cost INTEGER NOT NULL CHECK (max_cost >= min_cost),
  PRIMARY KEY (level, bucket_start, series_no)
) STRICT, WITHOUT ROWID;

-- How cost and latency are distributed, at levels 1 to 3, over the facts up to `rollup_head.sketched_fact`.
CREATE TABLE rollup_sketches (
  level INTEGER NOT NULL CHECK (level BETWEEN 1 AND 3),
  bucket_start INTEGER NOT NULL,
  series_no INTEGER NOT NULL,
  cost BLOB NOT NULL,
  latency BLOB NOT NULL,
  PRIMARY KEY (level, bucket_start, series_no)
) STRICT, WITHOUT ROWID;

-- How far things are. A level of the roll-ups is complete for buckets that begin before its time here, and empty after.
CREATE TABLE rollup_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last_fact INTEGER NOT NULL,
  sketched_fact INTEGER NOT NULL,
  hours_until INTEGER NOT NULL,
  days_until INTEGER NOT NULL,
  months_until INTEGER NOT NULL,
  -- Facts before this time, the beginning of a day of UTC, are not kept any more; roll-ups are.
  facts_from INTEGER NOT NULL
) STRICT;
INSERT INTO rollup_head VALUES (1, 0, 0, 0, 0, 0, 0);

-- Which lease was active when an event happened.
CREATE INDEX leases_ended ON leases (agent_id, ended_at) WHERE ended_at IS NOT NULL;
