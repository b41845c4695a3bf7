package plugin

import "encoding/json"

// GKRegistration is what a plugin tells the host about itself: identity, what it adds, what it needs.
//
// Name and Version are needed; everything else is optional. Name must equal the name in plugin.yaml.
type GKRegistration struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description"`
	Author      string `json:"author"`
	License     string `json:"license"`
	Homepage    string `json:"homepage"`
	// Icon is inline SVG, a FontAwesome class or a bundled path.
	Icon string `json:"icon,omitempty"`

	Routes     []RouteSpec     `json:"routes,omitempty"`
	MenuItems  []MenuItemSpec  `json:"menu_items,omitempty"`
	Widgets    []WidgetSpec    `json:"widgets,omitempty"`
	Jobs       []JobSpec       `json:"jobs,omitempty"`
	Templates  []TemplateSpec  `json:"templates,omitempty"`
	I18n       *I18nSpec       `json:"i18n,omitempty"`
	ErrorCodes []ErrorCodeSpec `json:"error_codes,omitempty"`

	// EventAuthorizer names the function that is asked before somebody subscribes to the plugin's events.
	EventAuthorizer string `json:"event_authorizer,omitempty"`

	// HideMenuItems are ids of the host's own menu items.
	HideMenuItems []string `json:"hide_menu_items,omitempty"`
	// LandingPage is where agents are sent after login.
	LandingPage string `json:"landing_page,omitempty"`

	Groups       []GroupSpec       `json:"groups,omitempty"`
	CustomFields []CustomFieldSpec `json:"custom_fields,omitempty"`
	UIs          []UISpec          `json:"uis,omitempty"`
	Cascades     []CascadeSpec     `json:"cascades,omitempty"`
	MCPTools     []MCPToolSpec     `json:"mcp_tools,omitempty"`
	SetupTasks   []SetupTaskSpec   `json:"setup_tasks,omitempty"`

	// SkipOrgInjection keeps the organisation out of call arguments.
	SkipOrgInjection bool `json:"skip_org_injection,omitempty"`

	// MinHostVersion is the oldest host the plugin works with.
	MinHostVersion string `json:"min_host_version,omitempty"`
	// Permissions is an older form that no host evaluates. Use Resources.
	Permissions []string `json:"permissions,omitempty"`
	// Resources wins over the resources of plugin.yaml.
	Resources *ResourceRequest `json:"resources,omitempty"`
}

// RouteSpec is an HTTP route.
type RouteSpec struct {
	// Method is GET, POST, PUT, DELETE or PATCH.
	Method string `json:"method"`
	// Path may hold :name parameters and end with *rest.
	Path string `json:"path"`
	// Handler is the function that Call receives.
	Handler string `json:"handler"`
	// Middleware names the access rules, such as "auth"; none means public.
	Middleware  []string `json:"middleware,omitempty"`
	Description string   `json:"description,omitempty"`
	// Idempotent lets the host send a request once more when the process ends before it answers.
	Idempotent bool `json:"idempotent,omitempty"`
}

// MenuItemSpec is a navigation entry.
type MenuItemSpec struct {
	ID string `json:"id"`
	// Label is a text or a translation key.
	Label string `json:"label"`
	Icon  string `json:"icon,omitempty"`
	Path  string `json:"path"`
	// Location is "agent", "admin", "customer" or "profile".
	Location string         `json:"location"`
	Parent   string         `json:"parent,omitempty"`
	Order    int            `json:"order,omitempty"`
	Children []MenuItemSpec `json:"children,omitempty"`
}

// WidgetSpec is a dashboard widget. Its handler answers {"html": "…"}.
type WidgetSpec struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	Handler     string `json:"handler"`
	// Location is the page it appears on, such as "agent_home".
	Location string `json:"location"`
	// Size is "small", "medium", "large" or "full".
	Size        string `json:"size,omitempty"`
	Order       int    `json:"order,omitempty"`
	Refreshable bool   `json:"refreshable,omitempty"`
	// RefreshSec is the number of seconds between refreshes.
	RefreshSec int `json:"refresh_sec,omitempty"`
}

// JobSpec is a scheduled job.
type JobSpec struct {
	ID      string `json:"id"`
	Handler string `json:"handler"`
	// Schedule is a cron expression with five fields, or a descriptor such as "@hourly".
	Schedule    string `json:"schedule"`
	Description string `json:"description,omitempty"`
	Enabled     bool   `json:"enabled"`
	// Timeout is a Go duration such as "5m".
	Timeout string `json:"timeout,omitempty"`
}

// TemplateSpec is a template; with Override it takes the place of the host's template of that name.
type TemplateSpec struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Override bool   `json:"override,omitempty"`
}

