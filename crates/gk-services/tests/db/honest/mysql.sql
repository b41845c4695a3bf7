# MySQL and MariaDB.
SELECT `name`, `status` FROM `granted_users` ORDER BY `id`
SELECT CONCAT(name, ' <', email, '>') AS mailbox FROM granted_users ORDER BY id
SELECT name FROM granted_users WHERE name = "Ada"
SELECT "it's", "say ""hi""", 'a "quoted" b', 'it\'s', "a\"b"
SELECT 'line\nbreak', 'tab\t', 'back\\slash', 'per\%cent', 'under\_score', 'nul\0', 'q\q'
SELECT 'a' 'b' "c"
SELECT N'national', _utf8mb4'text', _latin1'abc', _binary'abc', n'x'
SELECT X'4D7953514C', x'41', 0x41, 0x41 + 0, b'1010', B'1' + 0, 0b101 + 0
SELECT name FROM granted_users WHERE flags & 0x04 ORDER BY id
SELECT HEX(0xFF), 0xff | 0, 0x0A + 1
SELECT name FROM granted_users # trailing
SELECT name FROM granted_users -- trailing
SELECT 5--2, 5 -- 2
SELECT name FROM granted_users WHERE name LIKE 'a\_%' OR name LIKE '%\%%' ORDER BY id
SELECT name FROM granted_users WHERE name LIKE 'a|_%' ESCAPE '|'
SELECT title FROM granted_tickets WHERE title LIKE '50\%%' ORDER BY id
SELECT name FROM granted_users WHERE name REGEXP '^A' OR name RLIKE 'b$' ORDER BY id
SELECT name FROM granted_users WHERE name NOT REGEXP '^[0-9]+$' ORDER BY id
SELECT name FROM granted_users WHERE name REGEXP '^\\w+$' ORDER BY id
SELECT 'abc' REGEXP BINARY 'B', 'a' LIKE BINARY 'A', BINARY 'a' = 'A'
SELECT 1 FROM DUAL
SELECT NOW() IS NOT NULL FROM dual
SELECT 1 FROM DUAL WHERE 1 = 1
SELECT name FROM granted_users USE INDEX (granted_users_email) WHERE email = 'ada@example.com'
SELECT name FROM granted_users FORCE INDEX (PRIMARY) WHERE id = 1
SELECT name FROM granted_users IGNORE INDEX (granted_users_email) ORDER BY id
SELECT u.name FROM granted_users u USE INDEX FOR ORDER BY (PRIMARY) ORDER BY u.id
SELECT u.name FROM granted_users AS u FORCE KEY (granted_users_email) JOIN granted_tickets t USE INDEX () ON t.user_id = u.id ORDER BY t.id
SELECT 7 DIV 2, 7 MOD 3, 7 % 3, MOD(7, 3), -7 DIV 2, 7 / 2
SELECT id FROM granted_users WHERE id MOD 2 = 0 ORDER BY id
SELECT id FROM granted_users WHERE id DIV 2 = 1 ORDER BY id
SELECT 1 XOR 1, 1 XOR 0, TRUE && FALSE, TRUE || FALSE, !0, NOT 1, 5 ^ 3, ~0, 1 << 2, 8 >> 1
SELECT 1 <=> NULL, NULL <=> NULL, 1 <=> 1
SELECT age <=> 36 FROM granted_users ORDER BY id
SELECT 1 != 2, 1 <> 2, 3 BETWEEN 1 AND 5, 2 NOT BETWEEN 3 AND 4, NULL IS NULL, 1 IS TRUE, 0 IS FALSE, NULL IS UNKNOWN, 1 IS NOT TRUE
SELECT IF(age > 30, 'old', 'young'), IFNULL(age, -1), ISNULL(age), NULLIF(1, 1), COALESCE(NULL, 2) FROM granted_users ORDER BY id
SELECT name FROM granted_users ORDER BY id LIMIT 1, 2
SELECT name FROM granted_users ORDER BY FIELD(status, 'active', 'pending', 'blocked'), id
SELECT name FROM granted_users ORDER BY RAND() LIMIT 0
SELECT name FROM granted_users ORDER BY name COLLATE utf8mb4_bin
SELECT name COLLATE utf8mb4_general_ci = 'ADA' FROM granted_users ORDER BY id
SELECT SQL_NO_CACHE name FROM granted_users ORDER BY id
SELECT STRAIGHT_JOIN u.name FROM granted_users u JOIN granted_tickets t ON t.user_id = u.id ORDER BY t.id
SELECT SQL_SMALL_RESULT status, COUNT(*) FROM granted_users GROUP BY status ORDER BY status
SELECT DISTINCTROW status FROM granted_users ORDER BY status
SELECT ALL status FROM granted_users ORDER BY id
SELECT u.name, t.title FROM granted_users u STRAIGHT_JOIN granted_tickets t ON t.user_id = u.id ORDER BY t.id
SELECT status, COUNT(*) FROM granted_users GROUP BY status WITH ROLLUP
SELECT GROUP_CONCAT(name), GROUP_CONCAT(DISTINCT status ORDER BY status DESC SEPARATOR '; '), GROUP_CONCAT(id, ':', name ORDER BY id) FROM granted_users
SELECT GROUP_CONCAT(name ORDER BY name SEPARATOR '\n') FROM granted_users
SELECT DATE_FORMAT(created_at, '%Y-%m-%d %H:%i:%s'), YEAR(created_at), MONTH(created_at), DAY(created_at), HOUR(created_at), MINUTE(created_at), SECOND(created_at) FROM granted_tickets ORDER BY id
SELECT DATE(created_at), TIME(created_at), DAYOFWEEK(created_at), DAYNAME(created_at), MONTHNAME(created_at), WEEK(created_at), QUARTER(created_at), LAST_DAY(created_at) FROM granted_tickets ORDER BY id
SELECT DATE_ADD('2026-01-31', INTERVAL 1 MONTH), DATE_SUB('2026-01-31', INTERVAL 1 DAY), '2026-01-01' + INTERVAL 1 HOUR, '2026-01-01' - INTERVAL 30 MINUTE, INTERVAL 1 DAY + '2026-01-01'
SELECT DATE_ADD('2026-01-01', INTERVAL '1:30' HOUR_MINUTE), DATE_ADD('2026-01-01', INTERVAL '1-2' YEAR_MONTH), ADDDATE('2026-01-01', 5), SUBDATE('2026-01-05', INTERVAL 1 WEEK)
SELECT DATEDIFF('2026-02-01', '2026-01-01'), TIMESTAMPDIFF(HOUR, '2026-01-01', '2026-01-02'), TIMESTAMPADD(MINUTE, 5, '2026-01-01'), TIMEDIFF('10:00', '09:00'), PERIOD_DIFF(202602, 202601), TO_DAYS('2026-01-01')
SELECT UNIX_TIMESTAMP('2026-01-01'), FROM_UNIXTIME(0), FROM_UNIXTIME(0, '%Y'), STR_TO_DATE('31.01.2026', '%d.%m.%Y'), MAKEDATE(2026, 31), MAKETIME(1, 2, 3), SEC_TO_TIME(3661), TIME_TO_SEC('01:01:01')
SELECT EXTRACT(YEAR FROM '2026-01-31'), EXTRACT(DAY_HOUR FROM '2026-01-31 10:00:00'), EXTRACT(MONTH FROM created_at) FROM granted_tickets ORDER BY id
SELECT CURDATE() IS NOT NULL, CURTIME() IS NOT NULL, CURRENT_DATE IS NOT NULL, CURRENT_TIME() IS NOT NULL, CURRENT_TIMESTAMP(3) IS NOT NULL, LOCALTIME IS NOT NULL, LOCALTIMESTAMP() IS NOT NULL, UTC_TIMESTAMP() IS NOT NULL, UTC_DATE IS NOT NULL, SYSDATE() IS NOT NULL, NOW(6) IS NOT NULL
SELECT DATE '2026-01-01', TIME '10:00:00', TIMESTAMP '2026-01-01 10:00:00'
SELECT CONVERT_TZ('2026-01-01 00:00:00', '+00:00', '+02:00')
SELECT id FROM granted_tickets WHERE created_at > NOW() - INTERVAL 10 YEAR ORDER BY id
SELECT id FROM granted_tickets WHERE created_at BETWEEN '2020-01-01' AND CURDATE() + INTERVAL 1 DAY ORDER BY id
SELECT LPAD('7', 3, '0'), RPAD('a', 3, '.'), REPEAT('ab', 3), SPACE(2), LEFT('abc', 2), RIGHT('abc', 2), MID('abc', 2, 1), REVERSE('abc'), LOCATE('b', 'abc'), LOCATE('b', 'abcb', 3), INSTR('abc', 'b'), POSITION('b' IN 'abc'), INSERT('abc', 2, 1, 'X'), ELT(2, 'a', 'b'), FIELD('b', 'a', 'b'), FIND_IN_SET('b', 'a,b')
SELECT SUBSTRING('abcdef' FROM 2 FOR 3), SUBSTRING('abc', 2), SUBSTRING('abc' FROM 2), SUBSTRING_INDEX('a.b.c', '.', 2), TRIM(BOTH 'x' FROM 'xax'), TRIM(LEADING '0' FROM '007'), TRIM('  a '), LTRIM(' a'), RTRIM('a ')
SELECT CHAR_LENGTH('ä'), LENGTH('ä'), CHARACTER_LENGTH('a'), OCTET_LENGTH('ä'), BIT_LENGTH('a'), ASCII('a'), ORD('a'), CHAR(65, 66), CHAR(77 USING utf8mb4), HEX('abc'), UNHEX('616263'), BIN(5), OCT(8), CONV('ff', 16, 10), LCASE('A'), UCASE('a'), STRCMP('a', 'b'), SOUNDEX('Robert'), QUOTE('it''s'), FORMAT(1234.5, 2), CONCAT_WS(',', 'a', NULL, 'b')
SELECT MD5('a'), SHA1('a'), SHA('a'), SHA2('a', 256), CRC32('a'), TO_BASE64('abc'), FROM_BASE64('YWJj'), UUID() IS NOT NULL, INET_ATON('10.0.0.1'), INET_NTOA(167772161), INET6_NTOA(INET6_ATON('::1')), COMPRESS('a') IS NOT NULL
SELECT ABS(-1), CEIL(1.1), CEILING(1.1), FLOOR(1.9), ROUND(1.55, 1), ROUND(2.5), TRUNCATE(1.99, 1), POW(2, 3), POWER(2, 3), SQRT(4), EXP(1), LN(2), LOG(2, 8), LOG10(100), LOG2(8), SIGN(-1), PI(), DEGREES(1), RADIANS(180), GREATEST(1, 2), LEAST(1, 2), RAND(1) >= 0
SELECT SIN(0), COS(0), TAN(0), ASIN(0), ACOS(1), ATAN(1), ATAN(1, 1), ATAN2(1, 1), COT(1), BIT_COUNT(7)
SELECT CAST('12' AS SIGNED), CAST('12' AS UNSIGNED), CAST(1.5 AS CHAR), CAST('2026-01-01' AS DATE), CAST('2026-01-01 10:00' AS DATETIME), CAST('10:00' AS TIME), CAST(1 AS DECIMAL(10, 2)), CAST('abc' AS BINARY), CAST('5' AS UNSIGNED INTEGER), CAST(1 AS DOUBLE), CAST('a' AS CHAR CHARACTER SET utf8mb4)
SELECT CONVERT('12', SIGNED), CONVERT('a' USING utf8mb4), CONVERT(1.5, CHAR), CONVERT('12.5', DECIMAL(5, 1)), CONVERT('abc', BINARY)
SELECT JSON_EXTRACT(settings, '$.theme'), JSON_UNQUOTE(JSON_EXTRACT(settings, '$.theme')), JSON_VALUE(settings, '$.theme') FROM granted_users ORDER BY id
SELECT JSON_OBJECT('id', id, 'name', name), JSON_ARRAY(1, 'a', NULL), JSON_LENGTH('[1,2]'), JSON_TYPE('[]'), JSON_VALID('{'), JSON_KEYS('{"a":1}'), JSON_DEPTH('[]'), JSON_QUOTE('a') FROM granted_users ORDER BY id
SELECT JSON_SET('{"a":1}', '$.b', 2), JSON_INSERT('{}', '$.a', 1), JSON_REPLACE('{"a":1}', '$.a', 2), JSON_REMOVE('{"a":1}', '$.a'), JSON_ARRAY_APPEND('[1]', '$', 2), JSON_ARRAY_INSERT('[1]', '$[0]', 0), JSON_MERGE_PATCH('{"a":1}', '{"b":2}'), JSON_MERGE_PRESERVE('[1]', '[2]')
SELECT JSON_CONTAINS('[1,2]', '1'), JSON_CONTAINS_PATH('{"a":1}', 'one', '$.a'), JSON_SEARCH('["a"]', 'one', 'a'), JSON_PRETTY('[1]'), JSON_COMPACT('[1 ]'), JSON_EXISTS('{"a":1}', '$.a'), JSON_QUERY('{"a":[1]}', '$.a')
SELECT JSON_ARRAYAGG(name), JSON_OBJECTAGG(name, id) FROM granted_users
SELECT j.n FROM JSON_TABLE('[{"n":1},{"n":2}]', '$[*]' COLUMNS (n INT PATH '$.n')) AS j
SELECT BIT_AND(flags), BIT_OR(flags), BIT_XOR(flags), STD(age), STDDEV(age), STDDEV_POP(age), STDDEV_SAMP(age), VAR_POP(age), VAR_SAMP(age), VARIANCE(age) FROM granted_users
SELECT COUNT(DISTINCT status, age) FROM granted_users
SELECT REGEXP_REPLACE('a1b2', '[0-9]', ''), REGEXP_SUBSTR('abc', 'b.'), REGEXP_INSTR('abc', 'c')
SELECT id, SUM(priority) OVER (PARTITION BY status ORDER BY id), NTH_VALUE(id, 2) OVER (ORDER BY id) FROM granted_tickets ORDER BY id
SELECT 1 + 1 AS `sum`, COUNT(*) `n`, MAX(id) AS 'the max', MIN(id) AS "the min" FROM granted_users
SELECT key_col, `key`, `order`, `group` FROM (SELECT 1 AS key_col, 2 AS `key`, 3 AS `order`, 4 AS `group`) x
SELECT größe FROM (SELECT 1 AS größe) x
SELECT id, name, type, date, time, text, year, value FROM (SELECT 1 AS id, 2 AS name, 3 AS type, 4 AS date, 5 AS time, 6 AS text, 7 AS year, 8 AS value) x
SELECT 1e5, 1.5E-3, .5, 5., 18446744073709551615, 9223372036854775808, -9223372036854775808, 123456789012345678901234567890
SELECT '10' + 5, '3x' * 2, 'a' + 1, 10 = '10', 'a' = 'A', 'a' = 'a '
SELECT 2 + 3 * 4 - 6 / 2, -2 * -3, - - 3, 10 - 2 - 3, 2 * 3 DIV 4, NOT 1 = 2, NOT (1 = 2), ! 1 + 1
SELECT NULL + 1, NULL AND 0, NULL OR 1, CONCAT('a', NULL), NULL IN (1), 1 IN (1, NULL), 2 NOT IN (1, NULL)
SELECT (1, 2) = (1, 2), (1, 2) IN ((1, 2), (3, 4)), ROW(1, 2) = ROW(1, 2)
SELECT CASE age WHEN 36 THEN 'x' ELSE 'y' END, CASE WHEN age IS NULL THEN 1 END FROM granted_users ORDER BY id
SELECT name FROM granted_users WHERE id = ANY (SELECT user_id FROM granted_tickets) ORDER BY id
SELECT name FROM granted_users WHERE id > ALL (SELECT user_id FROM granted_tickets WHERE user_id < 2) ORDER BY id
SELECT name FROM granted_users WHERE id = SOME (SELECT user_id FROM granted_tickets) ORDER BY id
SELECT MATCH (title) AGAINST ('printer') > 0 FROM granted_articles
SELECT id FROM granted_articles WHERE MATCH (title, body) AGAINST ('+printer -scanner' IN BOOLEAN MODE)
SELECT id FROM granted_tickets WHERE title LIKE CONCAT('%', ?, '%') ORDER BY id
SELECT id FROM granted_tickets WHERE DATE(created_at) = CURDATE()
SELECT DATE_FORMAT(created_at, '%Y-%m') AS month, COUNT(*) FROM granted_tickets GROUP BY month ORDER BY month
SELECT SUM(status = 'open') AS open, SUM(IF(closed, 1, 0)) AS closed FROM granted_tickets
SELECT u.name, COUNT(t.id) AS n FROM granted_users u LEFT JOIN granted_tickets t ON t.user_id = u.id GROUP BY u.id HAVING n > 0 ORDER BY n DESC, u.id
SELECT VALUE_FREE FROM (SELECT 1 AS VALUE_FREE) x
VALUES (1, 'a'), (2, 'b')
WITH v AS (SELECT 1 AS a UNION ALL SELECT 2) SELECT SUM(a) FROM v
(SELECT id FROM granted_users ORDER BY id LIMIT 1) UNION ALL (SELECT id FROM granted_tickets ORDER BY id LIMIT 1)
SELECT id FROM granted_users WHERE name = 'Ada' LIMIT 1 OFFSET 0
INSERT INTO granted_users (name, email) VALUES ('New', 'new@example.com')
INSERT INTO granted_users (name, email) VALUES ("New", "o\'neil@example.com")
INSERT INTO granted_users SET name = 'Set', email = 'set@example.com'
INSERT INTO granted_users (name, email) VALUES (?, ?)
INSERT INTO granted_users (name) VALUES ('R') RETURNING id
INSERT INTO granted_users (name) VALUES ('R'), ('S') RETURNING id, name
INSERT IGNORE INTO granted_counters (name, value) VALUES ('visits', 1)
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON DUPLICATE KEY UPDATE value = value + 1
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON DUPLICATE KEY UPDATE value = VALUES(value), name = name
INSERT INTO granted_counters (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = value + VALUES(value)
INSERT INTO granted_counters (name, value) SELECT CONCAT('u', id), age FROM granted_users WHERE age IS NOT NULL ON DUPLICATE KEY UPDATE value = VALUES(value)
INSERT LOW_PRIORITY INTO granted_counters (name, value) VALUES ('low', 1)
INSERT HIGH_PRIORITY INTO granted_counters (name, value) VALUES ('high', 1)
INSERT granted_counters (name, value) VALUES ('nointo', 1)
INSERT INTO granted_counters VALUES ('hex', 0xff), ('bin', b'101')
INSERT INTO granted_users () VALUES ()
INSERT INTO granted_users (id, name, age) VALUES (DEFAULT, 'D', DEFAULT)
INSERT INTO granted_counters (name, value) VALUES ('visits', 1) ON DUPLICATE KEY UPDATE value = GREATEST(value, VALUES(value))
REPLACE INTO granted_counters (name, value) VALUES ('visits', 6)
REPLACE INTO granted_counters VALUES ('visits', 7), ('hits', 8)
REPLACE INTO granted_counters SET name = 'visits', value = 9
REPLACE granted_counters (name, value) SELECT 'r', 1
UPDATE granted_users SET flags = flags & 0x0F
UPDATE granted_users SET flags = flags | 4 WHERE id = 1 LIMIT 1
UPDATE granted_users SET name = CONCAT(name, '!') WHERE id = 1 ORDER BY id LIMIT 1
UPDATE IGNORE granted_counters SET name = 'hits' WHERE name = 'visits'
UPDATE LOW_PRIORITY granted_counters SET value = 1 WHERE name = 'visits'
UPDATE granted_tickets t JOIN granted_users u ON u.id = t.user_id SET t.title = u.name WHERE u.status = 'active'
UPDATE granted_tickets AS t INNER JOIN granted_users AS u ON u.id = t.user_id SET t.title = u.name, u.age = u.age + 1
UPDATE granted_tickets t LEFT JOIN granted_users u ON u.id = t.user_id SET t.status = 'orphan' WHERE u.id IS NULL
UPDATE granted_tickets, granted_users SET granted_tickets.title = granted_users.name WHERE granted_users.id = granted_tickets.user_id
UPDATE granted_tickets t JOIN (SELECT ticket_id, COUNT(*) AS n FROM granted_comments GROUP BY ticket_id) c ON c.ticket_id = t.id SET t.priority = c.n
UPDATE granted_users SET settings = JSON_SET(settings, '$.theme', 'dark') WHERE id = 1
UPDATE granted_users SET age = DEFAULT(age), name = IFNULL(?, name) WHERE id = ?
UPDATE granted_users SET `name` = "double", email = 'back\\slash' WHERE `id` = 1
UPDATE granted_tickets SET updated_at = NOW(), status = IF(closed, 'closed', status) WHERE id IN (1, 2)
DELETE FROM granted_comments WHERE id = 1
DELETE FROM granted_comments WHERE id = 2 RETURNING id, body
DELETE FROM granted_comments ORDER BY id LIMIT 1
DELETE c FROM granted_comments c JOIN granted_tickets t ON t.id = c.ticket_id WHERE t.status = 'closed'
DELETE c, t FROM granted_comments AS c JOIN granted_tickets AS t ON t.id = c.ticket_id WHERE t.id = 999
DELETE FROM granted_comments USING granted_comments JOIN granted_tickets ON granted_tickets.id = granted_comments.ticket_id WHERE granted_tickets.id = 999
DELETE granted_comments FROM granted_comments LEFT JOIN granted_tickets ON granted_tickets.id = granted_comments.ticket_id WHERE granted_tickets.id IS NULL
DELETE LOW_PRIORITY FROM granted_comments WHERE id = 77
DELETE QUICK FROM granted_comments WHERE id = 77
DELETE IGNORE FROM granted_comments WHERE id = 77
CREATE TABLE granted_m1 (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL, data JSON, body MEDIUMTEXT, b BLOB, at DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY name_idx (name), UNIQUE KEY uq (name, at))
CREATE TABLE granted_m2 (id INT AUTO_INCREMENT, m BIGINT UNSIGNED, e ENUM('a', 'b\'c') DEFAULT 'a', s SET('x', 'y'), d DECIMAL(10, 2), f FLOAT, t TINYINT(1), y YEAR, bits BIT(8) DEFAULT b'0', PRIMARY KEY (id), INDEX (d), CONSTRAINT fk FOREIGN KEY (m) REFERENCES granted_m1 (id) ON DELETE CASCADE ON UPDATE CASCADE)
CREATE TABLE granted_m3 (id INT PRIMARY KEY) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci
CREATE TABLE granted_m4 (id INT PRIMARY KEY COMMENT 'the key', name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) ENGINE=InnoDB COMMENT='it''s'
CREATE TABLE granted_m5 (a INT, b INT AS (a * 2) STORED, c INT GENERATED ALWAYS AS (a + 1) VIRTUAL, FULLTEXT KEY ft (txt), txt TEXT) AUTO_INCREMENT = 1
CREATE TABLE IF NOT EXISTS granted_m6 (id INT NOT NULL, `order` INT, v VARBINARY(16), c CHAR(2), ts TIMESTAMP(3) NULL DEFAULT NULL, UNIQUE (`order`))
CREATE TABLE granted_m7 LIKE granted_m3
CREATE INDEX granted_m1_at ON granted_m1 (at DESC)
CREATE INDEX granted_m1_pre ON granted_m1 (body(10))
CREATE UNIQUE INDEX granted_m6_v ON granted_m6 (v)
CREATE FULLTEXT INDEX granted_m1_ft ON granted_m1 (body)
DROP INDEX granted_m1_at ON granted_m1
ALTER TABLE granted_m1 ADD COLUMN extra INT NOT NULL DEFAULT 0 AFTER name
ALTER TABLE granted_m1 ADD COLUMN firstcol INT FIRST, ADD INDEX extra_idx (extra)
ALTER TABLE granted_m1 MODIFY COLUMN extra BIGINT
ALTER TABLE granted_m1 CHANGE COLUMN extra additional BIGINT NULL
ALTER TABLE granted_m1 ADD UNIQUE KEY uq2 (additional)
ALTER TABLE granted_m1 DROP INDEX uq2
ALTER TABLE granted_m1 DROP COLUMN additional, DROP COLUMN firstcol
ALTER TABLE granted_m2 DROP FOREIGN KEY fk
ALTER TABLE granted_m1 ALTER COLUMN name SET DEFAULT 'x'
ALTER TABLE granted_m3 RENAME TO granted_m30
ALTER TABLE granted_m6 ADD PRIMARY KEY (id)
RENAME TABLE granted_m4 TO granted_m40
TRUNCATE TABLE granted_m6
TRUNCATE granted_m6
DROP TABLE IF EXISTS granted_m2, granted_m5
DROP TABLE granted_m40
SELECT SUBSTRING_INDEX(email, '@', -1) AS domain, COUNT(*) FROM granted_users GROUP BY domain ORDER BY domain
SELECT TIMESTAMPDIFF(DAY, created_at, NOW()) > 0 FROM granted_tickets ORDER BY id
SELECT id, title, CASE WHEN priority >= 7 THEN 'high' ELSE 'low' END AS band FROM granted_tickets HAVING band = 'high' ORDER BY id
SELECT EXISTS (SELECT * FROM granted_users WHERE email = ?) AS taken
SELECT a.name FROM granted_users a JOIN granted_users b ON a.id = b.id AND b.status IN ('active') ORDER BY a.id
SELECT t.id, (SELECT GROUP_CONCAT(c.body SEPARATOR ' | ') FROM granted_comments c WHERE c.ticket_id = t.id) FROM granted_tickets t ORDER BY t.id
SELECT COUNT(*) FROM granted_users u JOIN (granted_tickets t JOIN granted_comments c ON c.ticket_id = t.id) ON t.user_id = u.id
SELECT u.id FROM granted_users u NATURAL LEFT JOIN granted_nodes n ORDER BY u.id
SELECT u.id FROM (granted_users u, granted_tickets t) WHERE t.user_id = u.id ORDER BY t.id
SELECT id FROM granted_users WHERE NOT name = 'Ada' && age > 18 || id = 1 ORDER BY id
INSERT INTO granted_users (id, name) VALUES (1, 'again') ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), name = VALUES(name)
CREATE TABLE granted_m8 (id INT, v VARCHAR(10) CHARSET utf8mb4 NOT NULL, KEY k (v) USING BTREE)
CREATE INDEX granted_m8_id ON granted_m8 (id) USING BTREE
ALTER TABLE granted_m8 ADD COLUMN w INT NULL AFTER id, DROP COLUMN v
ALTER TABLE granted_m8 AUTO_INCREMENT = 100
