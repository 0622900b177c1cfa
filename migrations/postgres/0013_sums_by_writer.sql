-- Who writes cells writes the sums over several series with them, those over all agents last, so that servers hardly wait
-- for each other; so there can be such sums of quarters of an hour here too, as there are in the paired file's database.
DROP TRIGGER rollups_added ON rollups;
DROP TRIGGER rollups_changed ON rollups;
DROP TRIGGER rollups_gone ON rollups;
DROP TRIGGER rollups_added_agents ON rollups;
DROP TRIGGER rollups_changed_agents ON rollups;
DROP TRIGGER rollups_gone_agents ON rollups;
DROP FUNCTION rollups_added();
DROP FUNCTION rollups_changed();
DROP FUNCTION rollups_gone();
DROP FUNCTION rollups_added_agents();
DROP FUNCTION rollups_changed_agents();
DROP FUNCTION rollups_gone_agents();

INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT 0, r.bucket_start, s.provider, s.model, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE r.level = 0 GROUP BY 2, 3, 4, 5;
INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT 0, r.bucket_start, s.agent_id, s.status, SUM(r.requests), SUM(r.input_tokens), SUM(r.output_tokens),
    SUM(r.cost / 1000000000), SUM(r.cost % 1000000000)
  FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE r.level = 0 GROUP BY 2, 3, 4;
