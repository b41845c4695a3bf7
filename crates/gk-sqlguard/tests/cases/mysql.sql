+ SELECT `s` FROM `granted_a`
+ SELECT s FROM granted_a WHERE s = "a1"
+ SELECT s FROM granted_a WHERE s = "it's"
+ SELECT s FROM granted_a # secret
+ SELECT s FROM granted_a LIMIT 0, 10
+ SELECT s FROM granted_a STRAIGHT_JOIN granted_b USING (id)
+ SELECT IFNULL(s, ''), IF(id = 1, 'a', 'b'), CONCAT(s, 'x'), DATE_FORMAT(NOW(), '%Y') FROM granted_a
+ SELECT DATE_ADD(NOW(), INTERVAL 1 DAY), TIMESTAMPDIFF(DAY, NOW(), NOW())
+ SELECT GROUP_CONCAT(s ORDER BY id SEPARATOR ',') FROM granted_a
+ SELECT s FROM granted_a WHERE s REGEXP '^a'
+ SELECT id DIV 2, id % 2 FROM granted_a
+ SELECT id <=> NULL, id XOR 1 FROM granted_a
+ SELECT CONVERT(s, CHAR) FROM granted_a
+ SELECT CAST(id AS UNSIGNED), CAST(s AS CHAR) FROM granted_a
+ SELECT JSON_EXTRACT('{"a": 1}', '$.a')
+ INSERT IGNORE INTO granted_a VALUES (1, 'x')
+ REPLACE INTO granted_a VALUES (20, 'x')
+ INSERT INTO granted_a SET id = 21, s = 'x'
+ INSERT INTO granted_a (id, s) VALUES (1, 'x') ON DUPLICATE KEY UPDATE s = VALUES(s)
+ UPDATE granted_a SET s = 'y' WHERE id = 20 ORDER BY id LIMIT 1
+ DELETE FROM granted_a WHERE id > 1000 ORDER BY id LIMIT 1
+ CREATE TABLE granted_m (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, s VARCHAR(20), e ENUM('a', 'b'), at DATETIME DEFAULT CURRENT_TIMESTAMP)
+ TRUNCATE TABLE granted_m
+ DROP INDEX nothing ON granted_m
+ DROP TABLE granted_m
- SELECT * FROM `secret`
- SELECT * FROM Granted_a, secret
- SELECT * FROM granted_a STRAIGHT_JOIN secret
- SELECT * FROM granted_a PARTITION (p0), secret
- SELECT * FROM granted_a USE INDEX (PRIMARY), secret
+ SELECT * FROM granted_a FORCE INDEX (PRIMARY)
- SELECT * FROM granted_a a JOIN (SELECT 1) x JOIN secret
- SELECT * FROM mysql.user
- SELECT * FROM `mysql`.`user`
- SELECT * FROM MySQL.global_priv
- SELECT * FROM performance_schema.threads
- SELECT * FROM sys.version
- SELECT * FROM gk.granted_a
- SELECT * FROM .secret
- SELECT * FROM `gk`.secret
- SELECT /*! s FROM secret -- */ 1
- SELECT 1 /*! UNION SELECT s FROM secret */
- SELECT 1 /*!50000 UNION SELECT s FROM secret */
- SELECT 1 /*M! UNION SELECT s FROM secret */
- SELECT 1 /*!*/ FROM secret
- SELECT /*+ SET_VAR(sql_mode='') */ 1
- INSERT INTO granted_a /*! SELECT * FROM secret */ VALUES (1, 'x')
- /*! DROP TABLE secret */
- SELECT 1--1 FROM secret
+ SELECT 1--1
+ SELECT 1 --x
- SELECT '\' FROM granted_a -- ', s FROM secret -- '
+ SELECT 'a\'b' FROM granted_a
- SELECT "\" FROM granted_a
+ SELECT s FROM granted_a WHERE s = 'a\\'
+ SELECT s FROM granted_a WHERE s = '\' UNION SELECT s FROM secret -- '
+ SELECT _utf8'x'
+ SELECT N'x'
+ SELECT _binary'x' FROM granted_a
- SELECT @@version
- SELECT @@global.secure_file_priv
- SELECT @x := 1
- SELECT @x
- SET @x = 1
- SET GLOBAL general_log = 1
- SELECT s INTO @x FROM secret
- SELECT s INTO OUTFILE '/tmp/x' FROM granted_a
- SELECT s FROM granted_a INTO OUTFILE '/tmp/x'
- SELECT s INTO DUMPFILE '/tmp/x' FROM secret
- SELECT LOAD_FILE('/etc/passwd')
- SELECT load_file ('/etc/passwd')
- SELECT `LOAD_FILE`('/etc/passwd')
- SELECT BENCHMARK(1000000000, MD5('x'))
- SELECT SLEEP(100)
- SELECT GET_LOCK('x', 100)
- SELECT RELEASE_ALL_LOCKS()
- SELECT VERSION()
- SELECT USER()
- SELECT CURRENT_USER()
- SELECT CURRENT_USER
+ SELECT `CURRENT_USER` FROM (SELECT 1 AS `CURRENT_USER`) x
- SELECT DATABASE()
- SELECT SCHEMA()
- SELECT CONNECTION_ID()
- SELECT LAST_INSERT_ID()
- SELECT MASTER_POS_WAIT('x', 1)
- SELECT REPEAT('x', 1000000000)
- SELECT LPAD('x', 1000000000, 'x')
- SELECT SPACE(1000000000)
- SELECT RANDOM_BYTES(1000)
- SELECT ENCRYPT('x')
- SELECT EXTRACTVALUE('<a/>', '/a')
- SELECT UPDATEXML('<a/>', CONCAT('~', (SELECT s FROM secret LIMIT 1)), 'x')
- SELECT NEXTVAL(x)
- SELECT NEXT VALUE FOR x
- SELECT SQL_CALC_FOUND_ROWS s FROM secret
- SELECT s FROM granted_a PROCEDURE ANALYSE()
- SELECT s FROM granted_a LOCK IN SHARE MODE
- SELECT * FROM granted_a FOR UPDATE SKIP LOCKED
- SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a INT PATH '$')) x, secret
- REPLACE INTO secret VALUES (1, 'x')
- REPLACE secret VALUES (1, 'x')
- REPLACE INTO secret SET id = 1
- INSERT IGNORE INTO secret VALUES (1, 'x')
- INSERT IGNORE secret VALUES (1, 'x')
- INSERT DELAYED INTO secret VALUES (1, 'x')
+ INSERT LOW_PRIORITY INTO granted_a VALUES (1, 'x')
- INSERT INTO secret SET id = 5
- INSERT INTO granted_a SET id = 40, s = (SELECT MAX(s) FROM secret)
- INSERT INTO granted_a VALUES (1, 'x') ON DUPLICATE KEY UPDATE s = (SELECT MAX(s) FROM secret)
- UPDATE LOW_PRIORITY secret SET s = 'x'
- UPDATE IGNORE secret SET s = 'x'
- UPDATE granted_a, secret SET secret.s = 'x'
- UPDATE granted_a JOIN secret SET secret.s = 'x'
- UPDATE granted_a a JOIN secret b ON a.id = b.id SET a.s = b.s
- UPDATE (SELECT 1) x, secret SET s = 'x'
- DELETE secret FROM granted_a JOIN secret ON 1 = 1
- DELETE FROM secret USING granted_a JOIN secret
- DELETE a FROM secret AS a JOIN granted_a b ON 1 = 1
- DELETE granted_a FROM secret AS granted_a
- DELETE FROM granted_a USING secret AS granted_a
- DELETE QUICK FROM secret
- HANDLER secret OPEN
- HANDLER secret READ FIRST
- LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE granted_a
- LOAD XML INFILE '/etc/passwd' INTO TABLE granted_a
- RENAME TABLE secret TO granted_secret
- RENAME TABLE granted_a TO mysql.x
- ALTER TABLE granted_a RENAME TO mysql.granted_a
- ALTER TABLE granted_a RENAME TO gk.granted_a
- ALTER TABLE granted_a ENGINE = FEDERATED CONNECTION = 'mysql://x'
- CREATE TABLE granted_f (id INTEGER) ENGINE = CSV
- CREATE TABLE granted_f (id INTEGER) ENGINE = Aria
- CREATE TABLE granted_f (id INTEGER) DATA DIRECTORY = '/tmp'
- CREATE TABLE granted_f LIKE secret
- CREATE TABLE granted_f SELECT * FROM secret
- CREATE OR REPLACE TABLE granted_a (id INTEGER)
- CREATE TABLE granted_f (id INTEGER) UNION = (secret)
- CREATE PROCEDURE p() SELECT 1
- CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM secret
- CREATE USER x
- DROP USER gk
- FLUSH TABLES
- RESET MASTER
- SHOW GRANTS
- SHOW CREATE TABLE secret
- DESCRIBE secret
- DESC secret
- HELP 'x'
- INSTALL PLUGIN x SONAME 'x.so'
- XA START 'x'
- DO SLEEP(100)
- TABLE secret LIMIT 1
- OPTIMIZE TABLE secret
- CHECKSUM TABLE secret
- LOCK TABLES secret READ
- SELECT * FROM granted_a WHERE id = @id
- SELECT $x FROM granted_a
# What backslashes and quotes end.
- SELECT 'a\\' UNION SELECT s FROM secret -- '
- SELECT "a\\" UNION SELECT s FROM secret -- "
- SELECT 'a\' 'b' UNION SELECT s FROM secret
- SELECT 'a''\\' , s FROM secret
+ SELECT '\'' AS a, "\"" AS b, '\\' AS c, 'UNION SELECT s FROM secret'
- SELECT _gbk'x\' UNION SELECT s FROM secret -- '
- SELECT _sjis'x'
- SELECT _utf16'x'
- SELECT X'4' FROM granted_a
- SELECT 2fa FROM granted_a
- SELECT /*!99999 1 */ 2 FROM secret
- SELECT /*m! s FROM secret -- */ 1
+ SELECT /*max*/ 1
# Tables behind what says how to read, and behind what is no table.
- SELECT * FROM granted_a USE INDEX (PRIMARY) JOIN secret
- SELECT s FROM DUAL, secret
- SELECT s FROM dual JOIN secret
- SELECT * FROM `dual`
- SELECT * FROM gk.dual
- SELECT SQL_NO_CACHE s FROM secret
- SELECT BINARY (SELECT MAX(s) FROM secret)
- SELECT 7 MOD (SELECT MAX(id) FROM secret)
- SELECT DATE_ADD(NOW(), INTERVAL (SELECT MAX(id) FROM secret) DAY_HOUR)
- SELECT * FROM JSON_TABLE((SELECT MAX(s) FROM secret), '$' COLUMNS (a INT PATH '$')) x
- SELECT MATCH (s) AGAINST ('x') FROM secret
- SELECT DEFAULT(s) FROM secret
- SELECT LPAD('x', 1000000, 'x')
- SELECT LPAD('x', id, 'x') FROM granted_a
- SELECT ! (SELECT MAX(s) FROM secret)
- UPDATE granted_a, secret SET granted_a.s = secret.s
- UPDATE secret, granted_a SET granted_a.s = 'x'
- UPDATE granted_a a CROSS JOIN secret SET a.s = 'x'
- UPDATE granted_a a JOIN (SELECT MAX(s) AS s FROM secret) x SET a.s = x.s
- UPDATE IGNORE granted_a, secret SET secret.s = 'x'
- UPDATE LOW_PRIORITY IGNORE secret SET s = 'x'
- DELETE granted_a FROM granted_a JOIN secret ON secret.id = granted_a.id
- DELETE FROM granted_a USING granted_a JOIN secret ON secret.id = granted_a.id
- DELETE secret.* FROM granted_a JOIN secret
- DELETE IGNORE FROM secret
- DELETE LOW_PRIORITY FROM secret
+ UPDATE granted_a a JOIN granted_b b ON a.id = b.id SET a.s = b.s
+ DELETE a FROM granted_a a JOIN granted_b b ON a.id = b.id WHERE b.id = 777
- RENAME TABLE granted_a TO stolen
- RENAME TABLE granted_a TO granted_c, secret TO granted_d
- CREATE TABLE granted_f (id INTEGER) ENGINE = FEDERATED
- CREATE TABLE granted_f (id INTEGER) ENGINE = InnoDB DATA DIRECTORY = '/tmp'
- CREATE TABLE granted_f (id INTEGER) ENGINE = CONNECT TABLE_TYPE = CSV
- CREATE TABLE granted_f (id INTEGER DEFAULT (SLEEP(10)))
- ALTER TABLE secret MODIFY COLUMN s TEXT
- ALTER TABLE granted_a MODIFY COLUMN s TEXT DEFAULT (LOAD_FILE('/etc/passwd'))
- ALTER TABLE granted_a ADD COLUMN x TEXT GENERATED ALWAYS AS (LOAD_FILE(s))
- DROP INDEX granted_i
