-- Settings that somebody has set, one row for each; and where the audit log begins.

-- What a level was last changed by. The row is locked by whoever changes the level, so that settings that must fit
-- together are judged together. The subject is a project or a user; empty for the system.
CREATE TABLE settings_levels (
  level TEXT NOT NULL CHECK (level IN ('system', 'project', 'user')),
  subject TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  updated_by TEXT NOT NULL,
  PRIMARY KEY (level, subject)
);

CREATE TABLE settings (
  level TEXT NOT NULL,
  subject TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (level, subject, name),
  FOREIGN KEY (level, subject) REFERENCES settings_levels (level, subject)
);

-- The last audit entry that was removed because its time was over: the chain goes on from its hash. Nothing has been
-- removed while seq is 0.
CREATE TABLE audit_checkpoint (
  id BIGINT PRIMARY KEY CHECK (id = 1),
  seq BIGINT NOT NULL CHECK (seq >= 0),
  hash BYTEA NOT NULL CHECK (length(hash) = 32),
  recorded_at BIGINT NOT NULL,
  pruned_at BIGINT NOT NULL
);
INSERT INTO audit_checkpoint VALUES (1, 0, decode(repeat('00', 32), 'hex'), 0, 0);

-- For questions about one thing or one kind of action.
CREATE INDEX audit_resource ON audit (resource_id, seq) WHERE resource_id IS NOT NULL;
CREATE INDEX audit_operation ON audit (operation, seq);
