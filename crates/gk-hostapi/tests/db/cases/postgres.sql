+ SELECT "s" FROM "granted_a"
+ SELECT S FROM GRANTED_A
+ SELECT s FROM public.granted_a
+ SELECT id::text FROM granted_a
+ SELECT s FROM granted_a WHERE id = ANY (ARRAY[1, 2])
+ SELECT s FROM granted_a WHERE id<? AND id>?-1
+ SELECT s || ? FROM granted_a
+ SELECT array_agg(s ORDER BY id) FROM granted_a
+ SELECT string_agg(s, ',') FILTER (WHERE id > 1) FROM granted_a
+ SELECT now(), current_date, current_timestamp
+ SELECT '{"a": 1}'::jsonb -> 'a', '{"a": 1}'::jsonb ->> 'a', '{"a": 1}'::jsonb @> '{}'
+ SELECT * FROM jsonb_array_elements('[1, 2]')
+ SELECT * FROM granted_a, LATERAL (SELECT granted_a.id AS i) x
+ SELECT s FROM granted_a WHERE s ILIKE 'A%' OR s ~ '^a'
+ SELECT DISTINCT ON (s) s, id FROM granted_a ORDER BY s, id
+ SELECT EXTRACT(YEAR FROM now()), date_trunc('day', now())
+ SELECT INTERVAL '1 day', DATE '2024-01-31'
+ INSERT INTO granted_a (id, s) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = excluded.s
+ INSERT INTO granted_a (id, s) VALUES (1, 'x') ON CONFLICT DO NOTHING
+ UPDATE granted_a SET s = b.s FROM granted_b b WHERE b.id = granted_a.id
+ DELETE FROM granted_a USING granted_b b WHERE b.id = granted_a.id AND b.id > 100
+ WITH x AS (SELECT 1 AS id) DELETE FROM granted_a WHERE id IN (SELECT id + 100 FROM x)
+ CREATE TABLE granted_p (id BIGSERIAL PRIMARY KEY, s TEXT NOT NULL, at TIMESTAMPTZ DEFAULT now(), tags TEXT[], j JSONB, CHECK (length(s) < 10))
+ TRUNCATE TABLE granted_p
+ DROP TABLE granted_p
+ CREATE TABLE granted_i (id INTEGER GENERATED ALWAYS AS IDENTITY, s TEXT)
+ DROP TABLE granted_i
+ SELECT s FROM granted_a FETCH FIRST 1 ROW ONLY
+ SELECT GREATEST(1, 2), md5('x'), to_char(now(), 'YYYY')
- SELECT * FROM "secret"
- SELECT * FROM "Granted_a", secret
- SELECT * FROM public.secret
- SELECT * FROM "public"."secret"
- SELECT * FROM other.granted_a
- SELECT * FROM "other"."granted_a"
- INSERT INTO other.granted_a VALUES (1, 'x')
- DROP TABLE other.granted_a
- ALTER TABLE granted_a SET SCHEMA other
- ALTER TABLE granted_a OWNER TO gk
- ALTER TABLE granted_a INHERIT secret
- SELECT * FROM pg_catalog.pg_class
- SELECT * FROM pg_class
- SELECT * FROM pg_user
- SELECT * FROM pg_shadow
- SELECT * FROM pg_stat_activity
- SELECT * FROM "pg_authid"
- SELECT * FROM pg_toast.x
- SELECT * FROM pg_temp.x
- SELECT * FROM ONLY secret
- SELECT * FROM ONLY (secret)
- SELECT * FROM secret *
- SELECT * FROM secret TABLESAMPLE SYSTEM (100)
- SELECT * FROM generate_series(1, 1), secret
- SELECT * FROM generate_series(1, 1000000000)
- SELECT generate_series(1, 1000000000)
- SELECT * FROM ROWS FROM (pg_ls_dir('/'))
- SELECT * FROM pg_ls_dir('/')
- SELECT pg_read_file('/etc/passwd')
- SELECT pg_read_binary_file('/etc/passwd')
- SELECT pg_catalog.pg_read_file('/etc/passwd')
- SELECT "pg_read_file"('/etc/passwd')
- SELECT lo_import('/etc/passwd')
- SELECT lo_get(1)
- SELECT dblink('host=127.0.0.1', 'SELECT 1')
- SELECT query_to_xml('SELECT * FROM secret', true, true, '')
- SELECT table_to_xml('secret', true, true, '')
- SELECT database_to_xml(true, true, '')
- SELECT cursor_to_xml('x', 1, true, true, '')
- SELECT set_config('x.y', 'z', false)
- SELECT current_setting('data_directory')
- SELECT nextval('x')
- SELECT setval('x', 1)
- SELECT pg_terminate_backend(1)
- SELECT pg_advisory_lock(1)
- SELECT pg_notify('x', 'y')
- SELECT txid_current()
- SELECT version()
- SELECT current_user
- SELECT session_user
- SELECT current_database()
- SELECT inet_server_addr()
- SELECT repeat('x', 1000000000)
- SELECT lpad('x', 1000000000)
- SELECT 'secret'::regclass
- SELECT CAST('secret' AS regclass)
- SELECT regclass 'secret'
- SELECT 'secret'::regtype
- SELECT has_table_privilege('secret', 'SELECT')
- SELECT ts_stat('SELECT * FROM secret')
- SELECT * FROM ts_stat('SELECT to_tsvector(s) FROM secret')
- SELECT * FROM xmltable('/x' PASSING '<x/>' COLUMNS a TEXT)
- SELECT * FROM LATERAL (SELECT * FROM secret) x
- SELECT * FROM granted_a, LATERAL (SELECT s FROM secret WHERE secret.id = granted_a.id) x
- SELECT ARRAY(SELECT s FROM secret)
- SELECT id = ANY (SELECT id FROM secret) FROM granted_a
- SELECT id > ALL (SELECT id FROM secret) FROM granted_a
- SELECT array_agg(s ORDER BY (SELECT MAX(s) FROM secret)) FROM granted_a
- SELECT COUNT(*) FILTER (WHERE EXISTS (SELECT 1 FROM secret)) FROM granted_a
- SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY (SELECT MAX(id) FROM secret)) FROM granted_a
- SELECT DISTINCT ON ((SELECT MAX(s) FROM secret)) s FROM granted_a
- SELECT $$x$$
- SELECT $x$secret$x$
- SELECT * FROM granted_a WHERE s = $$'$$ UNION SELECT * FROM secret --'
- SELECT E'\' UNION SELECT s FROM secret --'
- SELECT e'\x41'
- SELECT U&"\0073ecret" FROM granted_a
- SELECT * FROM U&"\0073ecret"
- SELECT B'1' FROM granted_a
- SELECT 1 OPERATOR(pg_catalog.+) 1
- SELECT s FROM granted_a WHERE id OPERATOR(public.=) 1
- SELECT `s` FROM secret
- SELECT s FROM granted_a FOR SHARE
- SELECT s FROM granted_a FOR NO KEY UPDATE
- WITH x AS (DELETE FROM secret RETURNING *) SELECT * FROM x
- WITH x AS (INSERT INTO granted_a VALUES (30, 'x') RETURNING *) SELECT * FROM x
- WITH x AS (UPDATE secret SET s = 'x' RETURNING *) SELECT * FROM x
- WITH x AS (DELETE FROM secret RETURNING *) DELETE FROM granted_a WHERE id IN (SELECT id FROM x)
- DELETE FROM granted_a USING secret WHERE secret.id = granted_a.id
- UPDATE granted_a SET s = secret.s FROM secret
- UPDATE granted_a SET (id, s) = (SELECT id, s FROM secret LIMIT 1)
- INSERT INTO granted_a VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = (SELECT MAX(s) FROM secret)
- INSERT INTO granted_a VALUES (31, 'x') RETURNING id
- TRUNCATE TABLE granted_a CASCADE
- DROP TABLE granted_a CASCADE
- DROP SCHEMA public CASCADE
- CREATE TABLE granted_c (id INTEGER) INHERITS (secret)
- CREATE TABLE granted_c PARTITION OF secret FOR VALUES IN (1)
- CREATE TABLE granted_c (id INTEGER DEFAULT nextval('x'))
- CREATE TABLE granted_c (LIKE secret INCLUDING ALL)
- CREATE UNLOGGED TABLE granted_c (id INTEGER)
- CREATE TABLE granted_c (id INTEGER) TABLESPACE x
- CREATE INDEX granted_i ON granted_a (pg_read_file(s))
- CREATE INDEX CONCURRENTLY granted_i ON granted_a (s)
- CREATE FUNCTION f() RETURNS INTEGER LANGUAGE sql AS 'SELECT 1'
- CREATE EXTENSION dblink
- CREATE MATERIALIZED VIEW granted_m AS SELECT * FROM secret
- CREATE RULE r AS ON SELECT TO granted_a DO INSTEAD SELECT * FROM secret
- CREATE POLICY p ON granted_a
- CREATE SEQUENCE x
- CREATE ROLE x SUPERUSER
- ALTER ROLE gk SUPERUSER
- COPY secret TO STDOUT
- COPY granted_a FROM PROGRAM 'id'
- COPY (SELECT * FROM secret) TO '/tmp/x'
- DO $$ BEGIN DELETE FROM secret; END $$
- LISTEN x
- NOTIFY x
- DECLARE c CURSOR FOR SELECT * FROM secret
- FETCH ALL FROM c
- DISCARD ALL
- RESET ALL
- SET ROLE postgres
- SET search_path TO other
- SHOW data_directory
- REFRESH MATERIALIZED VIEW x
- COMMENT ON TABLE granted_a IS 'x'
- CLUSTER secret
- LOCK TABLE granted_a IN EXCLUSIVE MODE
- SELECT * FROM aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
- EXPLAIN (ANALYZE) DELETE FROM secret
