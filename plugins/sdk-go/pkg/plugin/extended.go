package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"
)

// ExtendedHostAPI is what this project's host offers beyond [HostAPI]. It is an interface of its own so that programs
// which implement HostAPI themselves, as mocks in tests do, go on compiling.
//
// The host that InitWithHost receives has it, whatever host is at the other end; a host that does not know a method
// answers with an error. Ask for it with [Extended].
type ExtendedHostAPI interface {
	HostAPI

	// DBQueryInto runs a reading statement and decodes the rows into dest, a pointer to a slice of structs or maps,
	// by the rules of encoding/json: a column goes into the field of its name or json tag. Whole numbers are exact
	// in integer fields, and json.Number where the type is any.
	DBQueryInto(ctx context.Context, dest any, query string, args ...any) error

	// DBWrite runs a writing statement and returns all that came of it: how many rows it wrote, a new row's number,
	// and the rows of its RETURNING.
	DBWrite(ctx context.Context, query string, args ...any) (*DBResult, error)
	// DBBatch runs statements of any kind in one transaction, all of them or none, and returns what came of each.
	DBBatch(ctx context.Context, statements ...DBStatement) ([]DBResult, error)

	// HTTPDo makes a request like HTTPRequest and returns the response with its headers.
	HTTPDo(ctx context.Context, request HTTPRequest) (*HTTPResponse, error)

	// KVGet reads a value of this plugin's durable store and says whether there is one.
	KVGet(ctx context.Context, key string) ([]byte, bool, error)
	// KVSet stores a value. Once it returns, the value survives the end of the host.
	KVSet(ctx context.Context, key string, value []byte) error
	// KVGetVersion reads a value and its version, which is another one after each write; 0 if there is no value.
	KVGetVersion(ctx context.Context, key string) (value []byte, version uint64, err error)
	// KVSetIf stores a value if the key still has this version (0: if there is no such key) and says whether it was so;
	// otherwise nothing has changed. The plugin may run on several hosts: who reads a value and writes a new one loses
	// nothing in this way. A host without versions of values stores the value in any case.
	KVSetIf(ctx context.Context, key string, value []byte, version uint64) (bool, error)
	// KVDelete deletes a key; that there was none is no error.
	KVDelete(ctx context.Context, key string) error
	// KVList returns the keys that start with prefix and come after after ("" for all), in the order of their bytes,
	// at most limit (0 for the host's default). next is what to give as after for the next page, "" if there is none.
	KVList(ctx context.Context, prefix, after string, limit int) (keys []string, next string, err error)

	// TimeNow is the host's clock.
	TimeNow(ctx context.Context) (time.Time, error)
}

// Extended returns what a host offers beyond HostAPI, if it does.
func Extended(host HostAPI) (ExtendedHostAPI, bool) {
	extended, ok := host.(ExtendedHostAPI)
	return extended, ok
}

// DBStatement is a statement of a transaction.
type DBStatement struct {
	// Query has ? for each of the arguments.
	Query string
	// Args are the arguments.
	Args []any
}

// DBResult is what came of a statement that may write.
type DBResult struct {
	// Affected is how many rows it wrote; 0 for one that reads, or that changes tables.
	Affected int64 `json:"affected"`
	// LastInsertID is the number that the database gave to a new row: SQLite to the last one, MySQL to the first one
	// of the statement. It is nil where there is no such row, and always on PostgreSQL: RETURNING tells there.
	LastInsertID *int64 `json:"last_insert_id"`
	// Rows is what it returned, a JSON array of objects; nil of a statement without rows.
	Rows json.RawMessage `json:"rows"`
}

// Into decodes the rows into dest as DBQueryInto does. Without rows it leaves dest alone.
func (r *DBResult) Into(dest any) error {
	if r.Rows == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Rows))
	decoder.UseNumber()
	return decoder.Decode(dest)
}

// HTTPRequest is a request that the host makes for the plugin.
type HTTPRequest struct {
	// Method is GET when it is empty.
	Method string
	// URL is http or https.
	URL string
	// Headers of the connection (Host, Content-Length, …) are the host's to set.
	Headers map[string]string
	// Body is nil for none.
	Body []byte
}

// HTTPResponse is what came back.
type HTTPResponse struct {
	// Status is the status, also 400 and above.
	Status int `json:"status"`
	// Headers by lower-case name.
	Headers map[string][]string `json:"headers"`
	// Body is the whole body.
	Body []byte `json:"body"`
}

// Header returns the first value of a header, whatever the case of its name, or "".
func (r *HTTPResponse) Header(name string) string {
	values := r.Headers[strings.ToLower(name)]
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// HostError is an error of the host: it refused, or its service failed. errors.As finds it.
type HostError struct {
	// Method is the wire name of the request, as db_query.
	Method string
	// Text is what the host says.
	Text string
}

// Error is the host's text behind "host: ".
func (e *HostError) Error() string { return "host: " + e.Text }
