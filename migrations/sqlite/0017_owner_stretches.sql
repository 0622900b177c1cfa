-- Sums of owners over half an hour (21), three hours (22), six (23) and twelve (24), as far as hours are folded: days of zones
-- that are not whole hours from UTC are put together from few of them.
-- The paired file under migrations/postgres does the same.

INSERT INTO rollup_owners (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status, requests,
    input_tokens, output_tokens, usd, nanos)
  SELECT 21, (o.bucket_start / 1800000) * 1800000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status,
    SUM(o.requests), SUM(o.input_tokens), SUM(o.output_tokens), SUM(o.usd), SUM(o.nanos)
  FROM rollup_owners AS o WHERE o.level = 0
  GROUP BY (o.bucket_start / 1800000) * 1800000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status;
INSERT INTO rollup_owners (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status, requests,
    input_tokens, output_tokens, usd, nanos)
  SELECT 22, (o.bucket_start / 10800000) * 10800000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status,
    SUM(o.requests), SUM(o.input_tokens), SUM(o.output_tokens), SUM(o.usd), SUM(o.nanos)
  FROM rollup_owners AS o WHERE o.level = 1
  GROUP BY (o.bucket_start / 10800000) * 10800000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status;
INSERT INTO rollup_owners (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status, requests,
    input_tokens, output_tokens, usd, nanos)
  SELECT 23, (o.bucket_start / 21600000) * 21600000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status,
    SUM(o.requests), SUM(o.input_tokens), SUM(o.output_tokens), SUM(o.usd), SUM(o.nanos)
  FROM rollup_owners AS o WHERE o.level = 1
  GROUP BY (o.bucket_start / 21600000) * 21600000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status;
INSERT INTO rollup_owners (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status, requests,
    input_tokens, output_tokens, usd, nanos)
  SELECT 24, (o.bucket_start / 43200000) * 43200000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status,
    SUM(o.requests), SUM(o.input_tokens), SUM(o.output_tokens), SUM(o.usd), SUM(o.nanos)
  FROM rollup_owners AS o WHERE o.level = 1
  GROUP BY (o.bucket_start / 43200000) * 43200000, o.owner_id, o.project_id, o.provider_key_id, o.provider, o.model, o.status;
