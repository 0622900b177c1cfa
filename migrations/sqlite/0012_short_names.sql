-- Names of facts are found by the first 63 bits of their SHA-256: what is found is compared with the name itself anyway, and
-- short keys are fewer pages for every event to be written to.
CREATE TABLE fact_names (
  agent_id INTEGER NOT NULL,
  hash INTEGER NOT NULL CHECK (hash >= 0),
  fact_id INTEGER NOT NULL,
  PRIMARY KEY (agent_id, hash, fact_id)
) STRICT, WITHOUT ROWID;
INSERT INTO fact_names (agent_id, hash, fact_id)
  SELECT k.agent_id, (instr('123456789ABCDEF', substr(k.hex, 1, 1)) << 59)
    | (instr('123456789ABCDEF', substr(k.hex, 2, 1)) << 55) | (instr('123456789ABCDEF', substr(k.hex, 3, 1)) << 51)
    | (instr('123456789ABCDEF', substr(k.hex, 4, 1)) << 47) | (instr('123456789ABCDEF', substr(k.hex, 5, 1)) << 43)
    | (instr('123456789ABCDEF', substr(k.hex, 6, 1)) << 39) | (instr('123456789ABCDEF', substr(k.hex, 7, 1)) << 35)
    | (instr('123456789ABCDEF', substr(k.hex, 8, 1)) << 31) | (instr('123456789ABCDEF', substr(k.hex, 9, 1)) << 27)
    | (instr('123456789ABCDEF', substr(k.hex, 10, 1)) << 23) | (instr('123456789ABCDEF', substr(k.hex, 11, 1)) << 19)
    | (instr('123456789ABCDEF', substr(k.hex, 12, 1)) << 15) | (instr('123456789ABCDEF', substr(k.hex, 13, 1)) << 11)
    | (instr('123456789ABCDEF', substr(k.hex, 14, 1)) << 7) | (instr('123456789ABCDEF', substr(k.hex, 15, 1)) << 3)
    | (instr('123456789ABCDEF', substr(k.hex, 16, 1)) >> 1), k.fact_id
  FROM (SELECT agent_id, hex(substr(hash, 1, 8)) AS hex, fact_id FROM fact_ids) AS k
  -- Of one fact, two names may have become one
  WHERE true ON CONFLICT DO NOTHING;
DROP TABLE fact_ids;
ALTER TABLE fact_names RENAME TO fact_ids;
