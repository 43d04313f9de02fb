-- Run once, while the volume is empty.
CREATE TABLE entidades (id serial PRIMARY KEY, nombre text NOT NULL UNIQUE);
INSERT INTO entidades (nombre) VALUES ('PEMEX'), ('IMSS'), ('CFE');
