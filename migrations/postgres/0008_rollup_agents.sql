-- Sums of each agent over providers and models, for what is asked of agents alone; kept like rollup_overall, for hours and
-- longer: what is written with every batch, quarters of an hour, stays as it is.
-- The paired file under migrations/sqlite creates the same table.

CREATE TABLE rollup_agents (
  level BIGINT NOT NULL,
  bucket_start BIGINT NOT NULL,
  agent_id BIGINT NOT NULL,
  status TEXT COLLATE "C" NOT NULL,
  requests BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  usd BIGINT NOT NULL,
  nanos BIGINT NOT NULL,
  PRIMARY KEY (level, bucket_start, agent_id, status)
);
INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT r.level, r.bucket_start, s.agent_id, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0 GROUP BY 1, 2, 3, 4;

CREATE FUNCTION rollups_added_agents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT r.level, r.bucket_start, s.agent_id, s.status, SUM(r.requests), SUM(r.input_tokens),
      SUM(r.output_tokens), SUM((r.cost / 1000000000)), SUM((r.cost % 1000000000))
    FROM came AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET
      requests = rollup_agents.requests + excluded.requests,
      input_tokens = rollup_agents.input_tokens + excluded.input_tokens,
      output_tokens = rollup_agents.output_tokens + excluded.output_tokens,
      usd = rollup_agents.usd + excluded.usd,
      nanos = rollup_agents.nanos + excluded.nanos;
  RETURN NULL;
END
$$;
CREATE FUNCTION rollups_gone_agents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT r.level, r.bucket_start, s.agent_id, s.status, SUM(-r.requests), SUM(-r.input_tokens),
      SUM(-r.output_tokens), SUM(-(r.cost / 1000000000)), SUM(-(r.cost % 1000000000))
    FROM went AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET
      requests = rollup_agents.requests + excluded.requests,
      input_tokens = rollup_agents.input_tokens + excluded.input_tokens,
      output_tokens = rollup_agents.output_tokens + excluded.output_tokens,
      usd = rollup_agents.usd + excluded.usd,
      nanos = rollup_agents.nanos + excluded.nanos;
  RETURN NULL;
END
$$;
CREATE FUNCTION rollups_changed_agents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT r.level, r.bucket_start, s.agent_id, s.status, SUM(r.sign * r.requests), SUM(r.sign * r.input_tokens),
      SUM(r.sign * r.output_tokens), SUM(r.sign * (r.cost / 1000000000)), SUM(r.sign * (r.cost % 1000000000))
    FROM (SELECT 1 AS sign, c.* FROM came AS c UNION ALL SELECT -1, w.* FROM went AS w) AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET
      requests = rollup_agents.requests + excluded.requests,
      input_tokens = rollup_agents.input_tokens + excluded.input_tokens,
      output_tokens = rollup_agents.output_tokens + excluded.output_tokens,
      usd = rollup_agents.usd + excluded.usd,
      nanos = rollup_agents.nanos + excluded.nanos;
  RETURN NULL;
END
$$;
CREATE TRIGGER rollups_added_agents AFTER INSERT ON rollups REFERENCING NEW TABLE AS came
  FOR EACH STATEMENT EXECUTE FUNCTION rollups_added_agents();
CREATE TRIGGER rollups_changed_agents AFTER UPDATE ON rollups REFERENCING OLD TABLE AS went NEW TABLE AS came
  FOR EACH STATEMENT EXECUTE FUNCTION rollups_changed_agents();
CREATE TRIGGER rollups_gone_agents AFTER DELETE ON rollups REFERENCING OLD TABLE AS went
  FOR EACH STATEMENT EXECUTE FUNCTION rollups_gone_agents();
