-- unrdf: background work that can be proved. Run through CREATE EXTENSION.
\echo Use "CREATE EXTENSION unrdf" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;
