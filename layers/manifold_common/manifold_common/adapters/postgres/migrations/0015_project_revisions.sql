-- Counts the changes to what is told of a project that make no generation, such as another name: with the generation it
-- tells two states of a project apart.
ALTER TABLE projects ADD COLUMN revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0);
