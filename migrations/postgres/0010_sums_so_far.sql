-- Sums of days and months as far as they are: of a day that is not over, over its hours that are summed up (level 11), of a
-- month over its days (level 12). A question that reaches to the present reads one of them instead of up to 30 others.
-- The paired file under migrations/sqlite does the same.

INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT 11, bucket_start - bucket_start % 86400000, provider, model, status, SUM(requests), SUM(input_tokens), SUM(output_tokens), SUM(usd), SUM(nanos)
  FROM rollup_overall WHERE level = 1 GROUP BY 2, 3, 4, 5;
INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT 12, CAST(extract(epoch FROM date_trunc('month', to_timestamp(bucket_start / 1000) AT TIME ZONE 'UTC')) AS BIGINT) * 1000, provider, model, status, SUM(requests), SUM(input_tokens), SUM(output_tokens), SUM(usd), SUM(nanos)
  FROM rollup_overall WHERE level = 2 GROUP BY 2, 3, 4, 5;
INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT 11, bucket_start - bucket_start % 86400000, agent_id, status, SUM(requests), SUM(input_tokens), SUM(output_tokens), SUM(usd), SUM(nanos)
  FROM rollup_agents WHERE level = 1 GROUP BY 2, 3, 4;
INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, output_tokens, usd, nanos)
  SELECT 12, CAST(extract(epoch FROM date_trunc('month', to_timestamp(bucket_start / 1000) AT TIME ZONE 'UTC')) AS BIGINT) * 1000, agent_id, status, SUM(requests), SUM(input_tokens), SUM(output_tokens), SUM(usd), SUM(nanos)
  FROM rollup_agents WHERE level = 2 GROUP BY 2, 3, 4;
