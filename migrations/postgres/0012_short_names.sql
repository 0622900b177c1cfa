-- Names of facts are found by the first 63 bits of their SHA-256: what is found is compared with the name itself anyway, and
-- short keys are fewer pages for every event to be written to.
CREATE TABLE fact_names (
  agent_id BIGINT NOT NULL,
  hash BIGINT NOT NULL CHECK (hash >= 0),
  fact_id BIGINT NOT NULL
);
INSERT INTO fact_names (agent_id, hash, fact_id)
  -- Of one fact, two names may have become one
  SELECT DISTINCT k.agent_id, (('x' || encode(substring(k.hash FROM 1 FOR 8), 'hex'))::bit(64) >> 1)::bigint, k.fact_id
  FROM fact_ids AS k;
DROP TABLE fact_ids;
ALTER TABLE fact_names RENAME TO fact_ids;
ALTER TABLE fact_ids ADD CONSTRAINT fact_ids_pkey PRIMARY KEY (agent_id, hash, fact_id);
