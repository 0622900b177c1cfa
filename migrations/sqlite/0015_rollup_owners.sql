-- Sums over all agents that tell apart owners, projects and provider keys too, for what neither rollup_overall nor
-- rollup_agents can answer. Not of what every batch writes: there are none of quarters of hours that are not folded, nor of days
-- and months that are not over.
-- The paired file under migrations/postgres creates the same table.

CREATE TABLE rollup_owners (
  level INTEGER NOT NULL,
  bucket_start INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  project_id TEXT NOT NULL,
  provider_key_id INTEGER NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  status TEXT NOT NULL,
  requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  usd INTEGER NOT NULL,
  nanos INTEGER NOT NULL,
  PRIMARY KEY (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_owners (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status, requests,
    input_tokens, output_tokens, usd, nanos)
  SELECT r.level, r.bucket_start, s.owner_id, s.project_id, s.provider_key_id, s.provider, s.model, s.status,
    SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens), SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no
  WHERE r.level > 0 OR r.bucket_start < (SELECT h.hours_until FROM rollup_head AS h WHERE h.id = 1)
  GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
