-- API tokens of users: only their hashes. A token is never removed: audit entries and facts go on naming it.
CREATE TABLE api_tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  hash TEXT NOT NULL UNIQUE,
  -- Its first characters, to know it by.
  token_prefix TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id),
  -- A project that is removed takes its name off: another one may get its id.
  project_id TEXT REFERENCES projects (id) ON DELETE SET NULL,
  agent_id INTEGER REFERENCES agents (id),
  name TEXT,
  -- As in projects; names are sorted by it.
  name_key TEXT NOT NULL,
  description TEXT,
  provider TEXT,
  scopes TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  -- Written in batches, some seconds late.
  last_used_at INTEGER,
  uses INTEGER NOT NULL CHECK (uses >= 0)
) STRICT;
CREATE INDEX api_tokens_user ON api_tokens (user_id, created_at, id);
CREATE INDEX api_tokens_agent ON api_tokens (agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX api_tokens_project ON api_tokens (project_id) WHERE project_id IS NOT NULL;

-- How often a token was used, by minute; kept for two days.
CREATE TABLE api_token_uses (
  token_id INTEGER NOT NULL REFERENCES api_tokens (id),
  minute_start INTEGER NOT NULL,
  uses INTEGER NOT NULL CHECK (uses > 0),
  PRIMARY KEY (token_id, minute_start)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_token_uses_minute ON api_token_uses (minute_start);

-- From where a login was last seen, so that its owner can tell which it is.
ALTER TABLE sessions ADD COLUMN ip_address TEXT;
ALTER TABLE sessions ADD COLUMN user_agent TEXT;
ALTER TABLE sessions ADD COLUMN last_used_at INTEGER;
