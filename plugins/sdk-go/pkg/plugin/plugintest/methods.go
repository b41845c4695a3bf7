package plugintest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// permissions are the methods that need one, and what the host says without it.
var permissions = map[string]string{
	"db_query":     "database read access not granted",
	"db_exec":      "database write access not granted",
	"db_batch":     "database write access not granted",
	"cache_get":    "cache access not granted",
	"cache_set":    "cache write access not granted",
	"cache_delete": "cache delete access not granted",
	"http_request": "HTTP outbound access not granted",
	"send_email":   "email access not granted",
	"config_get":   "config access not granted",
	"plugin_call":  "plugin-to-plugin calls not granted",
	"store_file":   "file write access not granted",
	"get_file":     "file read access not granted",
	"delete_file":  "file write access not granted",
	"list_files":   "file read access not granted",
}

// notProvided are the methods of an application, which a host without one does not have.
var notProvided = []string{
	"change_ticket_status",
	"create_article",
	"create_article_attachment",
	"custom_fields_query",
	"delete_article_attachment",
	"entity_hard_delete",
	"entity_restore",
	"entity_soft_delete",
	"generate_thumbnail",
	"list_article_attachments",
	"list_ticket_states",
	"list_ticket_views",
	"org_id",
	"recycle_bin_list",
	"render_markdown_to_pdf",
}

// builtins are the methods that the stub has.
var builtins map[string]func(*Host, running, json.RawMessage) (any, error)

// The table refers to methods that refer to it.
func init() {
	builtins = map[string]func(*Host, running, json.RawMessage) (any, error){
		"db_query":          (*Host).dbQuery,
		"db_exec":           (*Host).dbExec,
		"db_batch":          (*Host).dbBatch,
		"cache_get":         (*Host).cacheGet,
		"cache_set":         (*Host).cacheSet,
		"cache_delete":      (*Host).cacheDelete,
		"http_request":      (*Host).httpRequest,
		"send_email":        (*Host).sendEmail,
		"log":               (*Host).log,
		"config_get":        (*Host).configGet,
		"translate":         (*Host).translate,
		"plugin_call":       (*Host).pluginCall,
		"publish_event":     (*Host).publishEvent,
		"time_now":          (*Host).timeNow,
		"secure_config_get": (*Host).secureConfigGet,
		"secure_config_set": (*Host).secureConfigSet,
		"store_file":        (*Host).storeFile,
		"get_file":          (*Host).getFile,
		"delete_file":       (*Host).deleteFile,
		"list_files":        (*Host).listFiles,
		"kv_get":            (*Host).kvGet,
		"kv_set":            (*Host).kvSet,
		"kv_delete":         (*Host).kvDelete,
		"kv_list":           (*Host).kvList,
		"custom_fields_get": (*Host).customFieldsGet,
		"custom_fields_set": (*Host).customFieldsSet,
	}
}

func known(method string) bool {
	_, builtin := builtins[method]
	return builtin || slices.Contains(notProvided, method)
}

// done and statusOK are what methods answer that have nothing to say.
var (
	done     = json.RawMessage(`{"ok":true}`)
	statusOK = json.RawMessage(`{"status":"ok"}`)
)

// value is the result of the methods that answer a text.
func value(text string) map[string]string { return map[string]string{"value": text} }

func (h *Host) timeNow(running, json.RawMessage) (any, error) {
	return map[string]string{"now": h.Now().Format("2006-01-02T15:04:05.000000000Z07:00")}, nil
}

func (h *Host) sendEmail(_ running, args json.RawMessage) (any, error) {
	mail, err := read[Mail](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mails = append(h.mails, mail)
	return done, nil
}

func (h *Host) publishEvent(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[struct {
		Channel string          `json:"channel"`
		Type    string          `json:"event_type"`
		Data    json.RawMessage `json:"data"`
	}](args)
	if err != nil {
		return nil, err
	}
	event := Event{Channel: wanted.Channel, Type: wanted.Type, Data: string(wanted.Data)}
	var text string
	if json.Unmarshal(wanted.Data, &text) == nil {
		event.Data = text
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
	return statusOK, nil
}

func (h *Host) log(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[struct {
		Level   string         `json:"level"`
		Message string         `json:"message"`
		Fields  map[string]any `json:"fields"`
	}](args)
	if err != nil {
		return nil, err
	}
	record := LogRecord{Level: "info", Message: wanted.Message, Fields: wanted.Fields}
	switch strings.ToLower(wanted.Level) {
	case "debug", "trace":
		record.Level = "debug"
	case "warn", "warning":
		record.Level = "warn"
	case "error", "fatal":
		record.Level = "error"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, record)
	if !h.closed {
		// A test that has ended has no log.
		h.t.Logf("plugin log: %s %s %v", record.Level, record.Message, record.Fields)
	}
	return done, nil
}

// ttl is how long an entry of the cache lives: an hour unless told otherwise, 30 days at most.
func ttl(seconds int64) time.Duration {
	const most = 30 * 24 * time.Hour
	switch {
	case seconds <= 0:
		return time.Hour
	case seconds >= int64(most/time.Second):
		return most
	}
	return time.Duration(seconds) * time.Second
}
