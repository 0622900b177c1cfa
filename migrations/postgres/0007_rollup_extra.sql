-- Sums over all agents: what is asked of providers, models and outcomes alone need not read the cells of every agent. Kept
-- from the roll-ups by the database itself, in whatever way these change; kept apart in dollars and the rest of them, so that
-- no sum leaves the range.
-- The paired file under migrations/sqlite creates the same table. There a quarter of an hour is in it too; here it is not,
-- because servers that write at the same time would wait for each other's sums over all agents.

CREATE TABLE rollup_overall (
  level BIGINT NOT NULL,
  bucket_start BIGINT NOT NULL,
  provider TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  status TEXT COLLATE "C" NOT NULL,
  requests BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  usd BIGINT NOT NULL,
  nanos BIGINT NOT NULL,
  PRIMARY KEY (level, bucket_start, provider, model, status)
);
INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT r.level, r.bucket_start, s.provider, s.model, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0 GROUP BY 1, 2, 3, 4, 5;

CREATE FUNCTION rollups_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT r.level, r.bucket_start, s.provider, s.model, s.status, SUM(r.requests), SUM(r.input_tokens),
      SUM(r.output_tokens), SUM((r.cost / 1000000000)), SUM((r.cost % 1000000000))
    FROM came AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET
      requests = rollup_overall.requests + excluded.requests,
      input_tokens = rollup_overall.input_tokens + excluded.input_tokens,
      output_tokens = rollup_overall.output_tokens + excluded.output_tokens,
      usd = rollup_overall.usd + excluded.usd,
      nanos = rollup_overall.nanos + excluded.nanos;
  RETURN NULL;
END
$$;
CREATE FUNCTION rollups_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT r.level, r.bucket_start, s.provider, s.model, s.status, SUM(-r.requests), SUM(-r.input_tokens),
      SUM(-r.output_tokens), SUM(-(r.cost / 1000000000)), SUM(-(r.cost % 1000000000))
    FROM went AS r JOIN series AS s ON s.no = r.series_no WHERE r.level > 0
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET
      requests = rollup_overall.requests + excluded.requests,
      input_tokens = rollup_overall.input_tokens + excluded.input_tokens,
      output_tokens = rollup_overall.output_tokens + excluded.output_tokens,
      usd = rollup_overall.usd + excluded.usd,
      nanos = rollup_overall.nanos + excluded.nanos;
  RETURN NULL;
END
$$;
CREATE FUNCTION rollups_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT r.level, r.bucket_start, s.provider, s.model, s.status, SUM(r.sign * r.requests), SUM(r.sign * r.input_tokens),
      SUM(r.sign * r.output_tokens), SUM(r.sign * (r.cost / 1000000000)), SUM(r.sign * (r.cost % 1000000000))
    FROM (SELECT 1 AS sign, c.* FROM came AS c UNION ALL SELECT -1, w.* FROM went AS w) AS r
    JOIN series AS s ON s.no = r.series_no WHERE r.level > 0
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET
      requests = rollup_overall.requests + excluded.requests,
      input_tokens = rollup_overall.input_tokens + excluded.input_tokens,
      output_tokens = rollup_overall.output_tokens + excluded.output_tokens,
      usd = rollup_overall.usd + excluded.usd,
      nanos = rollup_overall.nanos + excluded.nanos;
  RETURN NULL;
END
$$;
CREATE TRIGGER rollups_added AFTER INSERT ON rollups REFERENCING NEW TABLE AS came
  FOR EACH STATEMENT EXECUTE FUNCTION rollups_added();
CREATE TRIGGER rollups_changed AFTER UPDATE ON rollups REFERENCING OLD TABLE AS went NEW TABLE AS came
  FOR EACH STATEMENT EXECUTE FUNCTION rollups_changed();
CREATE TRIGGER rollups_gone AFTER DELETE ON rollups REFERENCING OLD TABLE AS went
  FOR EACH STATEMENT EXECUTE FUNCTION rollups_gone();
