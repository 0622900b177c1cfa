-- Sums of each agent for quarters of an hour too. Those of quarters, over all agents and of each, are written with the batch
-- that changes them, each row once: a trigger would write it again for every cell. Longer ones stay with the triggers.
-- On PostgreSQL there are none for quarters; the paired file has nothing to do.

DROP TRIGGER rollups_added;
DROP TRIGGER rollups_changed;
DROP TRIGGER rollups_gone;

INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT r.level, r.bucket_start, s.agent_id, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE r.level = 0 GROUP BY 1, 2, 3, 4;

CREATE TRIGGER rollups_added AFTER INSERT ON rollups WHEN new.level > 0 BEGIN
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
CREATE TRIGGER rollups_changed AFTER UPDATE OF requests, input_tokens, output_tokens, cost ON rollups WHEN new.level > 0 BEGIN
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
CREATE TRIGGER rollups_gone AFTER DELETE ON rollups WHEN old.level > 0 BEGIN
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
