-- Who writes cells writes the sums over several series with them, each row once; a trigger writes them again for every cell.
-- The paired file also adds the sums of quarters of an hour, which are here already.
DROP TRIGGER rollups_added;
DROP TRIGGER rollups_changed;
DROP TRIGGER rollups_gone;
DROP TRIGGER rollups_added_agents;
DROP TRIGGER rollups_changed_agents;
DROP TRIGGER rollups_gone_agents;