// I18nSpec holds translations. Keys are registered as "<namespace>.<key>".
type I18nSpec struct {
	// Namespace defaults to the plugin's name.
	Namespace string   `json:"namespace,omitempty"`
	Languages []string `json:"languages,omitempty"`
	// Translations maps language, then key, to text.
	Translations map[string]map[string]string `json:"translations,omitempty"`
}

// ErrorCodeSpec is an API error code, registered as "<plugin>:<code>".
type ErrorCodeSpec struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	HTTPStatus int    `json:"http_status"`
}

// GroupSpec is an agent group that the host creates. Routes refer to it with the middleware "group:<name>".
type GroupSpec struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// CustomFieldSpec is a custom field of an entity. The host stores it under the plugin's prefix.
type CustomFieldSpec struct {
	Name       string `json:"name"`
	Label      string `json:"label"`
	EntityType string `json:"entity_type"`
	FieldType  string `json:"field_type"`
	// Section of the form; "custom" when empty.
	Section     string `json:"section,omitempty"`
	Order       int    `json:"order,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Description string `json:"description,omitempty"`
	Placeholder string `json:"placeholder,omitempty"`
	// Config holds the options of the field type.
	Config json.RawMessage `json:"config,omitempty"`
}

// CascadeSpec names the functions called when an entity is deleted.
type CascadeSpec struct {
	EntityType   string `json:"entity_type"`
	OnSoftDelete string `json:"on_soft_delete,omitempty"`
	OnHardDelete string `json:"on_hard_delete,omitempty"`
}

// MCPToolSpec is a tool offered over the Model Context Protocol.
type MCPToolSpec struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Handler     string `json:"handler"`
	// InputSchema is the JSON Schema of the arguments.
	InputSchema map[string]any `json:"input_schema,omitempty"`
}

// SetupTaskSpec is a step of the setup assistant.
type SetupTaskSpec struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	Icon        string `json:"icon,omitempty"`
	Handler     string `json:"handler"`
	Category    string `json:"category,omitempty"`
}

// UISpec is a small application under /ui/<plugin>_<id>/.
type UISpec struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Type is admin_page, agent_app, customer_app, public_page or kiosk.
	Type string `json:"type"`
	Icon string `json:"icon,omitempty"`
	// Shell is none, minimal or standard; the default depends on Type.
	Shell    string          `json:"shell,omitempty"`
	Routes   []UIRouteSpec   `json:"routes"`
	Nav      *UINavSpec      `json:"nav,omitempty"`
	Branding *UIBrandingSpec `json:"branding,omitempty"`
	Auth     *UIAuthSpec     `json:"auth,omitempty"`
	PWA      *UIPWASpec      `json:"pwa,omitempty"`
	// DataScope is self, org or all.
	DataScope string `json:"data_scope,omitempty"`
	// RateLimit is requests per minute and address for public pages; 0 takes the host's.
	RateLimit  int               `json:"rate_limit,omitempty"`
	TicketView *UITicketViewSpec `json:"ticket_view,omitempty"`
}

// UIRouteSpec is a page of an application. Method defaults to GET.
type UIRouteSpec struct {
	Path    string `json:"path"`
	Method  string `json:"method,omitempty"`
	Handler string `json:"handler"`
}

// UITicketViewSpec says how an application appears inside a ticket.
type UITicketViewSpec struct {
	Path  string `json:"path"`
	Param string `json:"param"`
	Label string `json:"label,omitempty"`
}

// UINavSpec is the navigation of an application. Position is bottom, top or side.
type UINavSpec struct {
	Position string      `json:"position"`
	Items    []UINavItem `json:"items"`
}

// UINavItem is an entry of a navigation. Badge names a function that answers {"count": n}.
type UINavItem struct {
	Label string `json:"label"`
	Icon  string `json:"icon"`
	Path  string `json:"path"`
	Badge string `json:"badge,omitempty"`
	Order int    `json:"order,omitempty"`
}

// UIBrandingSpec is the look of an application.
type UIBrandingSpec struct {
	AppName string `json:"app_name,omitempty"`
	Logo    string `json:"logo,omitempty"`
	Favicon string `json:"favicon,omitempty"`
	Color   string `json:"color,omitempty"`
}

// UIAuthSpec says who may open an application. Method is session, token or none; all groups are needed.
type UIAuthSpec struct {
	Method string   `json:"method,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

// UIPWASpec is the web application manifest of an application.
type UIPWASpec struct {
	Enabled     bool     `json:"enabled"`
	StartURL    string   `json:"start_url,omitempty"`
	Display     string   `json:"display,omitempty"`
	ThemeColor  string   `json:"theme_color,omitempty"`
	CacheRoutes []string `json:"cache_routes,omitempty"`
}
