-- Sums over all agents: what is asked of providers, models and outcomes alone need not read the cells of every agent. Kept
-- from the roll-ups by the database itself, in whatever way these change; kept apart in dollars and the rest of them, so that
-- no sum leaves the range.
-- The paired file under migrations/postgres creates the same table.

CREATE TABLE rollup_overall (
  level INTEGER NOT NULL,
  bucket_start INTEGER NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  status TEXT NOT NULL,
  requests INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  usd INTEGER NOT NULL,
  nanos INTEGER NOT NULL,
  PRIMARY KEY (level, bucket_start, provider, model, status)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT r.level, r.bucket_start, s.provider, s.model, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no GROUP BY 1, 2, 3, 4, 5;

CREATE TRIGGER rollups_added AFTER INSERT ON rollups BEGIN
  INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT new.level, new.bucket_start, s.provider, s.model, s.status, new.requests, new.input_tokens, new.output_tokens, (new.cost / 1000000000), (new.cost % 1000000000)
    FROM series AS s WHERE s.no = new.series_no
    ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET
      requests = rollup_overall.requests + excluded.requests,
      input_tokens = rollup_overall.input_tokens + excluded.input_tokens,
      output_tokens = rollup_overall.output_tokens + excluded.output_tokens,
      usd = rollup_overall.usd + excluded.usd,
      nanos = rollup_overall.nanos + excluded.nanos;
END;
CREATE TRIGGER rollups_changed AFTER UPDATE OF requests, input_tokens, output_tokens, cost ON rollups BEGIN
  INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT new.level, new.bucket_start, s.provider, s.model, s.status, new.requests - old.requests, new.input_tokens - old.input_tokens, new.output_tokens - old.output_tokens, new.cost / 1000000000 - old.cost / 1000000000, new.cost % 1000000000 - old.cost % 1000000000
    FROM series AS s WHERE s.no = new.series_no
    ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET
      requests = rollup_overall.requests + excluded.requests,
      input_tokens = rollup_overall.input_tokens + excluded.input_tokens,
      output_tokens = rollup_overall.output_tokens + excluded.output_tokens,
      usd = rollup_overall.usd + excluded.usd,
      nanos = rollup_overall.nanos + excluded.nanos;
END;
CREATE TRIGGER rollups_gone AFTER DELETE ON rollups BEGIN
  INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
    SELECT old.level, old.bucket_start, s.provider, s.model, s.status, -old.requests, -old.input_tokens, -old.output_tokens, -(old.cost / 1000000000), -(old.cost % 1000000000)
    FROM series AS s WHERE s.no = old.series_no
    ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET
      requests = rollup_overall.requests + excluded.requests,
      input_tokens = rollup_overall.input_tokens + excluded.input_tokens,
      output_tokens = rollup_overall.output_tokens + excluded.output_tokens,
      usd = rollup_overall.usd + excluded.usd,
      nanos = rollup_overall.nanos + excluded.nanos;
END;
