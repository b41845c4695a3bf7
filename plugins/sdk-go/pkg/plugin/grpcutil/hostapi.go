package grpcutil

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/rpc"
	"strconv"
	"strings"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// HostAPIClient is the host API over the connection to the host. It is safe for concurrent use.
//
// Every method ends when its context does. Errors read "host: …" when the host refused (errors.As finds the
// [plugin.HostError]), "host rpc: …" when it could not be reached or the context ended (errors.Is finds the context's
// error).
type HostAPIClient struct {
	client     *rpc.Client
	pluginName string
	int64s     bool
}

var _ plugin.HostAPI = (*HostAPIClient)(nil)

// NewHostAPIClient returns a host API on an open connection to the host. The options are those of [ServePlugin].
//
// ServePlugin makes one for the plugin that it serves; call it to test a plugin against a host of your own, or use
// package plugintest.
func NewHostAPIClient(client *rpc.Client, pluginName string, opts ...Option) *HostAPIClient {
	var chosen options
	for _, option := range opts {
		option(&chosen)
	}
	return &HostAPIClient{client: client, pluginName: pluginName, int64s: chosen.int64s}
}

// object is the arguments of a host call.
type object map[string]any

// Request makes a host call by its wire name. The methods below are what plugins use; this one is for calls that a
// newer host has and this module does not.
func (c *HostAPIClient) Request(ctx context.Context, method string, args any) (json.RawMessage, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("marshal args: %w", err)
	}
	request := HostAPIRPCRequest{
		Method:       method,
		Args:         encoded,
		CallerPlugin: c.pluginName,
		CallToken:    CallTokenFromContext(ctx),
	}
	reply := &HostAPIRPCResponse{}
	if err := callContext(ctx, c.client, "Plugin.Call", request, reply); err != nil {
		return nil, fmt.Errorf("host rpc: %w", err)
	}
	if reply.Error != "" {
		return nil, &plugin.HostError{Method: method, Text: reply.Error}
	}
	return reply.Result, nil
}

// decode makes a host call whose result is decoded into result.
func (c *HostAPIClient) decode(ctx context.Context, method string, args, result any) error {
	raw, err := c.Request(ctx, method, args)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("host: %s: unexpected result: %w", method, err)
	}
	return nil
}

// run makes a host call whose result says nothing.
func (c *HostAPIClient) run(ctx context.Context, method string, args any) error {
	_, err := c.Request(ctx, method, args)
	return err
}

