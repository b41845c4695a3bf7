package grpcutil

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
)

var _ plugin.ExtendedHostAPI = (*HostAPIClient)(nil)

// DBQueryInto implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) DBQueryInto(ctx context.Context, dest any, query string, args ...any) error {
	return c.exact(ctx, "db_query", object{"query": query, "args": list(args)}, dest)
}

// DBWrite implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) DBWrite(ctx context.Context, query string, args ...any) (*plugin.DBResult, error) {
	result := &plugin.DBResult{}
	if err := c.decode(ctx, "db_exec", object{"query": query, "args": list(args)}, result); err != nil {
		return nil, err
	}
	return result, nil
}

// DBBatch implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) DBBatch(ctx context.Context, statements ...plugin.DBStatement) ([]plugin.DBResult, error) {
	batch := make([]object, len(statements))
	for i, statement := range statements {
		batch[i] = object{"query": statement.Query, "args": list(statement.Args)}
	}
	var results []plugin.DBResult
	err := c.decode(ctx, "db_batch", object{"statements": batch}, &results)
	return results, err
}

// HTTPDo implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) HTTPDo(ctx context.Context, request plugin.HTTPRequest) (*plugin.HTTPResponse, error) {
	response := &plugin.HTTPResponse{}
	args := object{"method": request.Method, "url": request.URL, "headers": request.Headers, "body": request.Body}
	if err := c.decode(ctx, "http_request", args, response); err != nil {
		return nil, err
	}
	return response, nil
}

// KVGet implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) KVGet(ctx context.Context, key string) ([]byte, bool, error) {
	var result struct {
		Value []byte `json:"value"`
		Found bool   `json:"found"`
	}
	err := c.decode(ctx, "kv_get", object{"key": key}, &result)
	return result.Value, result.Found, err
}

// KVSet implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) KVSet(ctx context.Context, key string, value []byte) error {
	if value == nil {
		// A nil slice would travel as null, which is no value.
		value = []byte{}
	}
	return c.run(ctx, "kv_set", object{"key": key, "value": value})
}

// KVGetVersion implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) KVGetVersion(ctx context.Context, key string) ([]byte, uint64, error) {
	var result struct {
		Value   []byte `json:"value"`
		Version uint64 `json:"version"`
	}
	err := c.decode(ctx, "kv_get", object{"key": key}, &result)
	return result.Value, result.Version, err
}

// KVSetIf implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) KVSetIf(ctx context.Context, key string, value []byte, version uint64) (bool, error) {
	if value == nil {
		value = []byte{}
	}
	var result struct {
		OK bool `json:"ok"`
	}
	err := c.decode(ctx, "kv_set", object{"key": key, "value": value, "if_version": version}, &result)
	return result.OK, err
}

// KVDelete implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) KVDelete(ctx context.Context, key string) error {
	return c.run(ctx, "kv_delete", object{"key": key})
}

// KVList implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) KVList(ctx context.Context, prefix, after string, limit int) ([]string, string, error) {
	var result struct {
		Keys []string `json:"keys"`
		Next *string  `json:"next"`
	}
	err := c.decode(ctx, "kv_list", object{"prefix": prefix, "after": after, "limit": limit}, &result)
	if err != nil || result.Next == nil {
		return result.Keys, "", err
	}
	return result.Keys, *result.Next, nil
}

// TimeNow implements [plugin.ExtendedHostAPI].
func (c *HostAPIClient) TimeNow(ctx context.Context) (time.Time, error) {
	var result struct {
		Now time.Time `json:"now"`
	}
	err := c.decode(ctx, "time_now", object{}, &result)
	return result.Now, err
}

// exact decodes JSON without losing digits: numbers become json.Number where the type is any.
func (c *HostAPIClient) exact(ctx context.Context, method string, args, result any) error {
	raw, err := c.Request(ctx, method, args)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(result); err != nil {
		return fmt.Errorf("host: %s: unexpected result: %w", method, err)
	}
	return nil
}
