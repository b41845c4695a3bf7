package plugintest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// Statement is a statement that the plugin asked for.
type Statement struct {
	// Method is db_query, db_exec or db_batch.
	Method string
	// Query is the text as the plugin wrote it.
	Query string
	// Args are the arguments as a host reads them: nil, bool, string, int64, float64, and []byte of {"base64": "…"}. A
	// []byte that was given to the host API is a string of base64 here, as with a real host.
	Args []any
}

// Rows writes rows as JSON, for a [plugin.DBResult]: a slice of structs or maps. It panics if they cannot be written.
func Rows(rows any) json.RawMessage {
	encoded, err := marshal(rows)
	if err != nil {
		panic("plugintest.Rows: " + err.Error())
	}
	return encoded
}

// OnQuery answers DBQuery and DBQueryInto of a statement with rows: a slice of structs or maps, or JSON of such; nil for
// none. The text counts but for its white space; a later answer for the same text replaces an earlier one.
//
// Rows that are no list of objects end the test.
func (h *Host) OnQuery(query string, rows any) {
	h.t.Helper()
	encoded, err := marshal(rows)
	if err != nil {
		h.t.Fatalf("plugintest: OnQuery(%q): %v", query, err)
	}
	if err := checkRows(encoded); err != nil {
		h.t.Fatalf("plugintest: OnQuery(%q): %v", query, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queries[collapse(query)] = orEmpty(encoded)
}

// OnExec answers DBExec, DBWrite and DBBatch of a statement. The text counts as that of [Host.OnQuery] does.
func (h *Host) OnExec(query string, result plugin.DBResult) {
	h.t.Helper()
	if err := checkRows(result.Rows); err != nil {
		h.t.Fatalf("plugintest: OnExec(%q): %v", query, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.execs[collapse(query)] = result
}

// OnStatement answers statements of any method that have no answer of their own. A nil result without an error passes a
// statement on, to the function that was set up next, and at last to the database of [Host.UseDB]. Of a query only the
// rows count. The text of an error is what the plugin gets as [plugin.HostError].
//
// The function may be called concurrently.
func (h *Host) OnStatement(answer func(Statement) (*plugin.DBResult, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statements = append(h.statements, answer)
}

// UseDB runs statements that have no other answer in a database of the test's, whose driver the test imports. A batch is
// one transaction. The statements go to the driver as they are: ? must be a placeholder of its own, no permission is
// checked and `@name:` is not understood.
func (h *Host) UseDB(db *sql.DB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.db = db
}

// collapse makes runs of white space one blank.
func collapse(query string) string { return strings.Join(strings.Fields(query), " ") }

func checkRows(rows json.RawMessage) error {
	if len(rows) == 0 {
		return nil
	}
	var objects []map[string]json.RawMessage
	if err := json.Unmarshal(rows, &objects); err != nil {
		return fmt.Errorf("the rows are no list of objects: %w", err)
	}
	return nil
}

func orEmpty(rows json.RawMessage) json.RawMessage {
	if len(rows) == 0 || string(rows) == "null" {
		return json.RawMessage("[]")
	}
	return rows
}

// statementArgs is a statement on the wire.
type statementArgs struct {
	Query string `json:"query"`
	Args  []any  `json:"args"`
}

func (h *Host) dbQuery(_ running, args json.RawMessage) (any, error) {
	statement, err := readStatement("db_query", args)
	if err != nil {
		return nil, err
	}
	result, err := h.run(statement, nil)
	if err != nil {
		return nil, err
	}
	return orEmpty(result.Rows), nil
}

func (h *Host) dbExec(_ running, args json.RawMessage) (any, error) {
	statement, err := readStatement("db_exec", args)
	if err != nil {
		return nil, err
	}
	result, err := h.run(statement, nil)
	if err != nil {
		return nil, err
	}
	return written(*result), nil
}

func (h *Host) dbBatch(_ running, args json.RawMessage) (_ any, err error) {
	wanted, err := read[struct {
		Statements []statementArgs `json:"statements"`
	}](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	db := h.db
	h.mu.Unlock()
	var tx *sql.Tx
	if db != nil {
		if tx, err = db.BeginTx(context.Background(), nil); err != nil {
			return nil, err
		}
		// After the commit it does nothing.
		defer func() { _ = tx.Rollback() }()
	}
	results := []map[string]any{}
	for number, one := range wanted.Statements {
		statement, err := one.statement("db_batch")
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", number+1, err)
		}
		result, err := h.run(statement, tx)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", number+1, err)
		}
		results = append(results, written(*result))
	}
	if tx != nil {
		if err := tx.Commit(); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// written is a result as the host writes it: without what there is not.
func written(result plugin.DBResult) map[string]any {
	object := map[string]any{"affected": result.Affected}
	if result.LastInsertID != nil {
		object["last_insert_id"] = *result.LastInsertID
	}
	if result.Rows != nil {
		object["rows"] = result.Rows
	}
	return object
}

func readStatement(method string, args json.RawMessage) (Statement, error) {
	wanted, err := read[statementArgs](args)
	if err != nil {
		return Statement{}, err
	}
	return wanted.statement(method)
}

func (s statementArgs) statement(method string) (Statement, error) {
	statement := Statement{Method: method, Query: s.Query}
	for number, arg := range s.Args {
		value, err := argument(arg)
		if err != nil {
			return statement, fmt.Errorf("argument %d: %w", number+1, err)
		}
		statement.Args = append(statement.Args, value)
	}
	return statement, nil
}

func argument(arg any) (any, error) {
	switch arg := arg.(type) {
	case json.Number:
		if whole, err := arg.Int64(); err == nil {
			return whole, nil
		}
		return arg.Float64()
	case map[string]any:
		text, ok := arg["base64"].(string)
		if !ok || len(arg) != 1 {
			return nil, errors.New(`an object is {"base64": "…"}`)
		}
		return base64.StdEncoding.DecodeString(text)
	case []any:
		return nil, errors.New("a list is no argument of a statement")
	}
	return arg, nil
}

// run finds the answer to a statement.
func (h *Host) run(statement Statement, tx *sql.Tx) (*plugin.DBResult, error) {
	h.mu.Lock()
	text := collapse(statement.Query)
	rows, isQuery := h.queries[text]
	result, isExec := h.execs[text]
	functions := h.statements[:len(h.statements):len(h.statements)]
	db := h.db
	h.mu.Unlock()
	switch {
	case isExec && statement.Method != "db_query":
		return &result, nil
	case isQuery && statement.Method != "db_exec":
		return &plugin.DBResult{Rows: rows}, nil
	}
	for _, answer := range functions {
		if result, err := answer(statement); result != nil || err != nil {
			return result, err
		}
	}
	switch {
	case tx != nil:
		return runIn(tx, statement)
	case db != nil:
		return runIn(db, statement)
	}
	one, other := "OnQuery", "OnExec"
	if statement.Method != "db_query" {
		one, other = other, one
	}
	hint := ""
	if isQuery || isExec {
		hint = " (there is one of Host." + other + ", which is for another method)"
	}
	return nil, fmt.Errorf("plugintest: no answer to %s %q%s; set one up with Host.%s, Host.OnStatement or Host.UseDB",
		statement.Method, text, hint, one)
}

// database is a *sql.DB or a *sql.Tx.
type database interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// runIn runs a statement in a database.
func runIn(db database, statement Statement) (*plugin.DBResult, error) {
	ctx := context.Background()
	words := strings.FieldsFunc(strings.ToUpper(statement.Query), func(r rune) bool { return (r < 'A' || r > 'Z') && r != '_' })
	first, returning := "", false
	for number, word := range words {
		if number == 0 {
			first = word
		}
		returning = returning || word == "RETURNING"
	}
	reads := first == "SELECT" || first == "VALUES" || (first == "WITH" && statement.Method != "db_exec")
	if statement.Method == "db_query" || returning || reads {
		rows, err := db.QueryContext(ctx, statement.Query, statement.Args...)
		if err != nil {
			return nil, err
		}
		encoded, count, err := encodeRows(rows)
		if err != nil {
			return nil, err
		}
		result := &plugin.DBResult{Rows: encoded}
		if returning {
			result.Affected = count
		}
		return result, nil
	}
	outcome, err := db.ExecContext(ctx, statement.Query, statement.Args...)
	if err != nil {
		return nil, err
	}
	result := &plugin.DBResult{}
	switch first {
	case "CREATE", "ALTER", "DROP", "TRUNCATE":
		return result, nil
	}
	if affected, err := outcome.RowsAffected(); err == nil {
		result.Affected = affected
	}
	if id, err := outcome.LastInsertId(); err == nil && id != 0 && result.Affected > 0 && (first == "INSERT" || first == "REPLACE") {
		result.LastInsertID = &id
	}
	return result, nil
}

// encodeRows writes rows as the host does: objects, their columns in the statement's order.
func encodeRows(rows *sql.Rows) (_ json.RawMessage, count int64, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, 0, err
	}
	var out bytes.Buffer
	out.WriteByte('[')
	for rows.Next() {
		values, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return nil, 0, err
		}
		if count > 0 {
			out.WriteByte(',')
		}
		count++
		out.WriteByte('{')
		for i, column := range columns {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeMember(&out, column.Name(), columnValue(values[i], column.DatabaseTypeName())); err != nil {
				return nil, 0, err
			}
		}
		out.WriteByte('}')
	}
	out.WriteByte(']')
	return out.Bytes(), count, rows.Err()
}

func writeMember(to *bytes.Buffer, name string, value any) error {
	key, err := json.Marshal(name)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("column %q: %w", name, err)
	}
	to.Write(key)
	to.WriteByte(':')
	to.Write(encoded)
	return nil
}

// columnValue is a value of a driver as docs/hostapi.md says that it comes.
func columnValue(value any, columnType string) any {
	columnType = strings.ToUpper(columnType)
	switch value := value.(type) {
	case []byte:
		binary := strings.Contains(columnType, "BLOB") || strings.Contains(columnType, "BINARY") || columnType == "BYTEA"
		if binary || !utf8.Valid(value) {
			return value
		}
		return string(value)
	case time.Time:
		if columnType == "DATE" {
			return value.Format(time.DateOnly)
		}
		return value.Format(time.RFC3339Nano)
	case float64:
		switch {
		case math.IsNaN(value):
			return "NaN"
		case math.IsInf(value, 1):
			return "Infinity"
		case math.IsInf(value, -1):
			return "-Infinity"
		}
	}
	return value
}
