-- Requests for another budget, limits of owners, and the token ceiling of the whole installation.
-- The paired file under migrations/postgres creates the same tables.

-- Somebody asks that an agent's total becomes `requested_cap`. Rows stay when the agent or the requester is deleted.
CREATE TABLE budget_requests (
  id TEXT PRIMARY KEY,
  agent_id INTEGER NOT NULL REFERENCES agents (id),
  requester_id TEXT NOT NULL REFERENCES users (id),
  -- The agent's total when it was asked for.
  current_cap INTEGER NOT NULL CHECK (current_cap >= 0),
  requested_cap INTEGER NOT NULL CHECK (requested_cap > 0),
  justification TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'cancelled')),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  reviewed_at INTEGER,
  reviewed_by TEXT,
  -- What the reviewer says, or why it was cancelled.
  notes TEXT,
  approved_cap INTEGER CHECK (approved_cap > 0),
  cancelled_at INTEGER,
  cancelled_by TEXT,
  CHECK ((status IN ('approved', 'rejected')) = (reviewed_at IS NOT NULL)),
  CHECK ((status = 'approved') = (approved_cap IS NOT NULL)),
  CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_requests_created ON budget_requests (created_at, id);
CREATE INDEX budget_requests_agent ON budget_requests (agent_id, created_at, id);
CREATE INDEX budget_requests_requester ON budget_requests (requester_id, created_at, id);

-- Quotas of an owner, or of an owner in one project. The money column is a budget.
CREATE TABLE limits (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- As in budgets.
  scope_key TEXT NOT NULL UNIQUE,
  user_id TEXT NOT NULL REFERENCES users (id),
  project_id TEXT REFERENCES projects (id),
  tokens_per_day INTEGER CHECK (tokens_per_day > 0),
  requests_per_minute INTEGER CHECK (requests_per_minute > 0),
  budget_id TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (tokens_per_day IS NOT NULL OR requests_per_minute IS NOT NULL OR budget_id IS NOT NULL)
) STRICT;
CREATE INDEX limits_user ON limits (user_id);
CREATE INDEX limits_project ON limits (project_id) WHERE project_id IS NOT NULL;

-- How many tokens the whole installation may use in a day: one row.
CREATE TABLE token_ceiling (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  tokens_per_day INTEGER CHECK (tokens_per_day > 0),
  updated_at INTEGER,
  updated_by TEXT
) STRICT;
INSERT INTO token_ceiling VALUES (1, NULL, NULL, NULL);
