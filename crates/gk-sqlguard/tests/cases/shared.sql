# Granted: what plugins write every day.
+ SELECT * FROM granted_a
+ select s from granted_a where id = 1
+ SELECT a.s, b.s FROM granted_a a JOIN granted_b b ON a.id = b.id
+ SELECT a.s FROM granted_a AS a LEFT JOIN granted_b AS b USING (id) ORDER BY a.id DESC LIMIT 1 OFFSET 0
+ SELECT COUNT(*), MAX(id), MIN(s) FROM granted_a GROUP BY s HAVING COUNT(*) > 0
+ SELECT s FROM granted_a WHERE id = ? AND s LIKE '%a%'
+ SELECT s FROM granted_a WHERE id IN (?, ?)
+ SELECT s FROM granted_a UNION ALL SELECT s FROM granted_b
+ SELECT (SELECT s FROM granted_b WHERE granted_b.id = granted_a.id) FROM granted_a
+ WITH x AS (SELECT id FROM granted_a) SELECT * FROM x
+ WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n
+ WITH secret AS (SELECT s FROM granted_a) SELECT * FROM secret
+ SELECT * FROM (SELECT 1 AS one) x, granted_a
+ SELECT CASE WHEN id = 1 THEN 'drop me' ELSE 'delete from secret' END FROM granted_a
+ SELECT 'SELECT * FROM secret' FROM granted_a
+ SELECT s FROM granted_a WHERE s = 'it''s; DROP TABLE secret'
+ SELECT 1
+ SELECT /* secret */ 1 -- from secret
+ SELECT id FROM granted_a -- ?
+ SELECT id, ROW_NUMBER() OVER (PARTITION BY s ORDER BY id) FROM granted_a
+ SELECT COALESCE(s, '') FROM granted_a WHERE NOT (id = 2) AND id BETWEEN 0 AND 3
+ SELECT CAST(id AS CHAR(10)) FROM granted_a
+ SELECT DISTINCT s FROM granted_a ORDER BY s
+ SELECT UPPER(s), LOWER(s), LENGTH(s), ABS(-1), ROUND(1.5) FROM granted_a;
+ SELECT * FROM granted_a WHERE EXISTS (SELECT 1 FROM granted_b WHERE granted_b.id = granted_a.id)
+ INSERT INTO granted_a (id, s) VALUES (10, 'x')
+ INSERT INTO granted_a (id, s) VALUES (?, ?)
+ INSERT INTO granted_a (id, s) SELECT id + 100, s FROM granted_b
+ INSERT INTO granted_a VALUES (11, 'x'), (12, 'y')
+ UPDATE granted_a SET s = 'secret' WHERE id = 10
+ UPDATE granted_a SET s = (SELECT MAX(s) FROM granted_b) WHERE id = 10
+ DELETE FROM granted_a WHERE id = 10
+ DELETE FROM granted_a WHERE id IN (SELECT id FROM granted_b WHERE id > 10)
+ CREATE TABLE granted_new (id INTEGER PRIMARY KEY, s VARCHAR(20) NOT NULL DEFAULT 'x', UNIQUE (s))
+ CREATE INDEX granted_new_s ON granted_new (s)
+ ALTER TABLE granted_new ADD COLUMN t INTEGER
+ ALTER TABLE granted_new RENAME COLUMN t TO u
+ ALTER TABLE granted_new DROP COLUMN u
+ ALTER TABLE granted_new RENAME TO granted_newer
+ DROP TABLE granted_newer
+ DROP TABLE IF EXISTS granted_newer
# Tables in every place.
- SELECT * FROM secret
- SELECT * FROM SECRET
- SELECT*FROM secret
- SELECT * FROM	secret
- SELECT * FROM/**/secret
- SELECT * FROM(secret)
- SELECT * FROM granted_a, secret
- SELECT * FROM granted_a,secret
- SELECT * FROM granted_a a, secret s
- SELECT * FROM granted_a CROSS JOIN secret
- SELECT * FROM granted_a NATURAL JOIN secret
- SELECT * FROM granted_a LEFT OUTER JOIN secret ON 1 = 1
- SELECT * FROM (SELECT 1) x, secret
- SELECT * FROM (SELECT 1) AS x, secret AS s
- SELECT * FROM (SELECT * FROM secret) x
- SELECT * FROM (granted_a JOIN secret ON granted_a.id = secret.id)
- SELECT * FROM (secret s JOIN granted_a g ON g.id = s.id)
- SELECT * FROM ((granted_a JOIN (granted_b JOIN secret ON 1 = 1) ON 1 = 1))
- SELECT (SELECT s FROM secret LIMIT 1)
- SELECT (SELECT s FROM secret LIMIT 1) FROM granted_a
- SELECT UPPER((SELECT s FROM secret LIMIT 1))
- SELECT COALESCE(NULL, (SELECT MAX(s) FROM secret))
- SELECT CASE WHEN 1 = 1 THEN (SELECT MAX(s) FROM secret) END
- SELECT CASE (SELECT MAX(s) FROM secret) WHEN 'a' THEN 1 END
- SELECT CAST((SELECT MAX(s) FROM secret) AS CHAR(20))
- SELECT 1 WHERE EXISTS (SELECT 1 FROM secret)
- SELECT id FROM granted_a WHERE id IN (SELECT id FROM secret)
- SELECT id FROM granted_a WHERE id IN (1, (SELECT MAX(id) FROM secret))
- SELECT id FROM granted_a WHERE id = (SELECT MAX(id) FROM secret)
- SELECT id FROM granted_a WHERE id BETWEEN 1 AND (SELECT MAX(id) FROM secret)
- SELECT id FROM granted_a WHERE (id, s) IN (SELECT id, s FROM secret)
- SELECT id FROM granted_a WHERE s LIKE (SELECT MAX(s) FROM secret)
- SELECT id FROM granted_a WHERE NOT EXISTS (SELECT 1 FROM secret WHERE s LIKE 'S3%')
- SELECT id FROM granted_a GROUP BY id, (SELECT MAX(s) FROM secret)
- SELECT id FROM granted_a GROUP BY id HAVING id < (SELECT MAX(id) FROM secret)
- SELECT id FROM granted_a ORDER BY (SELECT MAX(s) FROM secret)
- SELECT id FROM granted_a LIMIT (SELECT MAX(id) FROM secret)
- SELECT id FROM granted_a LIMIT 1 OFFSET (SELECT MAX(id) FROM secret)
- SELECT SUM(id) OVER (ORDER BY (SELECT MAX(s) FROM secret)) FROM granted_a
- SELECT SUM(id) OVER (PARTITION BY (SELECT MAX(s) FROM secret)) FROM granted_a
- SELECT SUM(id) OVER w FROM granted_a WINDOW w AS (ORDER BY (SELECT MAX(s) FROM secret))
- SELECT g.id FROM granted_a g JOIN granted_b b ON b.id = (SELECT MAX(id) FROM secret)
- SELECT id FROM granted_a UNION SELECT id FROM secret
- SELECT s FROM granted_a UNION ALL (SELECT s FROM secret)
- (SELECT s FROM secret)
- SELECT s FROM granted_a EXCEPT SELECT s FROM secret
- SELECT s FROM granted_a INTERSECT SELECT s FROM secret
- VALUES ((SELECT MAX(s) FROM secret))
- TABLE secret
- SELECT * FROM granted_a UNION TABLE secret
# WITH hides tables in its scope only.
- WITH x AS (SELECT * FROM secret) SELECT * FROM x
- WITH secret AS (SELECT * FROM secret) SELECT * FROM secret
- WITH x AS (WITH secret AS (SELECT 1) SELECT * FROM secret) SELECT * FROM x, secret
- SELECT * FROM (WITH secret AS (SELECT 1 AS s) SELECT s FROM secret) x, secret
- SELECT (WITH secret AS (SELECT 1 AS s) SELECT s FROM secret), s FROM secret
- (WITH secret AS (SELECT 1 AS s) SELECT s FROM secret) UNION ALL SELECT s FROM secret
- WITH a AS (SELECT * FROM secret), secret AS (SELECT 1 AS s) SELECT * FROM a
- WITH a AS (SELECT 1), b AS (SELECT * FROM a, secret) SELECT * FROM b
- WITH RECURSIVE r AS (SELECT s FROM secret UNION ALL SELECT s FROM r WHERE 1 = 0) SELECT * FROM r
# Writing.
- INSERT INTO secret (id, s) VALUES (3, 'x')
- INSERT INTO secret SELECT * FROM granted_a
- INSERT INTO granted_a (id, s) SELECT id + 1000, s FROM secret
- INSERT INTO granted_a (id, s) VALUES (1000, (SELECT MAX(s) FROM secret))
- INSERT INTO granted_a (id, s) WITH secret AS (SELECT id + 5000 AS id, s FROM secret) SELECT id, s FROM secret
- UPDATE secret SET s = 'x'
- UPDATE/**/secret SET s = 'x'
- update	secret set s = 'x'
- UPDATE granted_a SET s = (SELECT MAX(s) FROM secret)
- UPDATE granted_a SET s = 'x' WHERE id IN (SELECT id FROM secret)
- DELETE FROM secret
- DELETE/**/FROM/**/secret
- DELETE FROM granted_a WHERE id = (SELECT MAX(id) FROM secret)
- WITH secret AS (SELECT 1 AS id) DELETE FROM secret
- WITH secret AS (SELECT 1 AS id) UPDATE secret SET s = 'x'
- WITH secret AS (SELECT 1 AS id, 'x' AS s) INSERT INTO secret SELECT * FROM secret
- REPLACE INTO secret VALUES (1, 'x')
- INSERT INTO granted_a (id, s) VALUES (13, 'x') RETURNING (SELECT MAX(s) FROM secret)
+ UPDATE granted_a SET s = 'x' RETURNING *
+ DELETE FROM granted_a WHERE id > 1 RETURNING *
- UPDATE granted_a SET s = 'x' RETURNING (SELECT MAX(s) FROM secret)
- DELETE FROM granted_a WHERE id = 77 RETURNING (SELECT COUNT(*) FROM secret)
- INSERT INTO secret (id, s) VALUES (77, 'x') RETURNING id
- UPDATE secret SET s = s RETURNING s
- DELETE FROM secret RETURNING *
# Changes of tables.
- DROP TABLE secret
- DROP	TABLE	secret
- drop/**/table secret
- DROP TABLE IF EXISTS secret
- DROP TABLE granted_a, secret
- ALTER TABLE secret ADD COLUMN x INTEGER
- ALTER TABLE secret RENAME TO granted_secret
- ALTER TABLE granted_a RENAME TO stolen
- CREATE TABLE fresh (id INTEGER)
- CREATE TABLE granted_copy AS SELECT * FROM secret
- CREATE TABLE granted_copy AS SELECT 1
- CREATE TABLE granted_copy (LIKE secret)
- CREATE TEMPORARY TABLE granted_a (id INTEGER)
- CREATE TEMP TABLE granted_a (id INTEGER)
- CREATE TABLE granted_fk (id INTEGER REFERENCES secret (id))
- CREATE TABLE granted_fk (id INTEGER, FOREIGN KEY (id) REFERENCES secret (id) ON DELETE CASCADE)
- CREATE INDEX granted_i ON secret (s)
- CREATE UNIQUE INDEX granted_i ON secret (s)
- CREATE VIEW granted_v AS SELECT * FROM secret
- CREATE VIEW granted_v AS SELECT * FROM granted_a
- CREATE OR REPLACE VIEW granted_v AS SELECT * FROM secret
- CREATE TRIGGER granted_t AFTER INSERT ON granted_a BEGIN DELETE FROM secret; END
- DROP VIEW granted_v
- TRUNCATE TABLE secret
- TRUNCATE secret
- CREATE SCHEMA x
- CREATE DATABASE x
- DROP DATABASE x
# Everything else.
- SELECT * FROM granted_a FOR UPDATE
- SELECT * INTO granted_copy FROM secret
- EXPLAIN SELECT * FROM secret
- EXPLAIN ANALYZE DELETE FROM secret
- BEGIN
- COMMIT
- ROLLBACK
- SAVEPOINT x
- SET x = 1
- GRANT ALL ON secret TO PUBLIC
- REVOKE ALL ON secret FROM PUBLIC
- CALL something()
- DO 1
- LOCK TABLE secret
- ANALYZE secret
- VACUUM
- PRAGMA table_info(secret)
- ATTACH DATABASE '/tmp/x.db' AS x
- COPY secret TO '/tmp/x'
- LOAD DATA INFILE '/etc/passwd' INTO TABLE granted_a
- PREPARE x AS SELECT * FROM secret
- EXECUTE x
- MERGE INTO secret USING granted_a ON 1 = 1 WHEN MATCHED THEN DELETE
- SHOW TABLES
- USE other
- KILL 1
# More than one statement, or none.
- SELECT 1; SELECT * FROM secret
- SELECT 1; DROP TABLE secret
- SELECT 1;;DELETE FROM secret
- SELECT 1 /* ; */ ; DELETE FROM secret --
- 
- ;
- -- SELECT 1
# Quotes, comments and placeholders that might be read in two ways.
- SELECT 'a
- SELECT "a
- SELECT 1 /* unfinished
- SELECT /* /* */ 1 FROM granted_a */ s FROM secret
+ SELECT 'a' -- ' FROM secret
- SELECT $1 FROM granted_a
- SELECT * FROM granted_a WHERE id = $1
- SELECT * FROM granted_a WHERE id = ?1
- SELECT * FROM granted_a WHERE id = :id
- SELECT * FROM granted_a WHERE id = ??
- SELECT * FROM grantеd_a
- SELECT * FROM granted_a , secret
- SELECT * FROM granted_a , secret
- SELECT* FROM secret
- SELECT \ FROM granted_a
- SELECT {x} FROM granted_a
# Other schemas, and the engines' own tables.
- SELECT * FROM nowhere.granted_a
- SELECT * FROM a.b.granted_a
- SELECT * FROM information_schema.tables
- SELECT * FROM "information_schema"."tables"
- UPDATE information_schema.tables SET x = 1
# Functions.
- SELECT pg_sleep(10)
- SELECT SLEEP(10)
- SELECT load_extension('x')
- SELECT LOAD_FILE('/etc/passwd')
- SELECT unknown_function(1)
- SELECT "upper"('x')
- SELECT public.upper('x')
- SELECT * FROM unknown_function(1)
# Ends of lines, and signs that look like blanks: ␍ ␀ ␋ ␌ stand for what they are the pictures of.
- SELECT id FROM granted_a -- x␍FROM secret
- DELETE FROM granted_a -- cleanup␍WHERE id = 999
- SELECT id FROM granted_a WHERE id = 1␍AND 1 = 1
- SELECT id /* ␍ */ FROM granted_a
- SELECT id FROM granted_a␍
+ SELECT '␍' AS s
- SELECT 1␋FROM granted_a
- SELECT 1␌FROM granted_a
- SELECT 1␀FROM granted_a
- SELECT 'a␀b'
- SELECT 1 FROM granted_a
- SELECT 1 FROM granted_a
- SELECT 1﻿FROM granted_a
- SELECT '﷐' FROM granted_a
- SELECT 1x FROM granted_a
- SELECT 1e FROM granted_a
- SELECT 0x FROM granted_a
- SELECT 0xg FROM granted_a
- SELECT 1__0 FROM granted_a
# Keys that lead elsewhere.
- CREATE TABLE granted_fk (id INTEGER PRIMARY KEY, x INTEGER, CONSTRAINT k FOREIGN KEY (x) REFERENCES secret (id))
- ALTER TABLE granted_a ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES secret (id)
