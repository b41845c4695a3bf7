# Statements of everyday plugins, valid on all three engines. One a line.
SELECT * FROM granted_users
SELECT id, name, email FROM granted_users WHERE id = 1
SELECT id, name FROM granted_users WHERE email = ?
SELECT name FROM granted_users WHERE id IN (1, 2, 3)
SELECT name FROM granted_users WHERE id IN (?, ?, ?)
SELECT name FROM granted_users WHERE id NOT IN (SELECT user_id FROM granted_tickets WHERE user_id IS NOT NULL)
SELECT count(*) FROM granted_users
SELECT COUNT(*) AS total FROM granted_users WHERE status = 'active'
SELECT COUNT(DISTINCT status) FROM granted_users
SELECT status, COUNT(*) AS n FROM granted_users GROUP BY status ORDER BY n DESC, status
SELECT status, COUNT(*) AS n FROM granted_users GROUP BY status HAVING COUNT(*) > 1 ORDER BY status
SELECT DISTINCT status FROM granted_users ORDER BY status
SELECT name AS "label" FROM granted_counters ORDER BY name
SELECT u.name, t.title FROM granted_users u JOIN granted_tickets t ON t.user_id = u.id ORDER BY t.id
SELECT u.name, t.title FROM granted_users AS u INNER JOIN granted_tickets AS t ON t.user_id = u.id WHERE t.status <> 'closed' ORDER BY t.id
SELECT u.name, COUNT(t.id) AS tickets FROM granted_users u LEFT JOIN granted_tickets t ON t.user_id = u.id GROUP BY u.id, u.name ORDER BY u.id
SELECT u.name FROM granted_users u LEFT OUTER JOIN granted_tickets t ON t.user_id = u.id WHERE t.id IS NULL ORDER BY u.id
SELECT t.title, c.body, u.name FROM granted_tickets t JOIN granted_comments c ON c.ticket_id = t.id JOIN granted_users u ON u.id = c.user_id ORDER BY c.id
SELECT a.id, b.id FROM granted_users a CROSS JOIN granted_users b WHERE a.id < b.id ORDER BY a.id, b.id
SELECT a.name, b.name FROM granted_users a, granted_users b WHERE a.id = b.id + 1 ORDER BY a.id
SELECT t.title FROM granted_tickets t RIGHT JOIN granted_users u ON u.id = t.user_id ORDER BY u.id, t.id
SELECT ticket_id, title FROM granted_comments JOIN granted_tickets ON granted_comments.ticket_id = granted_tickets.id ORDER BY 1, 2
SELECT name FROM granted_users WHERE name LIKE 'A%' ORDER BY name
SELECT name FROM granted_users WHERE name LIKE '%o%' OR email LIKE '%@example.com' ORDER BY id
SELECT name FROM granted_users WHERE name NOT LIKE '%x%' ORDER BY id
SELECT title FROM granted_tickets WHERE title LIKE '%50!%%' ESCAPE '!'
SELECT title FROM granted_tickets WHERE title LIKE ? ORDER BY id LIMIT 10
SELECT name FROM granted_users WHERE age BETWEEN 20 AND 40 ORDER BY id
SELECT name FROM granted_users WHERE age NOT BETWEEN 20 AND 40 ORDER BY id
SELECT name FROM granted_users WHERE age IS NULL
SELECT name FROM granted_users WHERE age IS NOT NULL ORDER BY id
SELECT name FROM granted_users WHERE NOT (status = 'active') ORDER BY id
SELECT name FROM granted_users WHERE status = 'active' AND (age > 30 OR balance >= 100) ORDER BY id
SELECT name FROM granted_users WHERE status != 'active' ORDER BY id
SELECT name FROM granted_users ORDER BY created_at DESC, id ASC LIMIT 2
SELECT name FROM granted_users ORDER BY id LIMIT 2 OFFSET 1
SELECT name FROM granted_users ORDER BY id LIMIT ? OFFSET ?
SELECT id FROM granted_users ORDER BY CASE status WHEN 'active' THEN 0 WHEN 'blocked' THEN 2 ELSE 1 END, id
SELECT id, CASE WHEN age >= 65 THEN 'senior' WHEN age >= 18 THEN 'adult' ELSE 'minor' END AS grp FROM granted_users ORDER BY id
SELECT id, CASE WHEN age IS NULL THEN 0 ELSE age END FROM granted_users ORDER BY id
SELECT COALESCE(age, 0) AS age FROM granted_users ORDER BY id
SELECT COALESCE(NULL, NULL, 'x')
SELECT NULLIF(status, 'active') FROM granted_users ORDER BY id
SELECT UPPER(name), LOWER(email), LENGTH(name) FROM granted_users ORDER BY id
SELECT TRIM('  x  ') AS a, LTRIM('  x') AS b, RTRIM('x  ') AS c
SELECT REPLACE(title, 'a', 'b') FROM granted_tickets ORDER BY id
SELECT SUBSTR(name, 1, 3) FROM granted_users ORDER BY id
SELECT SUBSTRING(name, 2, 2) AS s FROM granted_users ORDER BY id
SELECT ABS(-5), ROUND(2.567, 2), FLOOR(2.7), CEIL(2.1)
SELECT MOD(10, 3), SIGN(-4), SQRT(16), POWER(2, 10)
SELECT MIN(age), MAX(age), SUM(age), AVG(age) FROM granted_users
SELECT SUM(CASE WHEN status = 'active' THEN 1 ELSE 0 END) AS active FROM granted_users
SELECT SUM(priority * 2 + 1) FROM granted_tickets WHERE priority > 0
SELECT 1 + 2 * 3 - 4, (1 + 2) * 3, 7 % 3, -5 + 2, - - 3
SELECT 10 / 4, 10.0 / 4, 1e3, 1.5e-3, .5, 5.
SELECT 9223372036854775807, -9223372036854775807, 0, -0.0
SELECT 5 & 3, 5 | 3, ~5, 1 << 4, 256 >> 2
SELECT 'it''s', '', 'a''''b', 'ünïcödé', '100%'
SELECT '-- not a comment', '/* nor this */', 'a;b', 'what?'
SELECT NULL, TRUE, FALSE
SELECT id FROM granted_users WHERE TRUE ORDER BY id
SELECT CAST(id AS CHAR(10)) FROM granted_users ORDER BY id
SELECT CAST('12' AS DECIMAL(10, 2)) AS d
SELECT CAST(balance AS DECIMAL(10, 1)) FROM granted_users ORDER BY id
SELECT CURRENT_TIMESTAMP IS NOT NULL
SELECT id FROM granted_tickets WHERE created_at < CURRENT_TIMESTAMP ORDER BY id
SELECT id FROM granted_tickets WHERE created_at >= '2026-01-01' AND created_at < '2026-02-01' ORDER BY id
SELECT id FROM granted_tickets WHERE created_at > '2026-01-01 00:00:00' ORDER BY id
SELECT EXISTS (SELECT 1 FROM granted_tickets WHERE status = 'open')
SELECT name FROM granted_users u WHERE EXISTS (SELECT 1 FROM granted_tickets t WHERE t.user_id = u.id AND t.status = 'open') ORDER BY id
SELECT name FROM granted_users u WHERE NOT EXISTS (SELECT * FROM granted_tickets t WHERE t.user_id = u.id) ORDER BY id
SELECT name FROM granted_users WHERE id = (SELECT MAX(user_id) FROM granted_tickets)
SELECT name, (SELECT COUNT(*) FROM granted_tickets t WHERE t.user_id = u.id) AS n FROM granted_users u ORDER BY u.id
SELECT x.name FROM (SELECT id, name FROM granted_users WHERE age > 20) AS x ORDER BY x.id
SELECT s.status, s.n FROM (SELECT status, COUNT(*) AS n FROM granted_tickets GROUP BY status) s WHERE s.n >= 1 ORDER BY s.status
SELECT AVG(n) FROM (SELECT COUNT(*) AS n FROM granted_tickets GROUP BY user_id) x
SELECT name FROM granted_users WHERE (status, age) IN (SELECT status, age FROM granted_users WHERE id = 1)
SELECT id FROM granted_tickets WHERE (user_id, status) = (1, 'open') ORDER BY id
SELECT id FROM granted_users UNION SELECT user_id FROM granted_tickets ORDER BY 1
SELECT id FROM granted_users UNION ALL SELECT id FROM granted_tickets ORDER BY id
SELECT name AS label FROM granted_users UNION SELECT title FROM granted_tickets ORDER BY label LIMIT 3
SELECT id FROM granted_users EXCEPT SELECT user_id FROM granted_tickets ORDER BY 1
SELECT id FROM granted_users INTERSECT SELECT user_id FROM granted_tickets ORDER BY 1
WITH open AS (SELECT * FROM granted_tickets WHERE status = 'open') SELECT COUNT(*) FROM open
WITH a AS (SELECT id FROM granted_users), b AS (SELECT user_id FROM granted_tickets) SELECT a.id FROM a JOIN b ON a.id = b.user_id ORDER BY a.id
WITH totals(user_id, n) AS (SELECT user_id, COUNT(*) FROM granted_tickets GROUP BY user_id) SELECT u.name, totals.n FROM totals JOIN granted_users u ON u.id = totals.user_id ORDER BY u.id
WITH RECURSIVE tree AS (SELECT id, parent_id, label, 0 AS depth FROM granted_nodes WHERE parent_id IS NULL UNION ALL SELECT n.id, n.parent_id, n.label, tree.depth + 1 FROM granted_nodes n JOIN tree ON n.parent_id = tree.id) SELECT id, depth FROM tree ORDER BY id
WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < 10) SELECT SUM(n) FROM seq
WITH RECURSIVE up AS (SELECT id, parent_id FROM granted_nodes WHERE id = 4 UNION SELECT p.id, p.parent_id FROM granted_nodes p JOIN up ON up.parent_id = p.id) SELECT id FROM up ORDER BY id
SELECT id, ROW_NUMBER() OVER (ORDER BY created_at, id) AS rn FROM granted_tickets ORDER BY id
SELECT id, RANK() OVER (PARTITION BY status ORDER BY priority DESC) AS r FROM granted_tickets ORDER BY id
SELECT id, DENSE_RANK() OVER (ORDER BY priority) AS r, NTILE(2) OVER (ORDER BY id) AS half FROM granted_tickets ORDER BY id
SELECT id, LAG(priority) OVER (ORDER BY id) AS prev, LEAD(priority, 1) OVER (ORDER BY id) AS nxt FROM granted_tickets ORDER BY id
SELECT id, SUM(priority) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM granted_tickets ORDER BY id
SELECT id, AVG(priority) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS smooth FROM granted_tickets ORDER BY id
SELECT id, FIRST_VALUE(title) OVER w AS f, LAST_VALUE(title) OVER w AS l FROM granted_tickets WINDOW w AS (PARTITION BY status ORDER BY id) ORDER BY id
SELECT id, COUNT(*) OVER () AS total FROM granted_tickets ORDER BY id LIMIT 2
SELECT id, PERCENT_RANK() OVER (ORDER BY priority) AS p, CUME_DIST() OVER (ORDER BY priority) AS c FROM granted_tickets ORDER BY id
SELECT * FROM (SELECT id, status, ROW_NUMBER() OVER (PARTITION BY status ORDER BY id DESC) AS rn FROM granted_tickets) x WHERE rn = 1 ORDER BY id
SELECT t.* FROM granted_tickets t WHERE t.id = 1
SELECT u.*, t.title FROM granted_users u JOIN granted_tickets t ON t.user_id = u.id WHERE t.id = 1
SELECT granted_users.name FROM granted_users WHERE granted_users.id = 1
select lower(name) from granted_users where id=1
SeLeCt Id FrOm granted_users WHERE Id=1
SELECT id,name,email FROM granted_users WHERE id=1 AND name='Ada'
SELECT id FROM granted_users WHERE id=1;
  SELECT id FROM granted_users WHERE id = 1  
SELECT id FROM granted_users ORDER BY id -- the key
SELECT /* all */ id /* of */ FROM /* users */ granted_users ORDER BY id
SELECT id FROM granted_users WHERE id >= 1 AND id <= 2 ORDER BY id
SELECT id FROM granted_users WHERE id <> 1 ORDER BY id
SELECT id FROM granted_users WHERE id>=? AND id<=?
SELECT id FROM granted_users WHERE ? IS NULL OR id > 0
SELECT name FROM granted_users WHERE UPPER(name) = UPPER('ada')
SELECT name FROM granted_users WHERE LENGTH(name) > 3 ORDER BY LENGTH(name), name
SELECT status, MAX(created_at) FROM granted_tickets GROUP BY status ORDER BY status
SELECT user_id, status, COUNT(*) FROM granted_tickets GROUP BY user_id, status ORDER BY user_id, status
SELECT priority, COUNT(*) FROM granted_tickets GROUP BY 1 ORDER BY 1
SELECT MAX(id) + 1 FROM granted_tickets
SELECT COUNT(*) FROM granted_tickets WHERE closed = FALSE
SELECT (SELECT MAX(id) FROM granted_users), (SELECT MIN(id) FROM granted_users)
SELECT name FROM granted_counters WHERE value > (SELECT AVG(value) FROM granted_counters)
SELECT t.id FROM granted_tickets t JOIN (SELECT user_id, MAX(id) AS last_id FROM granted_tickets GROUP BY user_id) m ON m.last_id = t.id ORDER BY t.id
SELECT COUNT(CASE WHEN status = 'open' THEN 1 END) AS open, COUNT(CASE WHEN status = 'closed' THEN 1 END) AS closed FROM granted_tickets
SELECT id FROM granted_tickets WHERE status IN ('open', 'pending') AND priority > 0 ORDER BY priority DESC, created_at ASC LIMIT 20
SELECT id FROM granted_tickets WHERE (status = 'open' OR status = 'pending') AND user_id = ?
SELECT * FROM granted_tickets WHERE title LIKE '%' AND body IS NOT NULL ORDER BY updated_at DESC, id LIMIT 5
SELECT GREATEST_OR_NOT FROM (SELECT 1 AS GREATEST_OR_NOT) x
SELECT CONCAT_MARK FROM (SELECT 'x' AS CONCAT_MARK) y
SELECT a.id FROM granted_users a JOIN granted_users b USING (id) ORDER BY a.id
SELECT id FROM granted_users NATURAL JOIN (SELECT id FROM granted_tickets) t ORDER BY id
SELECT 1 WHERE 1 = 1
SELECT 1 = 1, 1 <> 2, 2 > 1, 1 >= 1, 1 < 2
SELECT 1 = 1 AND 0 = 1, 1 = 1 OR 1 = 0, NOT 1 = 2
SELECT 3 IN (1, 2, 3), 3 NOT IN (1, 2)
SELECT 2 BETWEEN 1 AND 3, NULL IS NULL, 1 IS NOT NULL
SELECT 'a' < 'b', 'a' = 'A'
SELECT (1), ((2)), (((3)))
SELECT id FROM granted_users WHERE ((id = 1) OR ((id = 2) AND (name = 'Bob'))) ORDER BY id
SELECT EXP(0), LN(1), PI() > 3
SELECT ROUND(AVG(balance), 2) AS avg_balance FROM granted_users WHERE balance > 0
SELECT value FROM granted_counters WHERE name = 'visits'
SELECT MAX(score) FROM granted_comments WHERE ticket_id = ? GROUP BY ticket_id
SELECT id, title, status, priority, created_at FROM granted_tickets WHERE user_id = 1 ORDER BY created_at DESC, id LIMIT 50
SELECT label FROM granted_nodes WHERE parent_id IS NULL OR parent_id = 1 ORDER BY label
SELECT COUNT(*) AS total, SUM(score) AS score, MIN(created_at) AS first, MAX(created_at) AS last FROM granted_comments
SELECT ticket_id FROM granted_comments GROUP BY ticket_id HAVING SUM(score) > 1 AND COUNT(*) >= 1 ORDER BY ticket_id
SELECT id, title FROM granted_tickets WHERE status = 'open' AND user_id IN (SELECT id FROM granted_users WHERE status = 'active') ORDER BY id
SELECT u.id, u.name, COUNT(*) AS comments, MAX(c.created_at) AS latest FROM granted_users u JOIN granted_comments c ON c.user_id = u.id GROUP BY u.id, u.name ORDER BY comments DESC, u.id
SELECT t.id, COUNT(c.id) FROM granted_tickets t LEFT JOIN granted_comments c ON c.ticket_id = t.id AND c.score > 0 GROUP BY t.id ORDER BY t.id
SELECT t.id, COALESCE(SUM(c.score), 0) AS score FROM granted_tickets t LEFT JOIN granted_comments c ON c.ticket_id = t.id GROUP BY t.id ORDER BY score DESC, t.id
SELECT id FROM granted_tickets WHERE user_id IS NULL OR user_id NOT IN (1, 2) ORDER BY id
SELECT id FROM granted_tickets WHERE priority = (SELECT MAX(priority) FROM granted_tickets)
SELECT id FROM granted_tickets t1 WHERE priority > (SELECT AVG(priority) FROM granted_tickets t2 WHERE t2.status = t1.status) ORDER BY id
SELECT id FROM granted_tickets WHERE status = ? ORDER BY created_at DESC LIMIT ?
SELECT id FROM granted_tickets WHERE (status = ? OR ? = '') AND priority >= ? ORDER BY id
SELECT COUNT(*) AS n FROM granted_tickets WHERE user_id = ? AND status IN (?, ?, ?)
SELECT MAX(id) AS max_id, MIN(id) AS min_id, COUNT(*) AS total FROM granted_users WHERE id > ?
SELECT name, email FROM granted_users WHERE LOWER(email) = LOWER(?)
SELECT name FROM granted_users WHERE email LIKE ? ESCAPE '!'
SELECT 1 FROM granted_users WHERE email = ? LIMIT 1
SELECT EXISTS (SELECT 1 FROM granted_users WHERE email = ?) AS taken
SELECT id, name FROM granted_users WHERE age >= 18 AND age < 65 AND status IN ('active', 'pending') ORDER BY name
SELECT id, balance * 100 AS cents FROM granted_users WHERE balance IS NOT NULL ORDER BY id
SELECT id, balance - 10.5 AS after_fee, -balance AS negated FROM granted_users WHERE balance > 0 ORDER BY id
SELECT ROUND(balance * 1.19, 2) AS gross FROM granted_users WHERE balance > 0 ORDER BY id
SELECT SUM(balance) / COUNT(balance) > 0 FROM granted_users
SELECT id FROM granted_users WHERE (age + 1) * 2 > 70 ORDER BY id
SELECT id FROM granted_users WHERE age % 2 = 0 ORDER BY id
SELECT id FROM granted_users WHERE flags & 16 = 16 ORDER BY id
SELECT flags | 1, flags & 255, flags << 1, flags >> 1 FROM granted_users ORDER BY id
SELECT id FROM granted_users WHERE id > 1 AND NOT (status = 'blocked' OR age < 18) ORDER BY id
SELECT id FROM granted_users WHERE COALESCE(email, '') = '' ORDER BY id
SELECT id FROM granted_users WHERE NULLIF(email, '') IS NOT NULL ORDER BY id
SELECT id FROM granted_users WHERE CASE WHEN age IS NULL THEN 0 ELSE age END > 20 ORDER BY id
SELECT COALESCE(u.name, 'nobody') AS owner, t.title FROM granted_tickets t LEFT JOIN granted_users u ON u.id = t.user_id ORDER BY t.id
SELECT a.title, b.title FROM granted_tickets a JOIN granted_tickets b ON a.user_id = b.user_id AND a.id < b.id ORDER BY a.id, b.id
SELECT p.label AS parent, c.label AS child FROM granted_nodes c JOIN granted_nodes p ON p.id = c.parent_id ORDER BY c.id
SELECT n.label, (SELECT COUNT(*) FROM granted_nodes c WHERE c.parent_id = n.id) AS children FROM granted_nodes n ORDER BY n.id
SELECT label FROM granted_nodes WHERE id NOT IN (SELECT parent_id FROM granted_nodes WHERE parent_id IS NOT NULL) ORDER BY id
WITH RECURSIVE path(id, label, parent_id) AS (SELECT id, label, parent_id FROM granted_nodes WHERE id = ? UNION ALL SELECT n.id, n.label, n.parent_id FROM granted_nodes n JOIN path ON n.id = path.parent_id) SELECT label FROM path
WITH ranked AS (SELECT id, user_id, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY created_at DESC) AS rn FROM granted_tickets) SELECT id FROM ranked WHERE rn <= 1 ORDER BY id
WITH per_user AS (SELECT user_id, COUNT(*) AS n FROM granted_tickets GROUP BY user_id), busiest AS (SELECT MAX(n) AS n FROM per_user) SELECT per_user.user_id FROM per_user JOIN busiest ON busiest.n = per_user.n WHERE per_user.user_id IS NOT NULL ORDER BY 1
WITH recent AS (SELECT * FROM granted_tickets WHERE created_at > '2026-01-08') SELECT status, COUNT(*) FROM recent GROUP BY status ORDER BY status
SELECT status, COUNT(*) AS n, SUM(COUNT(*)) OVER () AS total FROM granted_tickets GROUP BY status ORDER BY status
SELECT user_id, COUNT(*) AS n, RANK() OVER (ORDER BY COUNT(*) DESC) AS r FROM granted_tickets WHERE user_id IS NOT NULL GROUP BY user_id ORDER BY user_id
SELECT id, priority, priority - LAG(priority) OVER (ORDER BY id) AS delta FROM granted_tickets ORDER BY id
SELECT id, MAX(priority) OVER (PARTITION BY user_id ORDER BY id ROWS UNBOUNDED PRECEDING) AS so_far FROM granted_tickets ORDER BY id
SELECT id, SUM(score) OVER w AS s, COUNT(*) OVER w AS n FROM granted_comments WINDOW w AS (PARTITION BY ticket_id) ORDER BY id
SELECT COUNT(*) FROM (SELECT DISTINCT user_id, status FROM granted_tickets) d
SELECT COUNT(*) FROM (SELECT id FROM granted_users UNION ALL SELECT id FROM granted_tickets) u
SELECT kind, COUNT(*) FROM (SELECT 'user' AS kind FROM granted_users UNION ALL SELECT 'ticket' FROM granted_tickets) x GROUP BY kind ORDER BY kind
SELECT id, 'open' AS state FROM granted_tickets WHERE closed = FALSE UNION ALL SELECT id, 'closed' FROM granted_tickets WHERE closed = TRUE ORDER BY id
SELECT x.id FROM (SELECT id FROM granted_users ORDER BY id DESC LIMIT 2) x ORDER BY x.id
SELECT id FROM granted_tickets WHERE created_at BETWEEN '2026-01-01' AND '2026-01-31' ORDER BY id
SELECT id FROM granted_tickets WHERE updated_at IS NULL AND created_at < '2026-02-01 12:00:00' ORDER BY created_at
SELECT id FROM granted_tickets ORDER BY priority DESC, updated_at, id LIMIT 3
SELECT id FROM granted_tickets ORDER BY LENGTH(title), id
SELECT id FROM granted_tickets ORDER BY CASE WHEN priority > 5 THEN 0 ELSE 1 END, created_at DESC, id
SELECT title FROM granted_tickets WHERE title LIKE 'Cannot%' OR title LIKE '%fire' ORDER BY id
SELECT REPLACE(REPLACE(title, '%', ''), 'o', '0') FROM granted_tickets ORDER BY id
SELECT CONCAT(name, ' is ', status) AS line FROM granted_users ORDER BY id
SELECT UPPER(SUBSTR(name, 1, 1)) AS initial, COUNT(*) FROM granted_users GROUP BY UPPER(SUBSTR(name, 1, 1)) ORDER BY initial
SELECT LENGTH(TRIM(title)) AS len FROM granted_tickets WHERE TRIM(title) <> '' ORDER BY id
SELECT name, value FROM granted_counters ORDER BY value DESC, name LIMIT 10
SELECT SUM(value) AS total FROM granted_counters WHERE name IN ('visits', 'hits')
SELECT 'literal' AS kind, 42 AS answer, 3.14 AS ratio, NULL AS missing
SELECT COUNT(*) = 0 AS empty FROM granted_users WHERE id < 0
SELECT granted_tickets.id, granted_users.name FROM granted_tickets, granted_users WHERE granted_tickets.user_id = granted_users.id AND granted_users.status = 'active' ORDER BY granted_tickets.id
SELECT t.id, u.name, c.body FROM (granted_tickets t JOIN granted_users u ON u.id = t.user_id) LEFT JOIN granted_comments c ON c.ticket_id = t.id ORDER BY t.id, c.id
INSERT INTO granted_users (id, name, email, status) VALUES (100, 'Zoe', 'zoe@example.com', 'active')
INSERT INTO granted_users (id, name, email) VALUES (?, ?, ?)
INSERT INTO granted_tickets (id, title, user_id, status) VALUES (101, 'First', 1, 'open'), (102, 'Second', 1, 'open'), (103, 'Third', 2, 'closed')
INSERT INTO granted_tickets (id, title, user_id) SELECT id + 200, name, id FROM granted_users
INSERT INTO granted_counters VALUES ('fresh', 0)
INSERT INTO granted_counters (name, value) VALUES ('a', 1 + 1), ('b', (SELECT COUNT(*) FROM granted_users))
INSERT INTO granted_comments (id, ticket_id, user_id, body, score, created_at) VALUES (100, 1, 1, 'It''s "quoted"; -- ok', NULL, CURRENT_TIMESTAMP)
INSERT INTO granted_nodes (id, parent_id, label) SELECT MAX(id) + 1, 1, 'leaf' FROM granted_nodes
INSERT INTO granted_nodes (id, label) VALUES (50, 'x'), (51, 'y')
INSERT INTO granted_tickets (id, title, body, user_id, status, priority, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
INSERT INTO granted_comments (id, ticket_id, user_id, body) SELECT 200, id, user_id, 'Closed automatically' FROM granted_tickets WHERE id = 2
INSERT INTO granted_counters (name, value) SELECT status, COUNT(*) FROM granted_tickets GROUP BY status
INSERT INTO granted_users (id, name, age, balance, is_admin) VALUES (120, 'Eve', 30 + 1, 10.5 * 2, TRUE)
INSERT INTO granted_nodes (id, parent_id, label) VALUES (60, (SELECT MIN(id) FROM granted_nodes), UPPER('sub')), (61, NULL, NULL)
UPDATE granted_tickets SET user_id = NULL WHERE user_id = ?
UPDATE granted_tickets SET priority = priority + 1, updated_at = CURRENT_TIMESTAMP WHERE status = 'open' AND created_at < '2026-01-07'
UPDATE granted_users SET status = CASE WHEN age < 18 THEN 'minor' WHEN age IS NULL THEN 'unknown' ELSE status END
UPDATE granted_users SET flags = 0 WHERE flags & 1 = 1 AND id <> 1
UPDATE granted_users SET email = LOWER(TRIM(email)) WHERE email IS NOT NULL
UPDATE granted_nodes SET parent_id = (SELECT parent_id FROM (SELECT parent_id FROM granted_nodes WHERE id = 2) x) WHERE parent_id = 2
DELETE FROM granted_tickets WHERE status = 'closed' AND updated_at < ?
DELETE FROM granted_comments WHERE NOT EXISTS (SELECT 1 FROM granted_tickets t WHERE t.id = granted_comments.ticket_id)
DELETE FROM granted_users WHERE status = 'blocked' AND id NOT IN (SELECT user_id FROM granted_tickets WHERE user_id IS NOT NULL)
UPDATE granted_users SET name = 'Ada L.' WHERE id = 1
UPDATE granted_users SET name = ?, email = ? WHERE id = ?
UPDATE granted_tickets SET status = 'closed', closed = TRUE, updated_at = CURRENT_TIMESTAMP WHERE id = 1
UPDATE granted_counters SET value = value + 1 WHERE name = 'visits'
UPDATE granted_tickets SET priority = priority - 1 WHERE priority > 0 AND status <> 'closed'
UPDATE granted_tickets SET priority = CASE WHEN priority > 5 THEN 5 ELSE priority END
UPDATE granted_tickets SET title = UPPER(title), body = NULL WHERE id IN (1, 2)
UPDATE granted_users SET balance = balance * 1.1 WHERE balance IS NOT NULL
UPDATE granted_users SET age = (SELECT COUNT(*) FROM granted_tickets WHERE user_id = granted_users.id)
UPDATE granted_tickets SET status = 'orphan' WHERE NOT EXISTS (SELECT 1 FROM granted_users u WHERE u.id = granted_tickets.user_id)
UPDATE granted_comments SET score = COALESCE(score, 0) + ? WHERE id = ?
UPDATE granted_counters SET value = 0
DELETE FROM granted_users WHERE id = 100
DELETE FROM granted_tickets WHERE id = ?
DELETE FROM granted_comments WHERE ticket_id IN (SELECT id FROM granted_tickets WHERE status = 'closed')
DELETE FROM granted_tickets WHERE created_at < '2020-01-01'
DELETE FROM granted_counters WHERE value = 0 AND name <> 'visits'
DELETE FROM granted_nodes WHERE id > 40 AND label LIKE 'x%'
DELETE FROM granted_comments
CREATE TABLE granted_new1 (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP)
CREATE TABLE IF NOT EXISTS granted_new1 (id INTEGER PRIMARY KEY)
CREATE TABLE granted_new2 (id INTEGER NOT NULL, tag VARCHAR(50) NOT NULL, weight DECIMAL(8, 2) DEFAULT 1.0, PRIMARY KEY (id, tag))
CREATE TABLE granted_new3 (id INTEGER PRIMARY KEY, n INTEGER CHECK (n > 0), email VARCHAR(200) UNIQUE, flag BOOLEAN NOT NULL DEFAULT FALSE)
CREATE TABLE granted_new4 (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, CONSTRAINT ab UNIQUE (a, b), CONSTRAINT pos CHECK (a >= 0 AND b >= 0))
CREATE TABLE granted_new5 (id INTEGER PRIMARY KEY, parent INTEGER, FOREIGN KEY (parent) REFERENCES granted_new1 (id) ON DELETE CASCADE)
CREATE INDEX granted_new1_name ON granted_new1 (name)
CREATE UNIQUE INDEX granted_new2_tag ON granted_new2 (tag, id)
ALTER TABLE granted_new1 ADD COLUMN note VARCHAR(200)
ALTER TABLE granted_new1 ADD COLUMN n INTEGER NOT NULL DEFAULT 0
ALTER TABLE granted_new1 RENAME COLUMN note TO remark
ALTER TABLE granted_new1 DROP COLUMN remark
ALTER TABLE granted_new4 RENAME TO granted_new6
DROP TABLE granted_new5
DROP TABLE granted_new6
DROP TABLE IF EXISTS granted_nothing