// text makes a host call that answers {"value": "…"}, or, on older hosts, the bare text.
func (c *HostAPIClient) text(ctx context.Context, method string, args any) (string, error) {
	raw, err := c.Request(ctx, method, args)
	if err != nil {
		return "", err
	}
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '"' {
		var value string
		if err := json.Unmarshal(trimmed, &value); err != nil {
			return "", fmt.Errorf("host: %s: unexpected result: %w", method, err)
		}
		return value, nil
	}
	var result struct {
		Value *string `json:"value"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return "", fmt.Errorf("host: %s: unexpected result: %w", method, err)
	}
	if result.Value == nil {
		return "", fmt.Errorf("host: %s: the result has no value", method)
	}
	return *result.Value, nil
}

func (c *HostAPIClient) numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		return c.number(value)
	case map[string]any:
		for key, inner := range value {
			value[key] = c.numbers(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = c.numbers(inner)
		}
	}
	return value
}

func (c *HostAPIClient) number(number json.Number) any {
	const exactInFloat = 1 << 53
	if !strings.ContainsAny(number.String(), ".eE") {
		whole, err := strconv.ParseInt(number.String(), 10, 64)
		switch {
		case err != nil:
			return number
		case c.int64s || whole > exactInFloat || whole < -exactInFloat:
			return whole
		}
		return float64(whole)
	}
	float, err := number.Float64()
	if err != nil {
		return number
	}
	return float
}

// DBQuery implements [plugin.HostAPI].
func (c *HostAPIClient) DBQuery(ctx context.Context, query string, args ...any) ([]map[string]any, error) {
	var rows []map[string]any
	if err := c.exact(ctx, "db_query", object{"query": query, "args": list(args)}, &rows); err != nil {
		return nil, err
	}
	for _, row := range rows {
		c.numbers(row)
	}
	return rows, nil
}

// DBExec implements [plugin.HostAPI].
func (c *HostAPIClient) DBExec(ctx context.Context, query string, args ...any) (int64, error) {
	var result struct {
		Affected int64 `json:"affected"`
	}
	err := c.decode(ctx, "db_exec", object{"query": query, "args": list(args)}, &result)
	return result.Affected, err
}

// CacheGet implements [plugin.HostAPI].
func (c *HostAPIClient) CacheGet(ctx context.Context, key string) ([]byte, bool, error) {
	var result struct {
		Value []byte `json:"value"`
		Found bool   `json:"found"`
	}
	err := c.decode(ctx, "cache_get", object{"key": key}, &result)
	return result.Value, result.Found, err
}

// CacheSet implements [plugin.HostAPI].
func (c *HostAPIClient) CacheSet(ctx context.Context, key string, value []byte, ttlSeconds int) error {
	return c.run(ctx, "cache_set", object{"key": key, "value": value, "ttl": ttlSeconds})
}

// CacheDelete implements [plugin.HostAPI].
func (c *HostAPIClient) CacheDelete(ctx context.Context, key string) error {
	return c.run(ctx, "cache_delete", object{"key": key})
}

// HTTPRequest implements [plugin.HostAPI].
func (c *HostAPIClient) HTTPRequest(ctx context.Context, method, url string, headers map[string]string, body []byte) (int, []byte, error) {
	var result struct {
		Status int    `json:"status"`
		Body   []byte `json:"body"`
	}
	args := object{"method": method, "url": url, "headers": headers, "body": body}
	err := c.decode(ctx, "http_request", args, &result)
	return result.Status, result.Body, err
}

// SendEmail implements [plugin.HostAPI].
func (c *HostAPIClient) SendEmail(ctx context.Context, to, subject, body string, html bool) error {
	return c.run(ctx, "send_email", object{"to": to, "subject": subject, "body": body, "html": html})
}

// Log implements [plugin.HostAPI]. Where the host cannot take the message, it goes to the process's own log.
func (c *HostAPIClient) Log(ctx context.Context, level, message string, fields map[string]any) {
	if err := c.run(ctx, "log", object{"level": level, "message": message, "fields": fields}); err != nil {
		logger.Info(message, "level", level, "fields", fmt.Sprint(fields), "not_logged_by_host", err.Error())
	}
}

// ConfigGet implements [plugin.HostAPI].
func (c *HostAPIClient) ConfigGet(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "config_get", object{"key": key})
}

// Translate implements [plugin.HostAPI]. It answers the key when the host does not know it or cannot be reached.
func (c *HostAPIClient) Translate(ctx context.Context, key string, args ...any) string {
	text, err := c.text(ctx, "translate", object{"key": key, "args": list(args)})
	if err != nil {
		return key
	}
	return text
}

// CallPlugin implements [plugin.HostAPI].
func (c *HostAPIClient) CallPlugin(ctx context.Context, pluginName, fn string, args json.RawMessage) (json.RawMessage, error) {
	if len(args) == 0 {
		args = json.RawMessage("null")
	}
	return c.Request(ctx, "plugin_call", object{"plugin": pluginName, "function": fn, "args": args})
}

// PublishEvent implements [plugin.HostAPI].
func (c *HostAPIClient) PublishEvent(ctx context.Context, channel, eventType, data string) error {
	return c.run(ctx, "publish_event", object{"channel": channel, "event_type": eventType, "data": data})
}

// EntitySoftDelete implements [plugin.HostAPI].
func (c *HostAPIClient) EntitySoftDelete(ctx context.Context, entityType string, entityID int64, reason string) error {
	return c.run(ctx, "entity_soft_delete", object{"entity_type": entityType, "entity_id": entityID, "reason": reason})
}

// EntityRestore implements [plugin.HostAPI].
func (c *HostAPIClient) EntityRestore(ctx context.Context, entityType string, entityID int64) error {
	return c.run(ctx, "entity_restore", object{"entity_type": entityType, "entity_id": entityID})
}

// EntityHardDelete implements [plugin.HostAPI].
func (c *HostAPIClient) EntityHardDelete(ctx context.Context, entityType string, entityID int64, reason string) error {
	return c.run(ctx, "entity_hard_delete", object{"entity_type": entityType, "entity_id": entityID, "reason": reason})
}

// RecycleBinList implements [plugin.HostAPI].
func (c *HostAPIClient) RecycleBinList(ctx context.Context, entityType string) (json.RawMessage, error) {
	return c.Request(ctx, "recycle_bin_list", object{"entity_type": entityType})
}

// SecureConfigGet implements [plugin.HostAPI].
func (c *HostAPIClient) SecureConfigGet(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "secure_config_get", object{"key": key})
}

// SecureConfigSet implements [plugin.HostAPI].
func (c *HostAPIClient) SecureConfigSet(ctx context.Context, key string, value string) error {
	return c.run(ctx, "secure_config_set", object{"key": key, "value": value})
}

// OrgID implements [plugin.HostAPI]. Errors answer 0.
func (c *HostAPIClient) OrgID(ctx context.Context) int64 {
	var id int64
	if err := c.decode(ctx, "org_id", object{}, &id); err != nil {
		return 0
	}
	return id
}

// CustomFieldsGet implements [plugin.HostAPI].
func (c *HostAPIClient) CustomFieldsGet(ctx context.Context, entityType string, objectID int64, fields []string) (map[string]any, error) {
	var values map[string]any
	args := object{"entity_type": entityType, "object_id": objectID, "fields": fields}
	if err := c.exact(ctx, "custom_fields_get", args, &values); err != nil {
		return nil, err
	}
	c.numbers(values)
	return values, nil
}

// CustomFieldsSet implements [plugin.HostAPI].
func (c *HostAPIClient) CustomFieldsSet(ctx context.Context, entityType string, objectID int64, values map[string]any) error {
	return c.run(ctx, "custom_fields_set", object{"entity_type": entityType, "object_id": objectID, "values": values})
}

// CustomFieldsQuery implements [plugin.HostAPI].
func (c *HostAPIClient) CustomFieldsQuery(ctx context.Context, entityType string, filters []plugin.CustomFieldFilter) ([]int64, error) {
	var ids []int64
	err := c.decode(ctx, "custom_fields_query", object{"entity_type": entityType, "filters": filters}, &ids)
	return ids, err
}

// StoreFile implements [plugin.HostAPI].
func (c *HostAPIClient) StoreFile(ctx context.Context, key string, data []byte, metadata map[string]string) error {
	return c.run(ctx, "store_file", object{"key": key, "data": data, "metadata": metadata})
}

// GetFile implements [plugin.HostAPI].
func (c *HostAPIClient) GetFile(ctx context.Context, key string) ([]byte, map[string]string, error) {
	var result struct {
		Data     []byte            `json:"data"`
		Metadata map[string]string `json:"metadata"`
	}
	err := c.decode(ctx, "get_file", object{"key": key}, &result)
	return result.Data, result.Metadata, err
}

// DeleteFile implements [plugin.HostAPI].
func (c *HostAPIClient) DeleteFile(ctx context.Context, key string) error {
	return c.run(ctx, "delete_file", object{"key": key})
}

// ListFiles implements [plugin.HostAPI].
func (c *HostAPIClient) ListFiles(ctx context.Context, prefix string) ([]plugin.FileInfo, error) {
	var files []plugin.FileInfo
	err := c.decode(ctx, "list_files", object{"prefix": prefix}, &files)
	return files, err
}

// GenerateThumbnail implements [plugin.HostAPI].
func (c *HostAPIClient) GenerateThumbnail(ctx context.Context, data []byte, contentType string, maxWidth, maxHeight int) ([]byte, string, error) {
	var result struct {
		Data        []byte `json:"thumb_data"`
		ContentType string `json:"thumb_content_type"`
	}
	args := object{"data": data, "content_type": contentType, "max_width": maxWidth, "max_height": maxHeight}
	err := c.decode(ctx, "generate_thumbnail", args, &result)
	return result.Data, result.ContentType, err
}

// created is the result of the calls that create something.
type created struct {
	ID int64 `json:"id"`
}

// CreateArticle implements [plugin.HostAPI].
func (c *HostAPIClient) CreateArticle(ctx context.Context, ticketID, createdBy int64, subject, body string, visibleToCustomer bool) (int64, error) {
	var result created
	args := object{"ticket_id": ticketID, "created_by": createdBy, "subject": subject, "body": body, "visible_to_customer": visibleToCustomer}
	err := c.decode(ctx, "create_article", args, &result)
	return result.ID, err
}

// CreateArticleAttachment implements [plugin.HostAPI].
func (c *HostAPIClient) CreateArticleAttachment(ctx context.Context, articleID, createdBy int64, filename, contentType string, content []byte) (int64, error) {
	var result created
	args := object{"article_id": articleID, "created_by": createdBy, "filename": filename, "content_type": contentType, "content": content}
	err := c.decode(ctx, "create_article_attachment", args, &result)
	return result.ID, err
}

// ListArticleAttachments implements [plugin.HostAPI].
func (c *HostAPIClient) ListArticleAttachments(ctx context.Context, articleID int64) ([]plugin.ArticleAttachment, error) {
	var result struct {
		Attachments []plugin.ArticleAttachment `json:"attachments"`
	}
	err := c.decode(ctx, "list_article_attachments", object{"article_id": articleID}, &result)
	return result.Attachments, err
}

// DeleteArticleAttachment implements [plugin.HostAPI].
func (c *HostAPIClient) DeleteArticleAttachment(ctx context.Context, articleID, attachmentID int64) error {
	return c.run(ctx, "delete_article_attachment", object{"article_id": articleID, "attachment_id": attachmentID})
}

// ChangeTicketStatus implements [plugin.HostAPI].
func (c *HostAPIClient) ChangeTicketStatus(ctx context.Context, ticketID, stateID, userID int64, untilTime int64) error {
	return c.run(ctx, "change_ticket_status", object{"ticket_id": ticketID, "state_id": stateID, "user_id": userID, "until_time": untilTime})
}

// ListTicketStates implements [plugin.HostAPI].
func (c *HostAPIClient) ListTicketStates(ctx context.Context) ([]plugin.TicketStateInfo, error) {
	var result struct {
		States []plugin.TicketStateInfo `json:"states"`
	}
	err := c.decode(ctx, "list_ticket_states", object{}, &result)
	return result.States, err
}

// ListTicketViews implements [plugin.HostAPI].
func (c *HostAPIClient) ListTicketViews(ctx context.Context) ([]plugin.TicketViewInfo, error) {
	var result struct {
		Views []plugin.TicketViewInfo `json:"views"`
	}
	err := c.decode(ctx, "list_ticket_views", object{}, &result)
	return result.Views, err
}

// RenderMarkdownToPdf implements [plugin.HostAPI].
func (c *HostAPIClient) RenderMarkdownToPdf(ctx context.Context, markdown string, options plugin.PdfRenderOptions) ([]byte, error) {
	var result struct {
		PDF []byte `json:"pdf"`
	}
	err := c.decode(ctx, "render_markdown_to_pdf", object{"markdown": markdown, "options": options}, &result)
	return result.PDF, err
}

// list is the variadic arguments of a call, an empty list when there are none.
func list(args []any) []any {
	if args == nil {
		return []any{}
	}
	return args
}
