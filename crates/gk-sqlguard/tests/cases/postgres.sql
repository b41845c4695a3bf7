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
+ SELECT $$x$$
+ SELECT $x$secret$x$
- SELECT * FROM granted_a WHERE s = $$'$$ UNION SELECT * FROM secret --'
+ SELECT E'\' UNION SELECT s FROM secret --'
+ SELECT e'\x41'
+ SELECT U&"\0073ecret" FROM granted_a
- SELECT * FROM U&"\0073ecret"
+ SELECT B'1' FROM granted_a
- SELECT 1 OPERATOR(pg_catalog.+) 1
- SELECT s FROM granted_a WHERE id OPERATOR(public.=) 1
- SELECT `s` FROM secret
- SELECT s FROM granted_a FOR SHARE
- SELECT s FROM granted_a FOR NO KEY UPDATE
- WITH x AS (DELETE FROM secret RETURNING *) SELECT * FROM x
+ WITH x AS (INSERT INTO granted_a VALUES (30, 'x') RETURNING *) SELECT * FROM x
- WITH x AS (UPDATE secret SET s = 'x' RETURNING *) SELECT * FROM x
- WITH x AS (DELETE FROM secret RETURNING *) DELETE FROM granted_a WHERE id IN (SELECT id FROM x)
- DELETE FROM granted_a USING secret WHERE secret.id = granted_a.id
- UPDATE granted_a SET s = secret.s FROM secret
- UPDATE granted_a SET (id, s) = (SELECT id, s FROM secret LIMIT 1)
- INSERT INTO granted_a VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = (SELECT MAX(s) FROM secret)
+ INSERT INTO granted_a VALUES (31, 'x') RETURNING id
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
# A period that calls a function.
- SELECT x.pg_read_file FROM unnest(ARRAY['PG_VERSION']) x
- SELECT ('PG_VERSION'::text).pg_read_file
- SELECT ((('PG_VERSION'::text))).pg_read_file
- SELECT (x).pg_read_file FROM (SELECT 'PG_VERSION'::text AS x) y
- SELECT (y.x).pg_read_file FROM (SELECT 'PG_VERSION'::text AS x) y
- SELECT x.pg_read_file FROM json_array_elements_text('["PG_VERSION"]') x
- SELECT 1 FROM unnest(ARRAY[0.1]) AS x WHERE x.pg_sleep IS NULL
- SELECT 1 FROM unnest(ARRAY[0.1]) AS x ORDER BY x.pg_sleep
- SELECT (ARRAY['PG_VERSION'])[1].pg_read_file
- SELECT ((ARRAY['PG_VERSION'])[1]).pg_read_file
- SELECT x."pg_read_file" FROM unnest(ARRAY['PG_VERSION']) x
- SELECT x.lo_import FROM unnest(ARRAY['/etc/passwd']) x
- SELECT x.pg_ls_dir FROM unnest(ARRAY['.']) x
- SELECT x.current_setting FROM unnest(ARRAY['data_directory']) x
- SELECT x.nextval FROM unnest(ARRAY['x']) x
- UPDATE granted_a SET s = x.pg_read_file FROM unnest(ARRAY['PG_VERSION']) x
- INSERT INTO granted_a SELECT 50, x.pg_read_file FROM unnest(ARRAY['PG_VERSION']) x
- UPDATE granted_a SET s = 'x' RETURNING (s).pg_read_file
- WITH x AS (SELECT 'PG_VERSION'::text AS f) SELECT (f).pg_read_file FROM x
- SELECT count(*) FILTER (WHERE x.pg_sleep IS NULL) FROM unnest(ARRAY[0.1]) AS x
- SELECT row_number() OVER (ORDER BY x.pg_sleep) FROM unnest(ARRAY[0.1]) AS x
+ SELECT (a).s, a.s, (a).id FROM granted_a a
# Rows as values.
- SELECT row_to_json(secret) FROM secret
- SELECT row_to_json(x) FROM secret x
- SELECT COUNT(secret.*) FROM secret
- SELECT (secret).s FROM secret
- SELECT x FROM secret AS x
- SELECT to_jsonb(x) FROM granted_a, LATERAL (SELECT * FROM secret) x
# What ends a string and what does not.
- SELECT E'\'' UNION SELECT s FROM secret --'
- SELECT 'a' 'b' FROM granted_a
- SELECT $a$ $b$ UNION SELECT s FROM secret
- SELECT $a$ $a$ AS x, s FROM secret
- SELECT E'\\' AS x, s FROM secret
- SELECT U&'\0027' AS x, s FROM secret
- SELECT U&'\D83D'
- SELECT E'\xff'
- SELECT E'\000'
+ SELECT E'\' AS x, s FROM secret --', $$it's; DROP TABLE secret$$, U&'!0027' UESCAPE '!', '\'
- SELECT N'a\b'
- SELECT /* /* */ s FROM secret
+ SELECT /* /* */ s FROM secret */ 1
- SELECT 1::regclass
- SELECT regclass'secret'
- SELECT 1 FROM granted_a WHERE id = :id
# Statements that write within others.
- WITH x AS (UPDATE granted_a SET s = (SELECT MAX(s) FROM secret) RETURNING *) SELECT * FROM x
- WITH x AS (INSERT INTO secret VALUES (70, 'x') RETURNING *) SELECT * FROM x
- WITH x AS (DELETE FROM secret) SELECT 1
- WITH x AS (DELETE FROM granted_a RETURNING (SELECT MAX(s) FROM secret)) SELECT * FROM x
- WITH secret AS (DELETE FROM secret RETURNING *) SELECT * FROM secret
- WITH a AS (SELECT 1), b AS (WITH c AS (DELETE FROM secret RETURNING *) SELECT * FROM c) SELECT * FROM b
- SELECT * FROM (WITH c AS (DELETE FROM secret RETURNING *) SELECT * FROM c) x
- MERGE INTO secret USING granted_a a ON a.id = secret.id WHEN MATCHED THEN DELETE
- MERGE INTO granted_a a USING secret ON a.id = secret.id WHEN MATCHED THEN UPDATE SET s = secret.s
- MERGE INTO granted_a a USING (SELECT * FROM secret) x ON a.id = x.id WHEN MATCHED THEN DO NOTHING
- MERGE INTO granted_a a USING granted_b b ON a.id = b.id WHEN MATCHED AND EXISTS (SELECT 1 FROM secret) THEN DELETE
- MERGE INTO granted_a a USING granted_b b ON a.id = b.id WHEN NOT MATCHED THEN INSERT VALUES (99, (SELECT MAX(s) FROM secret))
- MERGE INTO granted_a a USING granted_b b ON a.id = (SELECT MAX(id) FROM secret) WHEN MATCHED THEN DELETE
- WITH x AS (SELECT * FROM secret) MERGE INTO granted_a a USING x ON a.id = x.id WHEN MATCHED THEN DELETE
+ MERGE INTO granted_a a USING granted_b b ON a.id = b.id WHEN MATCHED THEN UPDATE SET s = b.s
- SELECT s LIKE ANY (ARRAY(SELECT s FROM secret)) FROM granted_a
- SELECT generate_series(1, (SELECT MAX(id) FROM secret))
- SELECT * FROM generate_series(1, 3) g, secret
- SELECT * FROM generate_series(-1000000000, 0)
- SELECT repeat('x', 1000000)
- SELECT repeat('x', id) FROM granted_a
- SELECT make_interval(days => (SELECT MAX(id) FROM secret)::int)
- SELECT pg_catalog.generate_series(1, 3)
- SELECT * FROM jsonb_to_record('{}') AS t(a regclass)
- ALTER TABLE secret ALTER COLUMN s DROP DEFAULT
- ALTER TABLE granted_a ALTER COLUMN s SET DEFAULT pg_read_file('PG_VERSION')
- ALTER TABLE granted_a ALTER COLUMN s TYPE TEXT USING pg_read_file('PG_VERSION')
- ALTER TABLE granted_a ALTER COLUMN s TYPE regclass
- ALTER TABLE granted_a DROP CONSTRAINT granted_a_pkey CASCADE
- TRUNCATE secret RESTART IDENTITY
- TRUNCATE granted_b, secret
- CREATE INDEX granted_i ON granted_a (s public.evil_ops)
# Words that are no names.
- SELECT user
- SELECT session_user, s FROM granted_a
- SELECT 1 BETWEEN SYMMETRIC 2 AND 0
- UPDATE ONLY granted_a SET s = 'x'
- DELETE FROM ONLY secret
+ SELECT "user" FROM (SELECT 1 AS user) x
- DROP INDEX other.granted_i
- DROP INDEX secret_pkey
- DROP INDEX granted_i, secret_pkey
+ DROP INDEX IF EXISTS granted_i
