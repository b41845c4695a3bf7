package plugintest_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/plugintest"
)

// fakeDB is a database driver that answers by the statement's text and keeps what it is asked.
type fakeDB struct {
	mu   sync.Mutex
	seen []string
}

func (d *fakeDB) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, fmt.Sprintf(format, args...))
}

// Open is of the interface driver.Driver.
func (d *fakeDB) Open(string) (driver.Conn, error) { return &fakeConn{d}, nil }

type fakeConn struct{ db *fakeDB }

func (c *fakeConn) Prepare(query string) (driver.Stmt, error) {
	return &fakeStatement{c.db, query}, nil
}
func (c *fakeConn) Close() error              { return nil }
func (c *fakeConn) Begin() (driver.Tx, error) { c.db.note("begin"); return c, nil }
func (c *fakeConn) Commit() error             { c.db.note("commit"); return nil }
func (c *fakeConn) Rollback() error           { c.db.note("rollback"); return nil }

type fakeStatement struct {
	db    *fakeDB
	query string
}

func (s *fakeStatement) Close() error  { return nil }
func (s *fakeStatement) NumInput() int { return -1 }
func (s *fakeStatement) Exec(args []driver.Value) (driver.Result, error) {
	s.db.note("exec %s %v", s.query, args)
	if s.query == "DELETE" {
		return nil, errors.New("FOREIGN KEY constraint failed")
	}
	return fakeResult{}, nil
}
func (s *fakeStatement) Query(args []driver.Value) (driver.Rows, error) {
	s.db.note("query %s %v", s.query, args)
	return &fakeRows{}, nil
}

type fakeResult struct{}

func (fakeResult) LastInsertId() (int64, error) { return 42, nil }
func (fakeResult) RowsAffected() (int64, error) { return 2, nil }

type fakeRows struct{ done bool }

var columns = []struct {
	name, kind string
	value      driver.Value
}{
	{"z", "BIGINT", int64(9007199254740993)},
	{"a", "TEXT", []byte("text")},
	{"b", "BLOB", []byte("text")},
	{"c", "", []byte{255}},
	{"d", "DATE", time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
	{"t", "TIMESTAMP", time.Date(2026, 1, 31, 13, 30, 0, 5e8, time.UTC)},
	{"n", "DOUBLE", math.NaN()},
	{"f", "DOUBLE", 1.5},
	{"y", "BOOL", true},
	{"null", "TEXT", nil},
}

func (r *fakeRows) Columns() []string {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = column.name
	}
	return names
}
func (r *fakeRows) ColumnTypeDatabaseTypeName(index int) string { return columns[index].kind }
func (r *fakeRows) Close() error                                { return nil }
func (r *fakeRows) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	for i, column := range columns {
		dest[i] = column.value
	}
	return nil
}

var register sync.Once

// fake is the driver under the name "plugintest-fake"; a name can be registered once.
var fake = &fakeDB{}

func TestADatabaseOfTheTests(t *testing.T) {
	register.Do(func() { sql.Register("plugintest-fake", fake) })
	fake.mu.Lock()
	fake.seen = nil
	fake.mu.Unlock()
	db, err := sql.Open("plugintest-fake", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := plugintest.NewHost(t)
	h.UseDB(db)
	h.OnExec("canned", plugin.DBResult{Affected: 9})
	api := h.API()

	raw, err := api.Request(background, "db_query", map[string]any{"query": "SELECT x", "args": []any{"a", 1}})
	const row = `[{"z":9007199254740993,"a":"text","b":"dGV4dA==","c":"/w==","d":"2026-01-31","t":"2026-01-31T13:30:00.5Z","n":"NaN","f":1.5,"y":true,"null":null}]`
	equal(t, "rows", fmt.Sprint(string(raw), err), row+"<nil>")

	created, err := api.DBWrite(background, "CREATE TABLE t (id INTEGER)")
	if err != nil || created.Affected != 0 || created.LastInsertID != nil {
		t.Errorf("a table: %+v, %v", created, err)
	}
	inserted, err := api.DBWrite(background, "INSERT INTO t")
	if err != nil || inserted.Affected != 2 || *inserted.LastInsertID != 42 || inserted.Rows != nil {
		t.Errorf("a row: %+v, %v", inserted, err)
	}
	updated, err := api.DBWrite(background, "UPDATE t SET x = ? RETURNING id", 1)
	if err != nil || updated.Affected != 1 || updated.LastInsertID != nil || string(updated.Rows) != row {
		t.Errorf("with RETURNING: %+v, %v", updated, err)
	}
	affected, err := api.DBExec(background, "canned")
	equal(t, "an answer of its own comes first", fmt.Sprint(affected, err), "9 <nil>")

	results, err := api.DBBatch(background, plugin.DBStatement{Query: "UPDATE t"}, plugin.DBStatement{Query: "SELECT y"}, plugin.DBStatement{Query: "canned"})
	if err != nil || len(results) != 3 || results[0].Affected != 2 || results[1].Rows == nil || results[2].Affected != 9 {
		t.Errorf("batch: %+v, %v", results, err)
	}
	_, err = api.DBBatch(background, plugin.DBStatement{Query: "UPDATE u"}, plugin.DBStatement{Query: "DELETE"})
	refusal(t, err, "db_batch", "statement 2: FOREIGN KEY constraint failed")
	fake.mu.Lock()
	defer fake.mu.Unlock()
	equal(t, "statements", fake.seen, []string{
		"query SELECT x [a 1]", "exec CREATE TABLE t (id INTEGER) []", "exec INSERT INTO t []",
		"query UPDATE t SET x = ? RETURNING id [1]",
		"begin", "exec UPDATE t []", "query SELECT y []", "commit",
		"begin", "exec UPDATE u []", "exec DELETE []", "rollback",
	})
}
