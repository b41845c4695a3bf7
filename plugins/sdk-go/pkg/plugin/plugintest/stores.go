package plugintest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// cached is an entry of the cache.
type cached struct {
	value []byte
	ends  time.Time
}

// file is a file of the plugin.
type file struct {
	data     []byte
	metadata map[string]string
	modified time.Time
}

// keyValue is the arguments of the methods that have a key.
type keyValue struct {
	Key       string  `json:"key"`
	Value     []byte  `json:"value"`
	TTL       int64   `json:"ttl"`
	IfVersion *uint64 `json:"if_version"`
}

type keyText struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// found is the result of cache_get and kv_get.
type found struct {
	Value []byte `json:"value"`
	Found bool   `json:"found"`
}

// foundValue is a value that is there, though it may be empty.
func foundValue(value []byte) found {
	if value == nil {
		value = []byte{}
	}
	return found{Value: value, Found: true}
}

// readKey reads arguments with a key, of which there is no empty one.
func readKey(args json.RawMessage) (keyValue, error) {
	wanted, err := read[keyValue](args)
	if err == nil && wanted.Key == "" {
		err = errors.New("the key is empty")
	}
	return wanted, err
}

// Cached returns the value of a key of the cache and whether there is one at this time of the clock.
func (h *Host) Cached(key string) ([]byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	entry, ok := h.cache[key]
	if !ok || !h.now.Before(entry.ends) {
		return nil, false
	}
	return bytes.Clone(entry.value), true
}

// SetCached puts a value into the cache, for an hour.
func (h *Host) SetCached(key string, value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cache[key] = cached{value: bytes.Clone(value), ends: h.now.Add(ttl(0))}
}

// KV returns the value of a key of the durable store and whether there is one.
func (h *Host) KV(key string) ([]byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stored, ok := h.kv[key]
	return bytes.Clone(stored.value), ok
}

// SetKV puts a value into the durable store.
func (h *Host) SetKV(key string, value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setKV(key, bytes.Clone(value))
}

// versioned is a value of the durable store and its version.
type versioned struct {
	value   []byte
	version uint64
}

// setKV sets a key and returns the version of its value.
func (h *Host) setKV(key string, value []byte) uint64 {
	h.kvVersion++
	h.kv[key] = versioned{value: value, version: h.kvVersion}
	return h.kvVersion
}

// Secret returns what the plugin stored with SecureConfigSet, or [Host.SetSecret] set, and whether there is one.
func (h *Host) Secret(key string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	secret, ok := h.secrets[key]
	return secret, ok
}

// SetSecret sets what SecureConfigGet answers for a key.
func (h *Host) SetSecret(key, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.secrets[key] = value
}

// File returns a file of the plugin, its metadata, and whether there is one.
func (h *Host) File(key string) ([]byte, map[string]string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stored, ok := h.files[key]
	return bytes.Clone(stored.data), maps.Clone(stored.metadata), ok
}

// SetFile stores a file of the plugin. A key that a host would refuse ends the test.
func (h *Host) SetFile(key string, data []byte, metadata map[string]string) {
	h.t.Helper()
	if err := checkFileKey(key); err != nil {
		h.t.Fatalf("plugintest: SetFile: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[key] = file{data: bytes.Clone(data), metadata: maps.Clone(metadata), modified: h.now}
}

func (h *Host) cacheGet(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	if value, ok := h.Cached(wanted.Key); ok {
		return foundValue(value), nil
	}
	return found{}, nil
}

func (h *Host) cacheSet(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cache[wanted.Key] = cached{value: wanted.Value, ends: h.now.Add(ttl(wanted.TTL))}
	return done, nil
}

func (h *Host) cacheDelete(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.cache, wanted.Key)
	return done, nil
}

func (h *Host) kvGet(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	stored, ok := h.kv[wanted.Key]
	if !ok {
		return found{}, nil
	}
	answer := foundValue(stored.value)
	return map[string]any{"value": answer.Value, "found": true, "version": stored.version}, nil
}

func (h *Host) kvSet(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	version := h.kv[wanted.Key].version
	if wanted.IfVersion != nil && *wanted.IfVersion != version {
		return map[string]any{"ok": false, "version": version}, nil
	}
	return map[string]any{"ok": true, "version": h.setKV(wanted.Key, wanted.Value)}, nil
}

func (h *Host) kvDelete(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kv, wanted.Key)
	return done, nil
}

// listing is the arguments of kv_list and list_files.
type listing struct {
	Prefix string  `json:"prefix"`
	After  *string `json:"after"`
	Limit  int     `json:"limit"`
}

