-- What agents are doing, as the live stream was last told, and which alerts have been raised.

-- The state told last; NULL: nothing yet.
ALTER TABLE agent_books ADD COLUMN state TEXT
  CHECK (state IN ('running', 'idle', 'exhausted', 'frozen', 'inactive', 'deleted'));
-- Whether a freeze covers the agent, and until when it has an IC token and a key it can use: copies, renewed by whatever
-- changes them.
ALTER TABLE agent_books ADD COLUMN frozen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent_books ADD COLUMN usable_until BIGINT NOT NULL DEFAULT 0;
-- How many of its leases are active.
ALTER TABLE agent_books ADD COLUMN open_leases BIGINT NOT NULL DEFAULT 0;
-- When an LLM request of it was last told of.
ALTER TABLE agent_books ADD COLUMN fact_at BIGINT NOT NULL DEFAULT 0;
-- When its state must be looked at again though nothing happens; not after that time. At first: at once.
ALTER TABLE agent_books ADD COLUMN look_at BIGINT DEFAULT 0;
UPDATE agent_books SET look_at = NULL WHERE agent_id = 0;
UPDATE agent_books SET open_leases = (SELECT COUNT(*) FROM leases WHERE leases.agent_id = agent_books.agent_id
  AND leases.state <> 'closed' AND leases.state = 'active');
CREATE INDEX agent_books_look ON agent_books (look_at) WHERE look_at IS NOT NULL;

-- Agents whose state may have changed by something that happened elsewhere: a scope as in budgets, or `key:<id>`.
CREATE TABLE state_looks (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target TEXT NOT NULL,
  noted_at BIGINT NOT NULL
);

-- Each alert is raised once: its row is written in the transaction that raises it.
CREATE TABLE alerts (
  budget_no BIGINT NOT NULL REFERENCES budgets (no),
  window_start BIGINT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('threshold', 'overrun', 'exhausted')),
  -- Percent of the cap; 0 for an overrun; the cap that is exhausted, so that a raised one can be exhausted too.
  mark BIGINT NOT NULL,
  spent BIGINT NOT NULL,
  cap BIGINT NOT NULL,
  raised_at BIGINT NOT NULL,
  PRIMARY KEY (budget_no, window_start, kind, mark)
);
