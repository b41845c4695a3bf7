package plugin

import (
	"context"
	"encoding/json"
	"time"
)

// Plugin is the interface of a plugin that lives inside the host's process. A plugin process implements
// grpcutil.GKPluginInterface instead.
type Plugin interface {
	// GKRegister says what the plugin is and adds.
	GKRegister() GKRegistration
	// Init prepares the plugin and gives it the host API.
	Init(ctx context.Context, host HostAPI) error
	// Call runs a function of the plugin with JSON arguments and returns JSON.
	Call(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error)
	// Shutdown is called before the plugin is unloaded.
	Shutdown(ctx context.Context) error
}

// HostAPI is what a plugin may ask of its host. Every method is checked against the plugin's policy; a refusal is an
// error that says which permission is missing.
//
// The context ties a request to the call it is made for: pass on the ctx that CallWithContext received, so that the
// host knows the user, the language and the organisation. Cancelling it, or its deadline, ends the wait.
type HostAPI interface {
	// DBQuery runs a reading statement with ? placeholders and returns one map per row.
	// See grpcutil.WithInt64 for the Go type of numbers.
	DBQuery(ctx context.Context, query string, args ...any) ([]map[string]any, error)
	// DBExec runs a writing statement and returns the number of affected rows.
	DBExec(ctx context.Context, query string, args ...any) (int64, error)

	// CacheGet returns the value and whether there is one.
	CacheGet(ctx context.Context, key string) ([]byte, bool, error)
	// CacheSet stores a value; a ttlSeconds of 0 takes the host's default.
	CacheSet(ctx context.Context, key string, value []byte, ttlSeconds int) error
	// CacheDelete deletes a key; that there was none is no error.
	CacheDelete(ctx context.Context, key string) error

	// HTTPRequest returns the status and the body.
	HTTPRequest(ctx context.Context, method, url string, headers map[string]string, body []byte) (int, []byte, error)

	// SendEmail sends one mail to one recipient.
	SendEmail(ctx context.Context, to, subject, body string, html bool) error

	// Log writes to the plugin's log. Levels are debug, info, warn and error.
	Log(ctx context.Context, level, message string, fields map[string]any)

	// ConfigGet reads a setting of the host, such as app.name.
	ConfigGet(ctx context.Context, key string) (string, error)

	// Translate returns the text for a key in the caller's language, or the key itself.
	Translate(ctx context.Context, key string, args ...any) string

	// CallPlugin calls a function of another plugin.
	CallPlugin(ctx context.Context, pluginName, fn string, args json.RawMessage) (json.RawMessage, error)

	// PublishEvent sends an event to the browsers that listen on a channel of this plugin.
	PublishEvent(ctx context.Context, channel, eventType, data string) error

	// EntitySoftDelete moves an entity to the recycle bin.
	EntitySoftDelete(ctx context.Context, entityType string, entityID int64, reason string) error
	// EntityRestore takes an entity out of the recycle bin.
	EntityRestore(ctx context.Context, entityType string, entityID int64) error
	// EntityHardDelete removes an entity for good.
	EntityHardDelete(ctx context.Context, entityType string, entityID int64, reason string) error
	// RecycleBinList returns the entries of the recycle bin as JSON.
	RecycleBinList(ctx context.Context, entityType string) (json.RawMessage, error)

	// SecureConfigGet reads a secret of this plugin and organisation.
	SecureConfigGet(ctx context.Context, key string) (string, error)
	// SecureConfigSet stores a secret, encrypted.
	SecureConfigSet(ctx context.Context, key string, value string) error

	// OrgID is the active organisation, 0 when there is none.
	OrgID(ctx context.Context) int64

	// CustomFieldsGet reads custom fields; nil fields reads all.
	CustomFieldsGet(ctx context.Context, entityType string, objectID int64, fields []string) (map[string]any, error)
	// CustomFieldsSet writes custom fields. A value may be a FieldOp.
	CustomFieldsSet(ctx context.Context, entityType string, objectID int64, values map[string]any) error
	// CustomFieldsQuery returns the ids of the objects that match all filters.
	CustomFieldsQuery(ctx context.Context, entityType string, filters []CustomFieldFilter) ([]int64, error)

	// StoreFile stores a file of this plugin.
	StoreFile(ctx context.Context, key string, data []byte, metadata map[string]string) error
	// GetFile reads a file and its metadata; that there is none is an error.
	GetFile(ctx context.Context, key string) ([]byte, map[string]string, error)
	// DeleteFile deletes a file; that there was none is no error.
	DeleteFile(ctx context.Context, key string) error
	// ListFiles returns the files whose keys start with prefix, in the order of the keys, at most 1000.
	ListFiles(ctx context.Context, prefix string) ([]FileInfo, error)

	// GenerateThumbnail returns a small image and its content type.
	GenerateThumbnail(ctx context.Context, data []byte, contentType string, maxWidth, maxHeight int) ([]byte, string, error)

	// CreateArticle adds an article to a ticket and returns its id.
	CreateArticle(ctx context.Context, ticketID, createdBy int64, subject, body string, visibleToCustomer bool) (int64, error)
	// CreateArticleAttachment attaches a file to an article and returns the attachment's id.
	CreateArticleAttachment(ctx context.Context, articleID, createdBy int64, filename, contentType string, content []byte) (int64, error)
	// ListArticleAttachments returns the attachments of an article.
	ListArticleAttachments(ctx context.Context, articleID int64) ([]ArticleAttachment, error)
	// DeleteArticleAttachment deletes an attachment of an article.
	DeleteArticleAttachment(ctx context.Context, articleID, attachmentID int64) error

	// ChangeTicketStatus changes a ticket's state. Pending states need untilTime, in Unix seconds.
	ChangeTicketStatus(ctx context.Context, ticketID, stateID, userID int64, untilTime int64) error
	// ListTicketStates returns the states that a ticket may have.
	ListTicketStates(ctx context.Context) ([]TicketStateInfo, error)
	// ListTicketViews returns the plugins' pages that can be shown inside a ticket.
	ListTicketViews(ctx context.Context) ([]TicketViewInfo, error)

	// RenderMarkdownToPdf returns a PDF document.
	RenderMarkdownToPdf(ctx context.Context, markdown string, options PdfRenderOptions) ([]byte, error)
}

