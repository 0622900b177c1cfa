-- Money is BIGINT nano-dollars, times are milliseconds since the epoch, flags are 0 or 1.
-- The paired file under migrations/postgres creates the same tables.

-- The ends of the gapless sequences and of the audit chain: one row, locked last in every transaction that appends.
CREATE TABLE heads (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  stream_epoch TEXT NOT NULL,
  journal_seq INTEGER NOT NULL CHECK (journal_seq >= 0),
  outbox_seq INTEGER NOT NULL CHECK (outbox_seq >= 0),
  audit_seq INTEGER NOT NULL CHECK (audit_seq >= 0),
  audit_hash BLOB NOT NULL CHECK (length(audit_hash) = 32),
  -- Rises with every change to agents, tokens, keys, assignments and freezes: a cached picture of them is current
  -- exactly while this has not moved.
  directory_version INTEGER NOT NULL
) STRICT;
INSERT INTO heads VALUES (1, lower(hex(randomblob(8))), 0, 0, 0, zeroblob(32), 1);

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  username TEXT NOT NULL,
  username_key TEXT NOT NULL UNIQUE,
  email TEXT,
  email_key TEXT UNIQUE,
  password_hash TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
  is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
  must_change_password INTEGER NOT NULL CHECK (must_change_password IN (0, 1)),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  last_login INTEGER,
  suspended_at INTEGER,
  deleted_at INTEGER
) STRICT;

-- Failed logins in a row, by e-mail, known or not. Anybody can make such rows, so they go after a while: `failed_at`.
CREATE TABLE login_failures (
  email_key TEXT PRIMARY KEY,
  failures INTEGER NOT NULL,
  locked_until INTEGER,
  failed_at INTEGER NOT NULL
) STRICT;

