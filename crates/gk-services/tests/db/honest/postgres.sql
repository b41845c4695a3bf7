# PostgreSQL.
SELECT name || ' <' || email || '>' AS mailbox FROM granted_users ORDER BY id
SELECT "name", "status" FROM "granted_users" ORDER BY "id"
SELECT public.granted_users.name FROM public.granted_users ORDER BY id
SELECT E'line\nbreak\t\'quoted\' \\ \x41 \u00e4' AS s
SELECT e'a\\b', E'\101\102', E'tab\there'
SELECT U&'d\0061t\+000061', U&'d!0061t!+000061' UESCAPE '!'
SELECT $$it's $1 "raw"$$, $tag$nested $$ inside$tag$, $$$$
SELECT 'foo'⏎'bar'
SELECT 'a' -- comment⏎  'b'
SELECT $q$SELECT * FROM nothing$q$ AS text
SELECT B'1010', X'1F', b'1' || B'0'
SELECT N'national'
SELECT date'2026-01-01', timestamp'2026-01-01 10:00', interval'1 day'
SELECT /* outer /* inner */ still */ 1
SELECT 1 /* a /* b /* c */ */ */ + 2
SELECT 'C:\temp\new', 'a\'
SELECT id::text, '12'::int, 1.5::numeric(10, 2), 'true'::boolean, now()::date IS NOT NULL FROM granted_users WHERE id = 1
SELECT CAST('2026-01-01' AS date), CAST('10:00' AS time), CAST('1 day' AS interval), CAST(1 AS bigint), CAST(1 AS double precision), CAST('x' AS varchar(10))
SELECT '{1,2,3}'::int[], ARRAY[1, 2, 3], ARRAY['a', 'b']::text[], (ARRAY[1, 2, 3])[2], (ARRAY[1, 2, 3])[1:2]
SELECT ARRAY(SELECT id FROM granted_users ORDER BY id)
SELECT array_append(ARRAY[1], 2), array_prepend(0, ARRAY[1]), array_cat(ARRAY[1], ARRAY[2]), array_remove(ARRAY[1, 2], 1), array_replace(ARRAY[1], 1, 2), array_position(ARRAY['a'], 'a'), array_positions(ARRAY[1, 1], 1), array_length(ARRAY[1], 1), array_upper(ARRAY[1], 1), array_lower(ARRAY[1], 1), array_ndims(ARRAY[1]), cardinality(ARRAY[1])
SELECT ARRAY[1, 2] || ARRAY[3], ARRAY[1, 2] @> ARRAY[1], ARRAY[1] <@ ARRAY[1, 2], ARRAY[1, 2] && ARRAY[2]
SELECT array_to_string(ARRAY['a', 'b'], ','), string_to_array('a,b', ','), unnest(ARRAY[1, 2])
SELECT name FROM granted_users WHERE id = ANY(ARRAY[1, 2]) ORDER BY id
SELECT name FROM granted_users WHERE id = ANY(?::int[])
SELECT name FROM granted_users WHERE status <> ALL (ARRAY['blocked', 'gone']) ORDER BY id
SELECT name FROM granted_users WHERE id = SOME (SELECT user_id FROM granted_tickets) ORDER BY id
SELECT name FROM granted_users WHERE name ILIKE 'a%' ORDER BY id
SELECT name FROM granted_users WHERE name NOT ILIKE '%z%' ORDER BY id
SELECT name FROM granted_users WHERE name ~ '^A' OR name ~* 'bob' ORDER BY id
SELECT name FROM granted_users WHERE name !~ '^A' AND name !~* 'x' ORDER BY id
SELECT name FROM granted_users WHERE name SIMILAR TO '(A|B)%' ORDER BY id
SELECT name FROM granted_users WHERE name LIKE ANY (ARRAY['A%', 'B%']) ORDER BY id
SELECT title FROM granted_tickets WHERE title LIKE '50\%%' ORDER BY id
SELECT title FROM granted_tickets WHERE title LIKE E'50\\%%' ORDER BY id
SELECT name FROM granted_users WHERE starts_with(name, 'A') OR name ^@ 'B' ORDER BY id
SELECT name FROM granted_users WHERE age IS DISTINCT FROM 36 ORDER BY id
SELECT name FROM granted_users WHERE age IS NOT DISTINCT FROM NULL ORDER BY id
SELECT name FROM granted_users WHERE age ISNULL OR age NOTNULL ORDER BY id
SELECT is_admin IS TRUE, is_admin IS NOT TRUE, is_admin IS FALSE, is_admin IS UNKNOWN FROM granted_users ORDER BY id
SELECT name FROM granted_users WHERE is_admin ORDER BY id
SELECT name FROM granted_users WHERE NOT is_admin ORDER BY id
SELECT name FROM granted_users ORDER BY age NULLS FIRST, id
SELECT name FROM granted_users ORDER BY age DESC NULLS LAST, id
SELECT name FROM granted_users ORDER BY name COLLATE "C"
SELECT name FROM granted_users ORDER BY id FETCH FIRST 2 ROWS ONLY
SELECT name FROM granted_users ORDER BY id OFFSET 1 ROW FETCH NEXT 1 ROW ONLY
SELECT name FROM granted_users ORDER BY age NULLS LAST FETCH FIRST 1 ROWS WITH TIES
SELECT name FROM granted_users ORDER BY id LIMIT ALL OFFSET 1
SELECT DISTINCT ON (status) status, name FROM granted_users ORDER BY status, id
SELECT settings -> 'theme', settings ->> 'theme', settings #> '{list,0}', settings #>> '{list,0}' FROM granted_users ORDER BY id
SELECT name FROM granted_users WHERE settings @> '{"theme": "dark"}' ORDER BY id
SELECT name FROM granted_users WHERE settings ->> 'theme' = 'dark' ORDER BY id
SELECT name FROM granted_users WHERE (settings ->> 'size')::int > 1 ORDER BY id
SELECT settings || '{"a": 1}', settings - 'theme', settings #- '{list,0}' FROM granted_users ORDER BY id
SELECT jsonb_set(settings, '{theme}', '"light"'), jsonb_insert('{"a":[1]}', '{a,0}', '0'), jsonb_strip_nulls('{"a":null}'), jsonb_pretty('{"a":1}') FROM granted_users WHERE id = 1
SELECT jsonb_build_object('id', id, 'name', name), json_build_array(1, 'a'), to_jsonb(name), to_json(id) FROM granted_users ORDER BY id
SELECT jsonb_agg(name ORDER BY id), json_agg(id ORDER BY id), jsonb_object_agg(name, id), json_object_agg(id, name ORDER BY id) FROM granted_users
SELECT row_to_json(u) FROM granted_users u ORDER BY id
SELECT row_to_json(x) FROM (SELECT id, name FROM granted_users ORDER BY id) x
SELECT jsonb_agg(u ORDER BY u.id) FROM granted_users u
SELECT to_jsonb(u) - 'settings' - 'created_at' FROM granted_users u ORDER BY id
SELECT json_agg(row_to_json(t)) FROM (SELECT id, title FROM granted_tickets ORDER BY id) t
SELECT u::text IS NOT NULL FROM granted_users u ORDER BY id
SELECT (u).name FROM granted_users u ORDER BY id
SELECT (u).name, (u).age FROM granted_users AS u WHERE (u).id = 1
SELECT COUNT(u), COUNT(u.*) FROM granted_users u
SELECT u IS NOT NULL FROM granted_users u ORDER BY id
SELECT ROW(1, 'a')::text, ROW(1, 2) = ROW(1, 2), (1, 2) < (1, 3)
SELECT jsonb_array_length('[1,2]'), jsonb_typeof('1'), jsonb_object_keys('{"a":1}'), jsonb_extract_path_text('{"a":1}', 'a')
SELECT e.value ->> 'n' FROM jsonb_array_elements('[{"n":1},{"n":2}]') AS e(value)
SELECT k, v FROM jsonb_each_text('{"a":1,"b":2}') AS t(k, v) ORDER BY k
SELECT elem, n FROM jsonb_array_elements_text('["a","b"]') WITH ORDINALITY AS t(elem, n)
SELECT a, b FROM jsonb_to_recordset('[{"a":1,"b":"x"}]') AS t(a int, b text)
SELECT a FROM jsonb_to_record('{"a":1}') AS t(a int)
SELECT jsonb_path_query('{"a":[1,2]}', '$.a[*]'), jsonb_path_exists('{"a":1}', '$.a'), jsonb_path_query_first('[1,2]', '$[0]'), jsonb_path_query_array('[1]', '$[*]')
SELECT name FROM granted_users WHERE settings @@ '$.size > 0' ORDER BY id
SELECT name FROM granted_users WHERE jsonb_exists(settings, 'theme') ORDER BY id
SELECT g FROM generate_series(1, 5) AS g
SELECT generate_series(1, 3)
SELECT d::date FROM generate_series('2026-01-01'::timestamp, '2026-01-03', '1 day') AS d
SELECT g.n, COUNT(t.id) FROM generate_series(0, 3) AS g(n) LEFT JOIN granted_tickets t ON t.priority = g.n GROUP BY g.n ORDER BY g.n
SELECT u.name, x.title FROM granted_users u CROSS JOIN LATERAL (SELECT title FROM granted_tickets t WHERE t.user_id = u.id ORDER BY t.id DESC LIMIT 1) x ORDER BY u.id
SELECT u.name, x.n FROM granted_users u LEFT JOIN LATERAL (SELECT COUNT(*) AS n FROM granted_tickets t WHERE t.user_id = u.id) x ON true ORDER BY u.id
SELECT t.tag FROM unnest(ARRAY['a', 'b']) AS t(tag)
SELECT u.id, tag FROM granted_users u, unnest(string_to_array(u.status, 'i')) AS tag ORDER BY 1, 2
SELECT a, b FROM unnest(ARRAY[1, 2], ARRAY['x', 'y']) AS t(a, b)
SELECT word, ord FROM regexp_split_to_table('a b', ' ') WITH ORDINALITY AS t(word, ord)
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(id, label)
VALUES (1, 'a'), (2, 'b')
SELECT u.name, t.title FROM granted_users u FULL OUTER JOIN granted_tickets t ON t.user_id = u.id ORDER BY u.id, t.id
SELECT status, COUNT(*) FILTER (WHERE age > 30) FROM granted_users GROUP BY status ORDER BY status
SELECT status, age, COUNT(*) FROM granted_users GROUP BY ROLLUP (status, age) ORDER BY 1, 2
SELECT status, age, COUNT(*) FROM granted_users GROUP BY CUBE (status, age) ORDER BY 1, 2
SELECT status, COUNT(*), GROUPING(status) FROM granted_users GROUP BY GROUPING SETS ((status), ()) ORDER BY 1
SELECT string_agg(name, ', ' ORDER BY name), array_agg(DISTINCT status ORDER BY status), bool_and(is_admin), bool_or(is_admin), every(is_admin) FROM granted_users
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY age), mode() WITHIN GROUP (ORDER BY status), percentile_disc(0.9) WITHIN GROUP (ORDER BY age) FROM granted_users
SELECT stddev(age), variance(age), var_pop(age), stddev_samp(age), corr(age, id), covar_pop(age, id), regr_slope(age, id) FROM granted_users
SELECT bit_and(flags), bit_or(flags), bit_xor(flags) FROM granted_users
SELECT id, SUM(priority) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND CURRENT ROW), MAX(priority) OVER (PARTITION BY status) FROM granted_tickets ORDER BY id
SELECT id, SUM(priority) OVER (ORDER BY id GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM granted_tickets ORDER BY id
SELECT now() IS NOT NULL, current_date IS NOT NULL, current_time IS NOT NULL, localtime IS NOT NULL, localtimestamp IS NOT NULL, clock_timestamp() IS NOT NULL
SELECT now() - interval '30 days' < now(), created_at + interval '1 hour', created_at - created_at FROM granted_tickets ORDER BY id
SELECT id FROM granted_tickets WHERE created_at > now() - INTERVAL '10 years' ORDER BY id
SELECT date_trunc('month', created_at), extract(year FROM created_at), extract(epoch FROM created_at), date_part('dow', created_at) FROM granted_tickets ORDER BY id
SELECT to_char(created_at, 'YYYY-MM-DD HH24:MI'), to_char(1234.5, 'FM9,999.00'), to_date('2026-01-31', 'YYYY-MM-DD'), to_timestamp(0), to_number('12', '99') FROM granted_tickets WHERE id = 1
SELECT age(timestamp '2026-01-02', timestamp '2026-01-01'), justify_hours(interval '27 hours'), make_date(2026, 1, 31), make_interval(days => 3), make_timestamp(2026, 1, 1, 0, 0, 0)
SELECT created_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' FROM granted_tickets ORDER BY id
SELECT (timestamp '2026-01-01', interval '1 day') OVERLAPS (timestamp '2026-01-01', timestamp '2026-01-03')
SELECT date_bin('15 minutes', timestamp '2026-01-01 10:07', timestamp '2026-01-01')
SELECT interval '1 year 2 months', interval '1' day, interval '1-2' year to month, interval '10:00' hour to minute
SELECT timestamp with time zone '2026-01-01 00:00+02', time '10:00', date '2026-01-01' + 7, date '2026-01-08' - date '2026-01-01'
SELECT lpad('7', 3, '0'), rpad('a', 3, '.'), repeat('ab', 3), left('abc', 2), right('abc', 2), reverse('abc'), initcap('hello world'), strpos('abc', 'b'), position('b' IN 'abc'), split_part('a,b', ',', 2), translate('abc', 'ab', 'xy')
SELECT substring('abcdef' FROM 2 FOR 3), substring('abc' FROM 2), substring('foobar' FROM 'o.b'), overlay('abcdef' PLACING 'XX' FROM 2 FOR 2), trim(BOTH 'x' FROM 'xax'), trim(LEADING FROM '  a'), trim('  a ')
SELECT btrim('xax', 'x'), ltrim('xa', 'x'), rtrim('ax', 'x'), char_length('ä'), octet_length('ä'), bit_length('a'), ascii('a'), chr(97), to_hex(255), md5('a'), concat('a', 1, NULL), concat_ws(',', 'a', 'b'), format('%s-%I-%L', 'a', 'b', 'c'), quote_literal('x'), quote_ident('X'), quote_nullable(NULL)
SELECT encode('abc'::bytea, 'hex'), encode('abc', 'base64'), decode('616263', 'hex'), sha256('abc'), '\x6162'::bytea, length('\x6162'::bytea), get_byte('abc'::bytea, 0), sha512('a')
SELECT regexp_replace('a1b2', '[0-9]', '', 'g'), regexp_match('abc', '(b)'), regexp_matches('a1b2', '[0-9]', 'g'), regexp_split_to_array('a b', ' '), regexp_count('aa', 'a'), regexp_substr('abc', 'b.'), regexp_instr('abc', 'c'), regexp_like('a', 'A', 'i')
SELECT greatest(1, 2), least(1, 2), abs(-1), ceil(1.1), ceiling(1.1), floor(1.9), round(1.55, 1), trunc(1.99, 1), mod(7, 3), power(2, 3), sqrt(4), cbrt(8), exp(1), ln(2), log(100), log(2, 8), sign(-1), pi(), degrees(1), radians(180), div(7, 2), gcd(12, 8), lcm(4, 6), factorial(4), width_bucket(5, 0, 10, 5), random() >= 0
SELECT sin(0), cos(0), tan(0), asin(0), acos(1), atan(1), atan2(1, 1), sinh(0), cosh(0), tanh(0), scale(1.50), min_scale(1.50), trim_scale(1.50)
SELECT 2 ^ 10, 5 # 3, 5 & 3, 5 | 3, ~5, 1 << 3, 8 >> 1, |/ 25, ||/ 27, @ -5, 7 % 3, 7 / 2, 7.0 / 2, - 2 ^ 2
SELECT 1 = 1 AND NOT 1 = 2, 2 + 3 || 'x', 2::text || 'a' IS NOT NULL
SELECT not true, not false = true, true <> false, true > false
SELECT gen_random_uuid() IS NOT NULL, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid
SELECT num_nulls(1, NULL), num_nonnulls(1, NULL), nullif(1, 1), coalesce(NULL, 2), pg_typeof(1)::text
SELECT int4range(1, 5) @> 3, lower(int4range(1, 5))::int, tsrange('2026-01-01', '2026-01-02')::text, '[1,5)'::int4range::text
SELECT to_tsvector('simple', 'a cat') @@ to_tsquery('simple', 'cat'), plainto_tsquery('simple', 'a b')::text, websearch_to_tsquery('simple', 'a')::text
SELECT id, ts_rank(to_tsvector('simple', title), to_tsquery('simple', 'printer')) AS rank FROM granted_tickets WHERE to_tsvector('simple', title) @@ to_tsquery('simple', 'printer') ORDER BY rank DESC
SELECT inet '10.0.0.1' << inet '10.0.0.0/8', host(inet '10.0.0.1/8'), masklen('10.0.0.0/8'), family('::1'::inet), network('10.1.1.1/8'::inet)::text
SELECT größe, "Größe" FROM (SELECT 1 AS größe, 2 AS "Größe") x
SELECT count(*) AS "count", max(id) AS max, min(id) "min" FROM granted_users
SELECT name AS value, id AS key, status AS type FROM granted_users ORDER BY id
SELECT t.date, t.text, t.name, t.time FROM (SELECT '2026-01-01' AS date, 'x' AS text, 'n' AS name, 't' AS time) t
SELECT CASE WHEN age > 30 THEN 'a' ELSE 'b' END AS "group", COUNT(*) FROM granted_users GROUP BY 1 ORDER BY 1
SELECT 1000000000000, 9223372036854775807, 1e10, 1.5e-5, 12345678901234567890123
INSERT INTO granted_users (name, email) VALUES ('New', 'new@example.com') RETURNING id
INSERT INTO granted_users (name, email) VALUES (?, ?) RETURNING id, name, created_at
INSERT INTO granted_users (name) VALUES ('A'), ('B') RETURNING *
INSERT INTO granted_users AS u (name) VALUES ('A') RETURNING u.id AS new_id, upper(u.name)
INSERT INTO granted_users DEFAULT VALUES
INSERT INTO granted_users (id, name, age) VALUES (DEFAULT, 'D', DEFAULT)
INSERT INTO granted_users (id, name) OVERRIDING SYSTEM VALUE VALUES (900, 'O')
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT (name) DO UPDATE SET value = granted_counters.value + excluded.value
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE granted_counters.value < excluded.value RETURNING value
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT DO NOTHING
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT ON CONSTRAINT granted_counters_pkey DO NOTHING
INSERT INTO granted_counters AS c (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = c.value + 1 RETURNING c.value
INSERT INTO granted_counters SELECT 'u' || id, age FROM granted_users WHERE age IS NOT NULL ON CONFLICT DO NOTHING
INSERT INTO granted_users (name, settings) VALUES ('J', '{"a": 1}'::jsonb), ('K', jsonb_build_object('b', 2))
WITH src AS (SELECT 'w' AS name, 3 AS value) INSERT INTO granted_counters SELECT name, value FROM src RETURNING *
WITH ins AS (INSERT INTO granted_users (name) VALUES ('cte') RETURNING id) INSERT INTO granted_tickets (id, title, user_id) SELECT 700, 'by cte', id FROM ins RETURNING id
WITH ins AS (INSERT INTO granted_counters VALUES ('c1', 1) RETURNING *) SELECT * FROM ins
WITH del AS (DELETE FROM granted_comments WHERE score < 0 RETURNING *) SELECT COUNT(*) FROM del
WITH moved AS (UPDATE granted_tickets SET status = 'moved' WHERE status = 'open' RETURNING id) SELECT id FROM moved ORDER BY id
WITH a AS (DELETE FROM granted_comments WHERE ticket_id = 1 RETURNING ticket_id), b AS (UPDATE granted_tickets SET priority = 0 WHERE id IN (SELECT ticket_id FROM a) RETURNING id) SELECT COUNT(*) FROM b
UPDATE granted_users SET (name, age) = ('X', 1) WHERE id = 1 RETURNING *
UPDATE granted_users SET (name, age) = (SELECT label, id FROM granted_nodes WHERE id = 1) WHERE id = 1
UPDATE granted_users SET (name, age) = ROW('Y', 2) WHERE id = 1
UPDATE granted_users SET age = DEFAULT WHERE id = 1
UPDATE granted_tickets SET title = u.name FROM granted_users u WHERE u.id = granted_tickets.user_id
UPDATE granted_tickets AS t SET title = u.name FROM granted_users AS u WHERE u.id = t.user_id RETURNING t.id, u.name
UPDATE granted_users SET settings = settings || '{"theme": "dark"}'::jsonb WHERE id = 1
UPDATE granted_users SET settings = jsonb_set(settings, '{theme}', to_jsonb(?::text)) WHERE id = ?
UPDATE granted_users SET tags = array_append(tags, 'new') WHERE id = 1
UPDATE granted_users SET tags[1] = 'first' WHERE id = 1
UPDATE granted_tickets SET priority = v.p FROM (VALUES (1, 5), (2, 6)) AS v(id, p) WHERE v.id = granted_tickets.id
UPDATE granted_tickets SET updated_at = now(), status = CASE WHEN closed THEN 'closed' ELSE status END WHERE id = ANY(ARRAY[1, 2])
DELETE FROM granted_comments WHERE id = 1 RETURNING *
DELETE FROM granted_comments c USING granted_tickets t WHERE t.id = c.ticket_id AND t.status = 'closed' RETURNING c.id
DELETE FROM granted_comments WHERE ctid IN (SELECT ctid FROM granted_comments LIMIT 1)
WITH old AS (SELECT id FROM granted_comments WHERE score IS NULL) DELETE FROM granted_comments USING old WHERE granted_comments.id = old.id
MERGE INTO granted_counters c USING (VALUES ('visits', 5), ('merged', 1)) AS v(name, value) ON c.name = v.name WHEN MATCHED THEN UPDATE SET value = c.value + v.value WHEN NOT MATCHED THEN INSERT (name, value) VALUES (v.name, v.value)
MERGE INTO granted_counters AS c USING granted_users AS u ON u.name = c.name WHEN MATCHED AND u.age > 30 THEN DELETE WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED AND u.age > 100 THEN INSERT VALUES (u.name, u.age)
CREATE TABLE granted_p1 (id BIGSERIAL PRIMARY KEY, name TEXT NOT NULL, data JSONB DEFAULT '{}', tags TEXT[] DEFAULT '{}', at TIMESTAMPTZ NOT NULL DEFAULT now())
CREATE TABLE granted_p2 (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), n NUMERIC(10, 2) CHECK (n > 0), b BYTEA, d DATE, t TIME, i INTERVAL, ip INET)
CREATE TABLE granted_p3 (id INTEGER GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, p BIGINT REFERENCES granted_p1 (id) ON DELETE CASCADE ON UPDATE CASCADE, UNIQUE (p))
CREATE TABLE granted_p4 (id INT GENERATED ALWAYS AS IDENTITY (START WITH 10 INCREMENT BY 5), a INT, b INT GENERATED ALWAYS AS (a * 2) STORED)
CREATE TABLE granted_p5 (a INT, b INT, CONSTRAINT pk5 PRIMARY KEY (a, b), CONSTRAINT ck5 CHECK (a <> b))
CREATE TABLE granted_p6 (id SERIAL, p BIGINT REFERENCES granted_p1 DEFERRABLE INITIALLY DEFERRED, c CHAR(3), v CHARACTER VARYING(20), d DOUBLE PRECISION, r REAL, s SMALLINT, ts TIMESTAMP WITHOUT TIME ZONE, tz TIMESTAMP WITH TIME ZONE)
CREATE TABLE IF NOT EXISTS public.granted_p7 (id INT, "order" INT, "Group" TEXT)
CREATE TABLE granted_p8 (id INT, title TEXT, search TSVECTOR, during TSRANGE, EXCLUDE USING gist (during WITH &&))
CREATE INDEX granted_p1_name ON granted_p1 (lower(name))
CREATE INDEX IF NOT EXISTS granted_p1_data ON granted_p1 USING gin (data)
CREATE INDEX granted_p1_at ON granted_p1 USING btree (at DESC NULLS LAST) WHERE name <> ''
CREATE UNIQUE INDEX granted_p1_cover ON granted_p1 (name) INCLUDE (at)
CREATE INDEX granted_p1_ops ON granted_p1 (name text_pattern_ops)
CREATE INDEX granted_p1_brin ON granted_p1 USING brin (at)
DROP INDEX granted_p1_at
ALTER TABLE granted_p1 ADD COLUMN extra INT DEFAULT 0 NOT NULL
ALTER TABLE granted_p1 ADD COLUMN IF NOT EXISTS extra INT, ADD COLUMN more TEXT
ALTER TABLE granted_p1 ALTER COLUMN extra SET DEFAULT 5
ALTER TABLE granted_p1 ALTER COLUMN extra DROP NOT NULL
ALTER TABLE granted_p1 ALTER COLUMN extra SET NOT NULL
ALTER TABLE granted_p1 ALTER COLUMN extra DROP DEFAULT
ALTER TABLE granted_p1 ALTER COLUMN extra TYPE BIGINT
ALTER TABLE granted_p1 ALTER COLUMN extra TYPE TEXT USING extra::text
ALTER TABLE granted_p1 ADD CONSTRAINT uq UNIQUE (name)
ALTER TABLE granted_p1 DROP CONSTRAINT uq
ALTER TABLE granted_p1 DROP COLUMN IF EXISTS more
ALTER TABLE granted_p1 RENAME COLUMN extra TO additional
ALTER TABLE granted_p1 ADD FOREIGN KEY (name) REFERENCES granted_counters (name)
TRUNCATE granted_p5
TRUNCATE TABLE granted_p5, granted_p7
TRUNCATE TABLE granted_p5 RESTART IDENTITY
DROP TABLE IF EXISTS granted_p3, granted_p6
DROP TABLE granted_p2
DROP TABLE granted_p7 RESTRICT
SELECT id FROM granted_tickets WHERE title ILIKE '%' || ? || '%' ORDER BY id
SELECT count(*)::int AS n, (sum(priority) / nullif(count(*), 0))::numeric(10, 2) AS avg FROM granted_tickets
SELECT u.id, coalesce(json_agg(t.title ORDER BY t.id) FILTER (WHERE t.id IS NOT NULL), '[]') AS titles FROM granted_users u LEFT JOIN granted_tickets t ON t.user_id = u.id GROUP BY u.id ORDER BY u.id
SELECT to_char(date_trunc('day', created_at), 'YYYY-MM-DD') AS day, count(*) FROM granted_tickets GROUP BY 1 ORDER BY 1
SELECT id, lag(created_at) OVER (PARTITION BY user_id ORDER BY created_at) AS before, created_at - lag(created_at) OVER (PARTITION BY user_id ORDER BY created_at) AS gap FROM granted_tickets ORDER BY id
SELECT width_bucket(priority, 0, 10, 2) AS bucket, count(*) FROM granted_tickets GROUP BY bucket ORDER BY bucket
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t
WITH RECURSIVE tree AS (SELECT id, ARRAY[id] AS path FROM granted_nodes WHERE parent_id IS NULL UNION ALL SELECT n.id, tree.path || n.id FROM granted_nodes n JOIN tree ON n.parent_id = tree.id) SELECT id, path FROM tree ORDER BY path
WITH x AS MATERIALIZED (SELECT 1 AS a) SELECT a FROM x
WITH x AS NOT MATERIALIZED (SELECT 1 AS a) SELECT a FROM x
SELECT FROM granted_users LIMIT 0
SELECT t.user, t.order FROM (SELECT 1 AS user, 2 AS order) t
SELECT tags[1], tags[1:2], array_length(tags, 1) FROM granted_users ORDER BY id
SELECT * FROM granted_users WHERE 'red' = ANY(tags) OR tags @> ARRAY['blue'] OR tags && '{green}' ORDER BY id