// FieldOp is an atomic change of a custom field: Op is increment (within Floor and Ceiling), append, remove, cas
// (only if the value is Expect) or toggle.
type FieldOp struct {
	// Op is increment, append, remove, cas or toggle.
	Op string `json:"op"`
	// Value is what is added, put in, or removed.
	Value any `json:"value,omitempty"`
	// Expect is what the value has to be, of cas.
	Expect any `json:"expect,omitempty"`
	// Floor is the lowest value, of increment.
	Floor *float64 `json:"floor,omitempty"`
	// Ceiling is the highest value, of increment.
	Ceiling *float64 `json:"ceiling,omitempty"`
}

// CustomFieldFilter is a condition on a custom field. Operator is eq, neq, gt, lt, gte, lte, like, in, between or
// near; Value2 is the upper bound of between and the radius in km of near.
type CustomFieldFilter struct {
	// Field is the field's name.
	Field string `json:"field"`
	// Operator says how it is compared.
	Operator string `json:"operator"`
	// Value is what it is compared with.
	Value any `json:"value"`
	// Value2 is the second one of between and near.
	Value2 any `json:"value2,omitempty"`
}

// FileInfo describes a file of the plugin.
type FileInfo struct {
	// Key is the file's, as it was stored.
	Key string `json:"key"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// ContentType is the metadata's content-type.
	ContentType string `json:"content_type"`
	// Metadata is all that was stored with it.
	Metadata map[string]string `json:"metadata,omitempty"`
	// ModifiedAt is when it was stored.
	ModifiedAt time.Time `json:"modified_at"`
}

// ArticleAttachment describes an attachment of an article.
type ArticleAttachment struct {
	// ID is the attachment's number.
	ID int64 `json:"id"`
	// ArticleID is the article's number.
	ArticleID int64 `json:"article_id"`
	// Filename is the file's name.
	Filename string `json:"filename"`
	// ContentType is the type of its content.
	ContentType string `json:"content_type"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// URL is where it can be fetched.
	URL string `json:"url"`
}

// TicketStateInfo describes a ticket state.
type TicketStateInfo struct {
	// ID is the state's number.
	ID int64 `json:"id"`
	// Name is what people read.
	Name string `json:"name"`
	// Color is a colour of CSS.
	Color string `json:"color"`
	// TypeID is the number of the state's type.
	TypeID int64 `json:"type_id"`
	// TypeName is the type's name, such as open.
	TypeName string `json:"type_name"`
}

// TicketViewInfo describes a plugin page that can be shown inside a ticket. URL contains {ticket_id}.
type TicketViewInfo struct {
	// PluginName is whose page it is.
	PluginName string `json:"plugin_name"`
	// UIID is the application's id.
	UIID string `json:"ui_id"`
	// Label is what people read.
	Label string `json:"label"`
	// URL contains {ticket_id}.
	URL string `json:"url"`
}

// PdfRenderOptions are options of RenderMarkdownToPdf. On the wire the keys are the field names.
type PdfRenderOptions struct {
	// PageSize is A4 (default) or Letter.
	PageSize string
	// MarginMM is the margin in millimetres, 15 when 0.
	MarginMM int
	// Title is the document's.
	Title string
	// BrandName is the name of whose document it is.
	BrandName string
	// BrandColor is a colour of CSS.
	BrandColor string
	// BrandLogoURL is where the logo is.
	BrandLogoURL string
}
