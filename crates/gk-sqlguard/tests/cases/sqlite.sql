+ SELECT [s], "s", `s` FROM [granted_a]
+ SELECT * FROM Granted_A
+ SELECT * FROM "GRANTED_A"
+ SELECT s FROM main.granted_a
+ SELECT value FROM json_each('[1, 2]')
+ SELECT json_extract('{"a": 1}', '$.a')
+ SELECT s ->> '$.a' FROM granted_a WHERE 1 = 0
+ SELECT s FROM granted_a WHERE s GLOB 'a*'
+ SELECT rowid, s FROM granted_a
+ SELECT group_concat(s, ',') FROM granted_a
+ SELECT strftime('%Y', 'now'), date('now'), datetime('now')
+ SELECT s FROM granted_a ORDER BY s COLLATE NOCASE
+ INSERT OR IGNORE INTO granted_a VALUES (1, 'x')
+ INSERT OR REPLACE INTO granted_a VALUES (20, 'x')
+ REPLACE INTO granted_a VALUES (20, 'x')
+ INSERT INTO granted_a (id, s) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = excluded.s
+ INSERT INTO granted_a (id, s) VALUES (1, 'x') ON CONFLICT DO NOTHING
+ UPDATE granted_a SET s = granted_b.s FROM granted_b WHERE granted_b.id = granted_a.id
+ CREATE TABLE granted_auto (id INTEGER PRIMARY KEY AUTOINCREMENT, s TEXT)
+ INSERT INTO granted_auto (s) VALUES ('x')
+ DROP TABLE granted_auto
+ CREATE TABLE granted_w (id INTEGER PRIMARY KEY, s TEXT CHECK (length(s) < 10), UNIQUE (s)) WITHOUT ROWID
+ DROP TABLE granted_w
- SELECT * FROM [secret]
- SELECT * FROM `secret`
- SELECT * FROM "secret"
- SELECT * FROM 'secret'
- SELECT * FROM Secret
- SELECT * FROM main.secret
- SELECT * FROM temp.granted_a
- SELECT * FROM "main"."secret"
- SELECT * FROM sqlite_master
- SELECT * FROM sqlite_schema
- SELECT * FROM SQLITE_MASTER
- SELECT * FROM "sqlite_master"
- SELECT * FROM main.sqlite_master
- SELECT sql FROM sqlite_temp_master
- SELECT * FROM pragma_table_info('secret')
- SELECT * FROM pragma_database_list
- SELECT * FROM "pragma_table_list"
- SELECT * FROM dbstat
- SELECT * FROM generate_series(1, 1000000000)
- SELECT randomblob(1000000000)
- SELECT zeroblob(1000000000)
- SELECT load_extension('/tmp/x.so')
- SELECT writefile('/tmp/x', 'x')
- SELECT readfile('/etc/passwd')
- SELECT edit('x')
- SELECT fts3_tokenizer('x')
- SELECT sqlite_version()
- SELECT last_insert_rowid()
- WITH RECURSIVE x AS (SELECT 1) SELECT s FROM x, secret
- WITH a AS (SELECT s FROM b), b AS (SELECT 1 AS s) SELECT * FROM a, secret
- INSERT OR REPLACE INTO secret VALUES (1, 'x')
- INSERT OR ROLLBACK INTO granted_a VALUES (1, 'x')
- UPDATE OR IGNORE secret SET s = 'x'
- UPDATE OR ROLLBACK granted_a SET s = 'x'
- UPDATE granted_a SET s = secret.s FROM secret
- UPDATE granted_a SET s = x.s FROM (SELECT * FROM secret) x
- INSERT INTO granted_a VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = (SELECT MAX(s) FROM secret)
- INSERT INTO granted_a VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = 'x' WHERE EXISTS (SELECT 1 FROM secret)
- CREATE VIRTUAL TABLE granted_f USING fts5(x)
- CREATE TABLE granted_d (id INTEGER DEFAULT (load_extension('x')))
- CREATE TABLE granted_d (id INTEGER CHECK (id < (SELECT MAX(id) FROM secret)))
- CREATE TABLE temp.granted_d (id INTEGER)
- CREATE TABLE granted_d (id INTEGER GENERATED ALWAYS AS (load_extension('x')))
- CREATE INDEX granted_i ON granted_a (load_extension(s))
- CREATE INDEX granted_i ON granted_a (s) WHERE load_extension(s)
- CREATE TRIGGER granted_t AFTER INSERT ON granted_a BEGIN SELECT 1; END
- DROP TRIGGER x
- REINDEX
- DETACH DATABASE main
- PRAGMA writable_schema = 1
- VACUUM INTO '/tmp/x.db'
+ SELECT * FROM granted_a INDEXED BY x
- SELECT * FROM granted_a WHERE id = @id
- SELECT * FROM granted_a WHERE id = $id
- SELECT * FROM granted_a # x
- DELETE FROM granted_a WHERE id IN (SELECT id FROM main.secret)
- SELECT "s""x" FROM secret
- SELECT * FROM granted_a NOT INDEXED, secret
# Operators that have a query behind them.
- SELECT id IS (SELECT MAX(id) FROM secret) FROM granted_a
- SELECT id IS NOT (SELECT MAX(id) FROM secret) FROM granted_a
- SELECT s NOT GLOB (SELECT MAX(s) FROM secret) FROM granted_a
- SELECT 1 << (SELECT MAX(id) FROM secret)
- SELECT s FROM granted_a NOT INDEXED JOIN secret USING (id)
- SELECT * FROM granted_a INDEXED BY x, secret
- SELECT * FROM secret NOT INDEXED
- SELECT * FROM secret INDEXED BY x
- INSERT INTO secret AS granted_a VALUES (5, 'x')
- INSERT INTO granted_a AS a (id, s) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET s = (SELECT MAX(s) FROM secret)
- WITH x AS MATERIALIZED (SELECT * FROM secret) SELECT * FROM x
+ SELECT s FROM granted_a WHERE id IS 1 AND s IS NOT NULL AND s NOT GLOB 'b*' AND id << 1 = 0x2
