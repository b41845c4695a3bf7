# SQLite.
SELECT name || ' <' || email || '>' AS mailbox FROM granted_users ORDER BY id
SELECT "name", [email], `status` FROM "granted_users" ORDER BY id
SELECT rowid, name FROM granted_users ORDER BY rowid
SELECT u.rowid, u._rowid_, u.oid FROM granted_users u ORDER BY 1
SELECT name FROM granted_users WHERE age IS 36
SELECT name FROM granted_users WHERE age IS NOT 36 ORDER BY id
SELECT name FROM granted_users WHERE age IS ?
SELECT name FROM granted_users WHERE age IS NOT ? ORDER BY id
SELECT name FROM granted_users WHERE age IS (SELECT MIN(age) FROM granted_users)
SELECT 1 IS 1, 1 IS 2, NULL IS NULL, 1 IS NOT NULL, 'a' IS 'a', 1 IS NOT DISTINCT FROM 1, 1 IS DISTINCT FROM NULL
SELECT name FROM granted_users WHERE age ISNULL
SELECT name FROM granted_users WHERE age NOTNULL ORDER BY id
SELECT name FROM granted_users WHERE age NOT NULL ORDER BY id
SELECT id FROM granted_users WHERE id == 1
SELECT 1 << 3, 256 >> 4, 5 & 1, 5 | 2, ~0
SELECT id FROM granted_users WHERE flags & (1 << 2) ORDER BY id
SELECT id FROM granted_users WHERE flags & 0x10 ORDER BY id
SELECT 0xFF, 0x10 + 1, 0XAB, -0x1, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF
SELECT x'41', X'4a4B', hex(x'00ff'), length(x'0102')
SELECT 1_000_000, 1_0.5
SELECT name FROM granted_users INDEXED BY granted_users_email WHERE email = 'ada@example.com'
SELECT name FROM granted_users NOT INDEXED WHERE id = 1
SELECT u.name FROM granted_users AS u NOT INDEXED WHERE u.id = 1
SELECT name FROM granted_users WHERE name GLOB 'A*' ORDER BY id
SELECT name FROM granted_users WHERE name NOT GLOB '[B-Z]*' ORDER BY id
SELECT name FROM granted_users WHERE name LIKE 'a\_%' ESCAPE '\'
SELECT name FROM granted_users WHERE name = 'ADA' COLLATE NOCASE
SELECT name FROM granted_users ORDER BY name COLLATE NOCASE DESC
SELECT name COLLATE RTRIM FROM granted_users ORDER BY id
SELECT name FROM granted_users ORDER BY age NULLS LAST, id
SELECT name FROM granted_users ORDER BY age DESC NULLS FIRST, id
SELECT name FROM granted_users ORDER BY id LIMIT 1, 2
SELECT name FROM granted_users ORDER BY id LIMIT -1 OFFSET 2
SELECT ifnull(age, -1), iif(age > 30, 'old', 'young') FROM granted_users ORDER BY id
SELECT date('2026-01-31', '+1 month'), datetime('2026-01-31 10:00:00', '-1 day'), time('12:00', '+30 minutes')
SELECT strftime('%Y-%m', created_at), julianday('2026-01-01'), unixepoch('2026-01-01') FROM granted_tickets ORDER BY id
SELECT date(created_at, 'start of month') AS month, COUNT(*) FROM granted_tickets GROUP BY month ORDER BY month
SELECT julianday('now') - julianday(created_at) > 0 FROM granted_tickets
SELECT datetime(1767225600, 'unixepoch')
SELECT timediff('2026-02-01', '2026-01-01')
SELECT date('now') IS NOT NULL, time('now') IS NOT NULL, CURRENT_DATE IS NOT NULL, CURRENT_TIME IS NOT NULL
SELECT json_extract(settings, '$.theme') FROM granted_users ORDER BY id
SELECT settings -> '$.theme', settings ->> 'theme', settings ->> '$.list[0]' FROM granted_users ORDER BY id
SELECT json_object('id', id, 'name', name) FROM granted_users ORDER BY id
SELECT json_group_array(name) FROM granted_users
SELECT json_group_object(name, age) FROM granted_users
SELECT json_array(1, 'a', NULL), json_array_length('[1,2]'), json_type('[1]'), json_valid('{')
SELECT json_set('{"a":1}', '$.b', 2), json_insert('{}', '$.a', 1), json_replace('{"a":1}', '$.a', 2), json_remove('{"a":1}', '$.a'), json_patch('{"a":1}', '{"a":null}')
SELECT j.key, j.value FROM granted_users u, json_each(u.settings) j WHERE u.id = 1 ORDER BY j.key
SELECT value FROM json_each('[1, 2, 3]')
SELECT fullkey, atom FROM json_tree('{"a":[1,2]}') WHERE atom IS NOT NULL
SELECT json_quote('a'), json('{"a" : 1}'), json_pretty('[1]')
SELECT jsonb('{"a":1}') IS NOT NULL, json(jsonb_set('{"a":1}', '$.a', 5))
SELECT group_concat(name, ', ') FROM granted_users
SELECT group_concat(DISTINCT status) FROM granted_users
SELECT string_agg(name, '; ') FROM granted_users
SELECT group_concat(name, ',' ORDER BY name DESC) FROM granted_users
SELECT COUNT(*) FILTER (WHERE status = 'active') FROM granted_users
SELECT total(balance), avg(balance) FROM granted_users
SELECT printf('%05d-%s', id, name), format('%.2f', 1.5) FROM granted_users ORDER BY id
SELECT instr(email, '@'), substr(email, instr(email, '@') + 1) FROM granted_users ORDER BY id
SELECT hex('abc'), unhex('616263'), quote('it''s'), char(65, 66), unicode('A'), typeof(1.5)
SELECT length(CAST(name AS BLOB)), octet_length(name) FROM granted_users ORDER BY id
SELECT CAST('12abc' AS INTEGER), CAST(1.9 AS INT), CAST(5 AS TEXT), CAST('1.5' AS REAL), CAST('x' AS BLOB), CAST(3 AS NUMERIC)
SELECT abs(random()) >= 0, max(1, 2, 3), min(4, 5), coalesce(NULL, 1)
SELECT round(1.005, 2), round(-2.5), trunc(2.9), ceil(1.5), ceiling(1.1), floor(-1.5)
SELECT sqrt(2), pow(2, 3), power(2, 0.5), exp(1), ln(10), log(100), log10(1000), log2(8), log(2, 8), pi(), mod(7, 3), sign(-2)
SELECT sin(0), cos(0), tan(0), asin(0), acos(1), atan(1), atan2(1, 1), sinh(0), cosh(0), tanh(0), asinh(0), acosh(1), atanh(0), degrees(pi()), radians(180)
SELECT ltrim('xxa', 'x'), rtrim('axx', 'x'), trim('xax', 'x'), upper('a'), lower('A'), replace('aa', 'a', 'b')
SELECT concat('a', 1, NULL), concat_ws('-', 'a', 'b'), likely(1), unlikely(0), likelihood(1, 0.5)
SELECT nullif(1, 1), iif(1, 2, 3), ifnull(NULL, 2), sign(5)
SELECT lead(id) OVER win, lag(id, 2) OVER win, nth_value(id, 2) OVER win FROM granted_users WINDOW win AS (ORDER BY id)
SELECT id, SUM(priority) OVER (PARTITION BY status ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM granted_tickets ORDER BY id
SELECT id, SUM(priority) OVER (ORDER BY id GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM granted_tickets ORDER BY id
SELECT id, MAX(priority) FILTER (WHERE priority < 9) OVER (ORDER BY id) FROM granted_tickets ORDER BY id
VALUES (1, 'a'), (2, 'b')
SELECT * FROM (VALUES (1, 'a'), (2, 'b'))
WITH v(a, b) AS (VALUES (1, 2), (3, 4)) SELECT a + b FROM v
WITH x AS MATERIALIZED (SELECT 1 AS a) SELECT a FROM x
WITH x AS NOT MATERIALIZED (SELECT 1 AS a) SELECT a FROM x
WITH RECURSIVE days(d) AS (SELECT date('2026-01-01') UNION ALL SELECT date(d, '+1 day') FROM days WHERE d < '2026-01-07') SELECT d FROM days
WITH RECURSIVE f(a, b) AS (VALUES (0, 1) UNION ALL SELECT b, a + b FROM f LIMIT 10) SELECT a FROM f
SELECT u.name, t.title FROM granted_users u FULL OUTER JOIN granted_tickets t ON t.user_id = u.id ORDER BY u.id, t.id
SELECT name FROM granted_users WHERE id IN (VALUES (1), (2)) ORDER BY id
SELECT name FROM granted_users WHERE id IN () ORDER BY id
SELECT (1, 2) = (1, 2), (1, 2) < (1, 3)
SELECT id FROM granted_users WHERE (id, name) > (1, 'A') ORDER BY id
SELECT name FROM main.granted_users WHERE id = 1
SELECT granted_users.name, main.granted_users.id FROM granted_users WHERE id = 1
SELECT id AS 'the id', name AS "the name", status 'st' FROM granted_users ORDER BY id
SELECT count(*) "n" FROM granted_users
SELECT 'a' 'b'
SELECT DISTINCT status, age > 30 FROM granted_users ORDER BY 1, 2
SELECT ALL status FROM granted_users ORDER BY id
SELECT max(id), name FROM granted_users
SELECT status, name, max(age) FROM granted_users GROUP BY status ORDER BY status
SELECT sum(score) / count(*) * 1.0 FROM granted_comments
SELECT 7 / 2, 7 / 2.0, -7 / 2, -7 % 3, 7.5 % 2
SELECT 1 = 1 = 1, 2 > 1 > 0, NOT 0 = 1, NOT (1 > 2), - 1 + 2, +5, - + - 3
SELECT 'a' || 'b' || 1 || 2.5 || NULL
SELECT 1 || 2 + 3, 1 + 2 || 3, 2 * 3 || 4
SELECT 1 BETWEEN 0 AND 2 AND 1, NOT 1 BETWEEN 2 AND 3
SELECT CASE 1 WHEN 1.0 THEN 'same' END, CASE WHEN NULL THEN 1 END
SELECT 1 IN (1, NULL), 2 IN (1, NULL), NULL IN (1), 'a' IN ('A' COLLATE NOCASE)
SELECT '10' + 5, '3x' * 2, 'a' + 1, 10 = '10', '1' < 2
SELECT 1e5, 1E5, 1.e2, .5e1, 1e-3, 1.0, 100000000000000000000
SELECT 9223372036854775808, -9223372036854775808, 9223372036854775807 + 1
SELECT substr('hello', -3), substr('hello', 2), substring('hello', 1, 2)
SELECT EXISTS (SELECT 1), NOT EXISTS (SELECT 1 WHERE 0)
SELECT größe FROM (SELECT 1 AS größe)
SELECT 名前 FROM (SELECT name AS 名前 FROM granted_users WHERE id = 1)
SELECT key, value, "order", "group" FROM (SELECT 1 AS key, 2 AS value, 3 AS "order", 4 AS "group")
SELECT id, name, type, date, time, text, year FROM (SELECT 1 AS id, 2 AS name, 3 AS type, 4 AS date, 5 AS time, 6 AS text, 7 AS year)
INSERT INTO granted_users (name, email) VALUES ('New', 'new@example.com') RETURNING id
INSERT INTO granted_users (name, email) VALUES (?, ?) RETURNING id, name, created_at
INSERT INTO granted_users (name) VALUES ('A'), ('B') RETURNING *
INSERT INTO granted_users (name) VALUES ('A') RETURNING id AS new_id, upper(name) AS loud, rowid
INSERT INTO granted_users DEFAULT VALUES
INSERT OR IGNORE INTO granted_users (id, name) VALUES (1, 'dup')
INSERT OR REPLACE INTO granted_counters (name, value) VALUES ('visits', 5)
INSERT OR ABORT INTO granted_counters (name, value) VALUES ('visits2', 5)
INSERT OR FAIL INTO granted_counters (name, value) VALUES ('visits3', 5)
REPLACE INTO granted_counters (name, value) VALUES ('visits', 6)
REPLACE INTO granted_counters VALUES ('visits', 7), ('hits', 8)
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value > value
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT DO NOTHING
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON CONFLICT (name) DO NOTHING RETURNING name
INSERT INTO granted_counters AS c (name, value) VALUES ('visits', 1) ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value
INSERT INTO granted_counters (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value
INSERT INTO granted_counters (name, value) SELECT 'n' || id, age FROM granted_users WHERE true ON CONFLICT (name) DO NOTHING
INSERT INTO main.granted_counters (name, value) VALUES ('m', 1)
INSERT INTO granted_counters VALUES ('hex', 0xff)
WITH src AS (SELECT 'w' AS name, 3 AS value) INSERT INTO granted_counters SELECT name, value FROM src
WITH src(n) AS (VALUES (1)) INSERT INTO granted_counters (name, value) SELECT 's' || n, n FROM src RETURNING *
UPDATE granted_users SET flags = flags & 0x0F
UPDATE granted_users SET flags = flags | 4 WHERE id = 1 RETURNING id, flags
UPDATE granted_users SET flags = flags & ~4 WHERE id = 1
UPDATE granted_users SET (name, age) = ('X', 1) WHERE id = 1
UPDATE granted_users SET (name, age) = (SELECT label, id FROM granted_nodes WHERE id = 1) WHERE id = 1
UPDATE granted_tickets SET title = u.name FROM granted_users u WHERE u.id = granted_tickets.user_id
UPDATE granted_tickets AS t SET title = u.name FROM granted_users AS u WHERE u.id = t.user_id RETURNING id
UPDATE OR IGNORE granted_counters SET name = 'hits' WHERE name = 'visits'
UPDATE OR REPLACE granted_counters SET value = 1 WHERE name = 'visits'
UPDATE granted_users SET settings = json_set(settings, '$.theme', 'dark') WHERE id = 1
UPDATE granted_users SET name = name || '!' WHERE id = 1 RETURNING *
UPDATE granted_users INDEXED BY granted_users_email SET age = 1 WHERE email = 'x'
UPDATE granted_users SET created_at = datetime('now'), name = coalesce(?, name) WHERE id = ?
WITH busy AS (SELECT user_id FROM granted_tickets GROUP BY user_id HAVING COUNT(*) > 1) UPDATE granted_users SET status = 'busy' WHERE id IN (SELECT user_id FROM busy)
DELETE FROM granted_comments WHERE id = 1 RETURNING *
DELETE FROM granted_comments WHERE score < 0 OR body IS NULL RETURNING id
DELETE FROM granted_comments AS c WHERE c.id = 3
DELETE FROM granted_comments WHERE rowid IN (SELECT rowid FROM granted_comments ORDER BY id LIMIT 1)
WITH old AS (SELECT id FROM granted_comments WHERE score IS NULL) DELETE FROM granted_comments WHERE id IN (SELECT id FROM old)
DELETE FROM granted_comments NOT INDEXED WHERE id = 77
CREATE TABLE granted_s1 (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL COLLATE NOCASE, data BLOB, n REAL DEFAULT (1 + 1), at TEXT DEFAULT (datetime('now')))
CREATE TABLE granted_s2 (a, b, c)
CREATE TABLE granted_s3 (id INT PRIMARY KEY, v ANY) STRICT
CREATE TABLE granted_s4 (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID
CREATE TABLE granted_s5 (k TEXT PRIMARY KEY, v TEXT) STRICT, WITHOUT ROWID
CREATE TABLE granted_s6 (id INTEGER PRIMARY KEY, p INTEGER REFERENCES granted_s1 (id) ON DELETE CASCADE ON UPDATE CASCADE)
CREATE TABLE granted_s7 (id INTEGER PRIMARY KEY, p INTEGER REFERENCES granted_s1 ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED)
CREATE TABLE granted_s8 (a INTEGER, b INTEGER, total INTEGER GENERATED ALWAYS AS (a + b) STORED, half INTEGER AS (a / 2) VIRTUAL)
CREATE TABLE granted_s9 (a INTEGER, b TEXT, PRIMARY KEY (a, b), UNIQUE (b) ON CONFLICT REPLACE)
CREATE TABLE granted_s10 (id INTEGER NOT NULL PRIMARY KEY, status TEXT CHECK (status IN ('a', 'b')) DEFAULT 'a', flags INTEGER DEFAULT 0xF, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)
CREATE TABLE "granted_s11" ("id" INTEGER, "order" INTEGER, [group] TEXT, `key` TEXT)
CREATE TABLE IF NOT EXISTS main.granted_s12 (id INTEGER PRIMARY KEY DESC, parent INTEGER REFERENCES granted_s12 (id))
CREATE TABLE granted_s13 (id INTEGER PRIMARY KEY, n BIGINT, m DOUBLE PRECISION, d DATETIME, b BOOLEAN DEFAULT 0, v VARCHAR(255), u UNSIGNED BIG INT)
CREATE INDEX IF NOT EXISTS granted_s1_name ON granted_s1 (name COLLATE NOCASE)
CREATE INDEX granted_s1_low ON granted_s1 (lower(name), n DESC)
CREATE UNIQUE INDEX granted_s1_part ON granted_s1 (name) WHERE n > 0
DROP INDEX granted_s1_low
DROP INDEX IF EXISTS granted_s1_part
ALTER TABLE granted_s1 ADD extra TEXT DEFAULT 'x'
ALTER TABLE granted_s1 ADD COLUMN ref INTEGER REFERENCES granted_s1 (id)
ALTER TABLE granted_s1 RENAME extra TO more
ALTER TABLE granted_s1 DROP COLUMN more
ALTER TABLE granted_s2 RENAME TO granted_s20
INSERT INTO granted_s1 (name) VALUES ('one') RETURNING id, at
INSERT INTO granted_s6 (p) VALUES (1)
INSERT INTO granted_s7 (p) VALUES (1), (NULL)
UPDATE granted_s1 SET id = 5 WHERE id = 1
DELETE FROM granted_s1 WHERE id = 5
SELECT total, half FROM granted_s8
DROP TABLE granted_s7
DROP TABLE IF EXISTS main.granted_s6
DROP TABLE "granted_s11"
SELECT id FROM granted_tickets WHERE title LIKE '%' || ? || '%' ORDER BY id
SELECT id FROM granted_tickets WHERE date(created_at) = date('now', 'localtime')
SELECT id FROM granted_tickets WHERE created_at > datetime('now', '-30 days') ORDER BY id
SELECT strftime('%s', 'now') - strftime('%s', created_at) > 0 FROM granted_tickets
SELECT CAST(strftime('%s', created_at) AS INTEGER) FROM granted_tickets ORDER BY id
SELECT name, count(*) AS n FROM (SELECT u.name FROM granted_users u JOIN granted_tickets t ON t.user_id = u.id) GROUP BY name ORDER BY n DESC, name
SELECT count(*), sum(closed), sum(NOT closed) FROM granted_tickets
SELECT * FROM granted_tickets ORDER BY random() LIMIT 0
SELECT id, (SELECT group_concat(body, char(10)) FROM granted_comments c WHERE c.ticket_id = t.id) AS bodies FROM granted_tickets t ORDER BY id
SELECT id FROM granted_tickets WHERE tags LIKE '%,urgent,%' OR instr(',' || tags || ',', ',urgent,') > 0 ORDER BY id
SELECT CASE WHEN priority BETWEEN 0 AND 3 THEN 'low' WHEN priority < 7 THEN 'mid' ELSE 'high' END AS band, count(*) FROM granted_tickets GROUP BY band ORDER BY band
SELECT u.name, sum(iif(t.status = 'open', 1, 0)) AS open FROM granted_users u LEFT JOIN granted_tickets t ON t.user_id = u.id GROUP BY u.id ORDER BY open DESC, u.id
SELECT id FROM granted_users WHERE lower(email) GLOB '*@example.com' AND length(name) > 2 ORDER BY id
SELECT a.id FROM granted_nodes a LEFT JOIN granted_nodes b ON b.parent_id = a.id WHERE b.id IS NULL ORDER BY a.id
SELECT id, label, (SELECT label FROM granted_nodes p WHERE p.id = n.parent_id) AS parent FROM granted_nodes n ORDER BY id
SELECT json_object('users', (SELECT json_group_array(json_object('id', id, 'name', name)) FROM granted_users)) AS doc
SELECT value ->> 'a' FROM json_each('[{"a":1},{"a":2}]')
SELECT u.id, t.value FROM granted_users u CROSS JOIN json_each(u.settings, '$.list') t ORDER BY 1, 2
SELECT abs(priority - 5) AS distance FROM granted_tickets ORDER BY distance, id
SELECT id FROM granted_tickets ORDER BY priority DESC, created_at LIMIT 10 OFFSET 0
SELECT min(x) FROM (SELECT 1 x UNION ALL SELECT 2)
SELECT id FROM granted_users WHERE name > 'B' COLLATE BINARY ORDER BY id
SELECT max(a, b) FROM (SELECT 1 AS a, 2 AS b)
SELECT subtype_free FROM (SELECT 1 AS subtype_free)
SELECT count(*) > 0 AS has FROM granted_users WHERE email = ? COLLATE NOCASE
SELECT sum(length(body)) FROM granted_comments
SELECT ticket_id, group_concat(user_id) FROM granted_comments GROUP BY ticket_id ORDER BY ticket_id
SELECT first.id FROM granted_users first JOIN granted_users second ON second.id = first.id + 1 ORDER BY 1
SELECT percentile_free, median_free FROM (SELECT 1 AS percentile_free, 2 AS median_free)
