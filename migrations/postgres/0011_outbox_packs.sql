-- Events of the live stream that were committed together stand in one row: most come by the dozen.

CREATE TABLE outbox_packs (
  -- The place of the last event of the row.
  seq BIGINT PRIMARY KEY,
  -- The place of the first.
  first_seq BIGINT NOT NULL CHECK (first_seq <= seq),
  -- A line for each: the agent's number or `-`, what happened, and a JSON object, with a space between them.
  events TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
INSERT INTO outbox_packs (seq, first_seq, events, created_at)
  SELECT seq, seq, COALESCE(CAST(agent_id AS TEXT), '-') || ' ' || kind || ' ' || payload, created_at FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_packs RENAME TO outbox;
