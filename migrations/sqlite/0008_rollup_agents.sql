-- Sums of each agent over providers and models, for what is asked of agents alone; kept like rollup_overall, for hours and
-- longer: what is written with every batch, quarters of an hour, stays as it is.
-- The paired file under migrations/postgres creates the same table.

CREATE TABLE rollup_agents (
  level INTEGER NOT NULL,
  bucket_start INTEGER NOT NULL,
  agent_id INTEGER NOT NULL,
  status TEXT NOT NULL,
  requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  usd INTEGER NOT NULL,
  nanos INTEGER NOT NULL,
  PRIMARY KEY (level, bucket_start, agent_id, status)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT r.level, r.bucket_start, s.agent_id, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0 GROUP BY 1, 2, 3, 4;

CREATE TRIGGER rollups_added_agents AFTER INSERT ON rollups WHEN new.level > 0 BEGIN
  INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT new.level, new.bucket_start, s.agent_id, s.status, new.requests, new.input_tokens, new.output_tokens,
      new.cost / 1000000000, new.cost % 1000000000
    FROM series AS s WHERE s.no = new.series_no
    ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET
      requests = rollup_agents.requests + excluded.requests,
      input_tokens = rollup_agents.input_tokens + excluded.input_tokens,
      output_tokens = rollup_agents.output_tokens + excluded.output_tokens,
      usd = rollup_agents.usd + excluded.usd,
      nanos = rollup_agents.nanos + excluded.nanos;
END;
CREATE TRIGGER rollups_changed_agents AFTER UPDATE OF requests, input_tokens, output_tokens, cost ON rollups WHEN new.level > 0 BEGIN
  INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT new.level, new.bucket_start, s.agent_id, s.status, new.requests - old.requests,
      new.input_tokens - old.input_tokens, new.output_tokens - old.output_tokens,
      new.cost / 1000000000 - old.cost / 1000000000, new.cost % 1000000000 - old.cost % 1000000000
    FROM series AS s WHERE s.no = new.series_no
    ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET
      requests = rollup_agents.requests + excluded.requests,
      input_tokens = rollup_agents.input_tokens + excluded.input_tokens,
      output_tokens = rollup_agents.output_tokens + excluded.output_tokens,
      usd = rollup_agents.usd + excluded.usd,
      nanos = rollup_agents.nanos + excluded.nanos;
END;
CREATE TRIGGER rollups_gone_agents AFTER DELETE ON rollups WHEN old.level > 0 BEGIN
  INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT old.level, old.bucket_start, s.agent_id, s.status, -old.requests, -old.input_tokens, -old.output_tokens,
      -(old.cost / 1000000000), -(old.cost % 1000000000)
    FROM series AS s WHERE s.no = old.series_no
    ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET
      requests = rollup_agents.requests + excluded.requests,
      input_tokens = rollup_agents.input_tokens + excluded.input_tokens,
      output_tokens = rollup_agents.output_tokens + excluded.output_tokens,
      usd = rollup_agents.usd + excluded.usd,
      nanos = rollup_agents.nanos + excluded.nanos;
END;