// page returns the keys that are asked for, in the order of their bytes, and whether there are more. A limit of 0 is
// usual.
func page[V any](of map[string]V, wanted listing, usual int) (keys []string, more bool) {
	const most = 1000
	limit := min(wanted.Limit, most)
	if limit <= 0 {
		limit = usual
	}
	keys = []string{}
	for key := range of {
		if strings.HasPrefix(key, wanted.Prefix) && (wanted.After == nil || key > *wanted.After) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > limit {
		return keys[:limit], true
	}
	return keys, false
}

func (h *Host) kvList(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[listing](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	keys, more := page(h.kv, wanted, 100)
	var next *string
	if more {
		next = &keys[len(keys)-1]
	}
	return map[string]any{"keys": keys, "next": next}, nil
}

func (h *Host) secureConfigGet(_ running, args json.RawMessage) (any, error) {
	wanted, err := readKey(args)
	if err != nil {
		return nil, err
	}
	secret, ok := h.Secret(wanted.Key)
	if !ok {
		return nil, fmt.Errorf("secure config key %q not found", wanted.Key)
	}
	return value(secret), nil
}

func (h *Host) secureConfigSet(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[keyText](args)
	if err != nil {
		return nil, err
	}
	if wanted.Key == "" {
		return nil, errors.New("the key is empty")
	}
	h.SetSecret(wanted.Key, wanted.Value)
	return statusOK, nil
}

func (h *Host) configGet(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[keyText](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	text, ok := h.settings[wanted.Key]
	if !ok {
		return nil, fmt.Errorf("unknown config key: %s", wanted.Key)
	}
	return value(text), nil
}

// checkFileKey refuses what is no key of a file: a relative path without dots in front of its parts.
func checkFileKey(key string) error {
	invalid := func(why string) error { return fmt.Errorf("invalid file key: %q: %s", key, why) }
	if key == "" || len(key) > 512 {
		return invalid("it must have 1 to 512 bytes")
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) || r == '\\' }) {
		return invalid("it holds a control character or a backslash")
	}
	for part := range strings.SplitSeq(key, "/") {
		switch {
		case part == "":
			return invalid("it begins or ends with a slash, or has two in a row")
		case strings.HasPrefix(part, "."):
			return invalid("a part begins with a dot")
		}
	}
	return nil
}

func (h *Host) storeFile(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[struct {
		Key      string            `json:"key"`
		Data     []byte            `json:"data"`
		Metadata map[string]string `json:"metadata"`
	}](args)
	if err != nil {
		return nil, err
	}
	if err := checkFileKey(wanted.Key); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[wanted.Key] = file{data: wanted.Data, metadata: wanted.Metadata, modified: h.now}
	return statusOK, nil
}

func (h *Host) getFile(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[keyText](args)
	if err != nil {
		return nil, err
	}
	if err := checkFileKey(wanted.Key); err != nil {
		return nil, err
	}
	data, metadata, ok := h.File(wanted.Key)
	if !ok {
		return nil, fmt.Errorf("file %q not found", wanted.Key)
	}
	if data == nil {
		data = []byte{}
	}
	if metadata == nil {
		metadata = map[string]string{}
	}
	return map[string]any{"data": data, "metadata": metadata}, nil
}

func (h *Host) deleteFile(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[keyText](args)
	if err != nil {
		return nil, err
	}
	if err := checkFileKey(wanted.Key); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.files, wanted.Key)
	return statusOK, nil
}

func (h *Host) listFiles(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[listing](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	keys, _ := page(h.files, wanted, 1000)
	files := []plugin.FileInfo{}
	for _, key := range keys {
		stored := h.files[key]
		contentType := stored.metadata["content-type"]
		if contentType == "" {
			contentType = "application/octet-stream"
		}
		files = append(files, plugin.FileInfo{
			Key: key, Size: int64(len(stored.data)), ContentType: contentType,
			Metadata: maps.Clone(stored.metadata), ModifiedAt: stored.modified,
		})
	}
	return files, nil
}

// fieldsKey says whose custom fields are meant.
type fieldsKey struct {
	entity string
	id     int64
}

type fieldsArgs struct {
	EntityType string                     `json:"entity_type"`
	ObjectID   int64                      `json:"object_id"`
	Fields     []string                   `json:"fields"`
	Values     map[string]json.RawMessage `json:"values"`
}

// SetCustomFields sets custom fields of an object; those that it has besides stay. Values that cannot be written as JSON
// end the test.
//
// CustomFieldsGet and CustomFieldsSet work without it. A FieldOp and CustomFieldsQuery are the application's: set them up
// with [Host.OnMethod].
func (h *Host) SetCustomFields(entityType string, objectID int64, values map[string]any) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, value := range values {
		encoded, err := json.Marshal(value)
		if err != nil {
			h.t.Fatalf("plugintest: SetCustomFields: %s: %v", name, err)
		}
		h.setField(fieldsKey{entityType, objectID}, name, encoded)
	}
}

func (h *Host) setField(of fieldsKey, name string, value json.RawMessage) {
	if h.fields[of] == nil {
		h.fields[of] = map[string]json.RawMessage{}
	}
	h.fields[of][name] = value
}

func (h *Host) customFieldsGet(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[fieldsArgs](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	values := map[string]json.RawMessage{}
	for name, value := range h.fields[fieldsKey{wanted.EntityType, wanted.ObjectID}] {
		if wanted.Fields == nil || slices.Contains(wanted.Fields, name) {
			values[name] = value
		}
	}
	return values, nil
}

func (h *Host) customFieldsSet(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[fieldsArgs](args)
	if err != nil {
		return nil, err
	}
	for name, value := range wanted.Values {
		var op plugin.FieldOp
		if json.Unmarshal(value, &op) == nil && op.Op != "" {
			return nil, fmt.Errorf("the stub knows no operation %q of the custom field %q; Host.OnMethod(\"custom_fields_set\", …) provides it", op.Op, name)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, value := range wanted.Values {
		h.setField(fieldsKey{wanted.EntityType, wanted.ObjectID}, name, value)
	}
	return statusOK, nil
}