-- A login and everything that descends from it.
CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id),
  created_at INTEGER NOT NULL,
  ended_at INTEGER,
  end_reason TEXT
) STRICT;
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE refresh_tokens (
  hash TEXT PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  spent_at INTEGER
) STRICT;
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE projects (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  -- The name in lower case, made by the program: the databases disagree about letters beyond ASCII.
  name_key TEXT NOT NULL,
  description TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
INSERT INTO projects VALUES ('proj_master_001', 'Master Project', 'master project', 'The whole installation', 0, 0);

CREATE TABLE provider_keys (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  provider TEXT NOT NULL,
  base_url TEXT,
  description TEXT,
  models TEXT NOT NULL,
  is_enabled INTEGER NOT NULL CHECK (is_enabled IN (0, 1)),
  masked_key TEXT NOT NULL,
  -- What the ciphertext is bound to: a row that borrows another row's ciphertext cannot be opened.
  secret_ref TEXT NOT NULL UNIQUE,
  kek_id TEXT NOT NULL,
  wrapped_key BLOB NOT NULL,
  ciphertext BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  last_used_at INTEGER,
  rotated_at INTEGER
) STRICT;

CREATE TABLE project_provider_keys (
  project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  provider TEXT NOT NULL,
  key_id INTEGER NOT NULL REFERENCES provider_keys (id) ON DELETE CASCADE,
  assigned_at INTEGER NOT NULL,
  PRIMARY KEY (project_id, provider)
) STRICT, WITHOUT ROWID;
CREATE INDEX project_provider_keys_key ON project_provider_keys (key_id);

CREATE TABLE agents (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  -- As in projects; names are sorted by it.
  name_key TEXT NOT NULL,
  providers TEXT NOT NULL,
  description TEXT,
  tags TEXT NOT NULL,
  owner_id TEXT NOT NULL REFERENCES users (id),
  project_id TEXT REFERENCES projects (id),
  primary_key_id INTEGER REFERENCES provider_keys (id) ON DELETE SET NULL,
  ic_token_hash TEXT,
  ic_token_created_at INTEGER,
  ic_token_expires_at INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  deleted_at INTEGER
) STRICT;
CREATE INDEX agents_owner ON agents (owner_id);
CREATE INDEX agents_project ON agents (project_id);
CREATE INDEX agents_primary_key ON agents (primary_key_id);

CREATE TABLE agent_provider_keys (
  agent_id INTEGER NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
  key_id INTEGER NOT NULL REFERENCES provider_keys (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  PRIMARY KEY (agent_id, key_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_provider_keys_key ON agent_provider_keys (key_id);

-- What the ledger keeps about an agent; whoever changes a lease of the agent holds the lock on this row. Agent 0 is the
-- journal chain of budgets above agents.
CREATE TABLE agent_books (
  agent_id INTEGER PRIMARY KEY,
  -- Copies of the agent's owner and project, changed in the same transaction: read under this row's lock.
  owner_id TEXT NOT NULL,
  project_id TEXT,
  epoch INTEGER NOT NULL CHECK (epoch >= 1),
  alive_since INTEGER NOT NULL,
  alive_until INTEGER NOT NULL,
  chain_length INTEGER NOT NULL CHECK (chain_length >= 0),
  chain_hash BLOB NOT NULL CHECK (length(chain_hash) = 32)
) STRICT;
INSERT INTO agent_books VALUES (0, '', NULL, 1, 0, 0, 0, zeroblob(32));

CREATE TABLE budgets (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  scope_key TEXT NOT NULL,
  scope_kind TEXT NOT NULL CHECK (scope_kind IN ('organization', 'project', 'owner', 'owner_project', 'agent')),
  name TEXT,
  cap INTEGER NOT NULL CHECK (cap >= 0 AND cap <= 9007199254740991000),
  budget_window TEXT NOT NULL CHECK (budget_window IN ('none', 'day', 'week', 'month')),
  time_zone TEXT NOT NULL,
  thresholds TEXT NOT NULL,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  source TEXT NOT NULL CHECK (source IN ('policy', 'agent_allocation', 'limit')),
  opened_window INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  created_by TEXT,
  deleted_at INTEGER
) STRICT;
-- A budget that gets another window ends, and goes on under its id as a new row.
CREATE UNIQUE INDEX budgets_id ON budgets (id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX budgets_scope ON budgets (scope_key, budget_window) WHERE deleted_at IS NULL;

CREATE TABLE accounts (
  budget_no INTEGER NOT NULL REFERENCES budgets (no),
  window_start INTEGER NOT NULL,
  spent INTEGER NOT NULL CHECK (spent >= 0),
  leased INTEGER NOT NULL CHECK (leased >= 0),
  suspense INTEGER NOT NULL CHECK (suspense >= 0),
  overrun INTEGER NOT NULL CHECK (overrun >= 0 AND overrun <= spent),
  CHECK (spent + leased + suspense <= 9007199254740991000),
  PRIMARY KEY (budget_no, window_start)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
  id TEXT PRIMARY KEY,
  agent_id INTEGER NOT NULL REFERENCES agents (id),
  owner_id TEXT NOT NULL,
  project_id TEXT,
  epoch INTEGER NOT NULL,
  granted INTEGER NOT NULL CHECK (granted > 0),
  state TEXT NOT NULL CHECK (state IN ('active', 'expired', 'revoked', 'closed')),
  reported INTEGER NOT NULL CHECK (reported >= 0),
  stated INTEGER CHECK (stated >= 0),
  events INTEGER NOT NULL CHECK (events >= 0),
  claimed INTEGER CHECK (claimed >= 0),
  report_count INTEGER NOT NULL,
  highest_seq INTEGER,
  created_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  -- Not after the true expiry, moved only by the sweep, so that a report does not touch an index.
  sweep_at INTEGER NOT NULL,
  ended_at INTEGER,
  ended_by TEXT CHECK (ended_by IN ('return', 'refresh', 'settle', 'expiry', 'revoke', 'agent_deleted')),
  reason TEXT,
  supersedes TEXT,
  superseded_by TEXT,
  settled_presumed_spent INTEGER,
  settled_spent INTEGER CHECK (settled_spent >= 0),
  settled_reason TEXT,
  settled_by TEXT,
  settled_at INTEGER,
  provider TEXT NOT NULL,
  provider_key_id INTEGER NOT NULL,
  runtime_id TEXT,
  runtime_version TEXT,
  CHECK ((state = 'active') = (ended_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_agent ON leases (agent_id, created_at, id);
CREATE INDEX leases_created ON leases (created_at, id);
CREATE INDEX leases_sweep ON leases (sweep_at) WHERE state = 'active';
-- What is open, to be counted or revoked; a settled lease takes no room in it.
CREATE INDEX leases_open ON leases (agent_id, state) WHERE state <> 'closed';
-- What waits for an operator.
CREATE INDEX leases_suspense ON leases (state, created_at, id) WHERE state IN ('expired', 'revoked');

CREATE TABLE reports (
  lease_id TEXT NOT NULL REFERENCES leases (id),
  request_id TEXT NOT NULL,
  cost INTEGER NOT NULL CHECK (cost >= 0),
  tokens INTEGER NOT NULL CHECK (tokens >= 0),
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  occurred_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  PRIMARY KEY (lease_id, request_id)
) STRICT, WITHOUT ROWID;

-- Idempotency keys of handshake and refresh; kept for a day.
CREATE TABLE grant_requests (
  agent_id INTEGER NOT NULL REFERENCES agents (id),
  request_key TEXT NOT NULL,
  body_hash BLOB NOT NULL CHECK (length(body_hash) = 32),
  lease_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (agent_id, request_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_requests_created ON grant_requests (created_at);

CREATE TABLE journal (
  seq INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  agent_id INTEGER,
  lease_id TEXT,
  request_id TEXT,
  amount INTEGER NOT NULL,
  -- `<budget no>@<window start>`, comma-separated: the same delta was posted on each
  accounts TEXT NOT NULL,
  available INTEGER NOT NULL,
  leased INTEGER NOT NULL,
  suspense INTEGER NOT NULL,
  spent INTEGER NOT NULL,
  overrun INTEGER NOT NULL,
  occurred_at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  -- Money is neither made nor lost: a move adds up to zero, a change of a cap to that change.
  CHECK (kind IN ('allocate', 'adjust') OR available + leased + suspense + spent + overrun = 0)
) STRICT;
CREATE INDEX journal_agent ON journal (agent_id, seq);
CREATE INDEX journal_lease ON journal (lease_id) WHERE lease_id IS NOT NULL;

CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY,
  agent_id INTEGER,
  kind TEXT NOT NULL,
  payload TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE freezes (
  id TEXT PRIMARY KEY,
  scope_key TEXT NOT NULL,
  scope_kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  frozen_at INTEGER NOT NULL,
  frozen_by TEXT NOT NULL,
  unfrozen_at INTEGER,
  unfrozen_by TEXT,
  unfreeze_reason TEXT
) STRICT;
CREATE UNIQUE INDEX freezes_active ON freezes (scope_key) WHERE unfrozen_at IS NULL;

CREATE TABLE budget_history (
  id TEXT PRIMARY KEY,
  agent_id INTEGER NOT NULL REFERENCES agents (id),
  previous_cap INTEGER NOT NULL,
  new_cap INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('create', 'edit', 'request')),
  request_id TEXT,
  reason TEXT,
  modified_by TEXT NOT NULL,
  modified_at INTEGER NOT NULL
) STRICT;
CREATE INDEX budget_history_agent ON budget_history (agent_id, modified_at);

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  recorded_at INTEGER NOT NULL,
  operation TEXT NOT NULL,
  resource_type TEXT NOT NULL,
  resource_id TEXT,
  user_id TEXT,
  user_role TEXT,
  agent_id INTEGER,
  ip_address TEXT,
  user_agent TEXT,
  request_id TEXT,
  before_state TEXT,
  after_state TEXT,
  metadata TEXT NOT NULL,
  prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_user ON audit (user_id, seq);
