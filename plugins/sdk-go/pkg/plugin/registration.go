package plugin

import "encoding/json"

// GKRegistration is what a plugin tells the host about itself: identity, what it adds, what it needs.
//
// Name and Version are needed; everything else is optional. Name must equal the name in plugin.yaml.
type GKRegistration struct {
	// Name is the plugin's name, the same as in plugin.yaml.
	Name string `json:"name"`
	// Version is a semantic version.
	Version string `json:"version"`
	// Description says what the plugin is for.
	Description string `json:"description"`
	// Author says who made it.
	Author string `json:"author"`
	// License is an SPDX expression.
	License string `json:"license"`
	// Homepage is a URL.
	Homepage string `json:"homepage"`
	// Icon is inline SVG, a FontAwesome class or a bundled path.
	Icon string `json:"icon,omitempty"`

	// Routes are the paths that the plugin serves.
	Routes []RouteSpec `json:"routes,omitempty"`
	// MenuItems are entries of the navigation.
	MenuItems []MenuItemSpec `json:"menu_items,omitempty"`
	// Widgets are parts of dashboards.
	Widgets []WidgetSpec `json:"widgets,omitempty"`
	// Jobs are scheduled.
	Jobs []JobSpec `json:"jobs,omitempty"`
	// Templates are added to the host's.
	Templates []TemplateSpec `json:"templates,omitempty"`
	// I18n holds the plugin's translations.
	I18n *I18nSpec `json:"i18n,omitempty"`
	// ErrorCodes are codes of the plugin's API.
	ErrorCodes []ErrorCodeSpec `json:"error_codes,omitempty"`

	// EventAuthorizer names the function that is asked before somebody subscribes to the plugin's events.
	EventAuthorizer string `json:"event_authorizer,omitempty"`

	// HideMenuItems are ids of the host's own menu items.
	HideMenuItems []string `json:"hide_menu_items,omitempty"`
	// LandingPage is where agents are sent after login.
	LandingPage string `json:"landing_page,omitempty"`

	// Groups are agent groups that the host creates.
	Groups []GroupSpec `json:"groups,omitempty"`
	// CustomFields are fields of the host's entities.
	CustomFields []CustomFieldSpec `json:"custom_fields,omitempty"`
	// UIs are small applications.
	UIs []UISpec `json:"uis,omitempty"`
	// Cascades say what is called when entities are deleted.
	Cascades []CascadeSpec `json:"cascades,omitempty"`
	// MCPTools are offered over the Model Context Protocol.
	MCPTools []MCPToolSpec `json:"mcp_tools,omitempty"`
	// SetupTasks are steps of the setup assistant.
	SetupTasks []SetupTaskSpec `json:"setup_tasks,omitempty"`

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
	Middleware []string `json:"middleware,omitempty"`
	// Description says what the route is for.
	Description string `json:"description,omitempty"`
	// Idempotent lets the host send a request once more when the process ends before it answers.
	Idempotent bool `json:"idempotent,omitempty"`
}

// MenuItemSpec is a navigation entry.
type MenuItemSpec struct {
	// ID tells the entry from others.
	ID string `json:"id"`
	// Label is a text or a translation key.
	Label string `json:"label"`
	// Icon is a FontAwesome class or inline SVG.
	Icon string `json:"icon,omitempty"`
	// Path is where the entry leads.
	Path string `json:"path"`
	// Location is "agent", "admin", "customer" or "profile".
	Location string `json:"location"`
	// Parent is the id of the entry that this one is below.
	Parent string `json:"parent,omitempty"`
	// Order sorts entries, the lowest first.
	Order int `json:"order,omitempty"`
	// Children are entries below this one.
	Children []MenuItemSpec `json:"children,omitempty"`
}

// WidgetSpec is a dashboard widget. Its handler answers {"html": "…"}.
type WidgetSpec struct {
	// ID tells the widget from others of the plugin.
	ID string `json:"id"`
	// Title is a text or a translation key.
	Title string `json:"title"`
	// Description says what it shows.
	Description string `json:"description,omitempty"`
	// Handler is the function that Call receives.
	Handler string `json:"handler"`
	// Location is the page it appears on, such as "agent_home".
	Location string `json:"location"`
	// Size is "small", "medium", "large" or "full".
	Size string `json:"size,omitempty"`
	// Order sorts widgets, the lowest first.
	Order int `json:"order,omitempty"`
	// Refreshable says whether it may be shown anew.
	Refreshable bool `json:"refreshable,omitempty"`
	// RefreshSec is the number of seconds between refreshes.
	RefreshSec int `json:"refresh_sec,omitempty"`
}

// JobSpec is a scheduled job.
type JobSpec struct {
	// ID tells the job from others of the plugin.
	ID string `json:"id"`
	// Handler is the function that Call receives.
	Handler string `json:"handler"`
	// Schedule is a cron expression with five fields, or a descriptor such as "@hourly".
	Schedule string `json:"schedule"`
	// Description says what it does.
	Description string `json:"description,omitempty"`
	// Enabled says whether it runs.
	Enabled bool `json:"enabled"`
	// Timeout is a Go duration such as "5m".
	Timeout string `json:"timeout,omitempty"`
	// TimeZone is the zone of the schedule, such as "Europe/Berlin"; the host's without it.
	TimeZone string `json:"time_zone,omitempty"`
	// Concurrency says what happens when the job is due while an earlier run has not ended: "forbid" (without it), "allow" or
	// "replace".
	Concurrency string `json:"concurrency,omitempty"`
	// StartingDeadline is a Go duration: how late a run may start. Without it the period, at most an hour.
	StartingDeadline string `json:"starting_deadline,omitempty"`
	// Jitter is a Go duration: the maximum delay of a start. Without it a tenth of the period, at most 30 seconds.
	Jitter string `json:"jitter,omitempty"`
	// Retries is the number of repetitions of a run that failed.
	Retries int `json:"retries,omitempty"`
	// Backoff is a Go duration: the wait before the first repetition. Each further wait is twice as long.
	Backoff string `json:"backoff,omitempty"`
}

// TemplateSpec is a template; with Override it takes the place of the host's template of that name.
type TemplateSpec struct {
	// Name is the template's name at the host.
	Name string `json:"name"`
	// Path is the file in the plugin's package.
	Path string `json:"path"`
	// Override puts it in place of the host's.
	Override bool `json:"override,omitempty"`
}

// I18nSpec holds translations. Keys are registered as "<namespace>.<key>".
type I18nSpec struct {
	// Namespace defaults to the plugin's name.
	Namespace string `json:"namespace,omitempty"`
	// Languages are the tags of the languages, such as de.
	Languages []string `json:"languages,omitempty"`
	// Translations maps language, then key, to text.
	Translations map[string]map[string]string `json:"translations,omitempty"`
}

// ErrorCodeSpec is an API error code, registered as "<plugin>:<code>".
type ErrorCodeSpec struct {
	// Code is the code without the plugin's name.
	Code string `json:"code"`
	// Message is what people read.
	Message string `json:"message"`
	// HTTPStatus is the status of answers with this code.
	HTTPStatus int `json:"http_status"`
}

// GroupSpec is an agent group that the host creates. Routes refer to it with the middleware "group:<name>".
type GroupSpec struct {
	// Name is the group's name.
	Name string `json:"name"`
	// Description says who is in it.
	Description string `json:"description"`
}

// CustomFieldSpec is a custom field of an entity. The host stores it under the plugin's prefix.
type CustomFieldSpec struct {
	// Name is the field's name without the plugin's prefix.
	Name string `json:"name"`
	// Label is what people read.
	Label string `json:"label"`
	// EntityType is what the field belongs to, such as ticket.
	EntityType string `json:"entity_type"`
	// FieldType is the kind of its values, such as text.
	FieldType string `json:"field_type"`
	// Section of the form; "custom" when empty.
	Section string `json:"section,omitempty"`
	// Order sorts fields, the lowest first.
	Order int `json:"order,omitempty"`
	// Required says whether it must be filled in.
	Required bool `json:"required,omitempty"`
	// Description says what it is for.
	Description string `json:"description,omitempty"`
	// Placeholder is shown while it is empty.
	Placeholder string `json:"placeholder,omitempty"`
	// Config holds the options of the field type.
	Config json.RawMessage `json:"config,omitempty"`
}

// CascadeSpec names the functions called when an entity is deleted.
type CascadeSpec struct {
	// EntityType is the kind of entity.
	EntityType string `json:"entity_type"`
	// OnSoftDelete is called when one goes to the recycle bin.
	OnSoftDelete string `json:"on_soft_delete,omitempty"`
	// OnHardDelete is called when one is removed for good.
	OnHardDelete string `json:"on_hard_delete,omitempty"`
}

// MCPToolSpec is a tool offered over the Model Context Protocol.
type MCPToolSpec struct {
	// Name is the tool's name.
	Name string `json:"name"`
	// Description says what it does.
	Description string `json:"description,omitempty"`
	// Handler is the function that Call receives.
	Handler string `json:"handler"`
	// InputSchema is the JSON Schema of the arguments.
	InputSchema map[string]any `json:"input_schema,omitempty"`
}

// SetupTaskSpec is a step of the setup assistant.
type SetupTaskSpec struct {
	// ID tells the step from others of the plugin.
	ID string `json:"id"`
	// Title is what people read.
	Title string `json:"title"`
	// Description says what is to be done.
	Description string `json:"description,omitempty"`
	// Icon is a FontAwesome class or inline SVG.
	Icon string `json:"icon,omitempty"`
	// Handler is the function that Call receives.
	Handler string `json:"handler"`
	// Category groups steps.
	Category string `json:"category,omitempty"`
}

// UISpec is a small application under /ui/<plugin>_<id>/.
type UISpec struct {
	// ID is the part of the path behind the plugin's name.
	ID string `json:"id"`
	// Name is what people read.
	Name string `json:"name"`
	// Description says what it is for.
	Description string `json:"description,omitempty"`
	// Type is admin_page, agent_app, customer_app, public_page or kiosk.
	Type string `json:"type"`
	// Icon is a FontAwesome class or inline SVG.
	Icon string `json:"icon,omitempty"`
	// Shell is none, minimal or standard; the default depends on Type.
	Shell string `json:"shell,omitempty"`
	// Routes are its pages.
	Routes []UIRouteSpec `json:"routes"`
	// Nav is its navigation; nil for none.
	Nav *UINavSpec `json:"nav,omitempty"`
	// Branding is its look; nil for the host's.
	Branding *UIBrandingSpec `json:"branding,omitempty"`
	// Auth says who may open it; nil for what its Type says.
	Auth *UIAuthSpec `json:"auth,omitempty"`
	// PWA makes it a web application that can be installed.
	PWA *UIPWASpec `json:"pwa,omitempty"`
	// DataScope is self, org or all.
	DataScope string `json:"data_scope,omitempty"`
	// RateLimit is requests per minute and address for public pages; 0 takes the host's.
	RateLimit int `json:"rate_limit,omitempty"`
	// TicketView shows it inside of tickets.
	TicketView *UITicketViewSpec `json:"ticket_view,omitempty"`
}

// UIRouteSpec is a page of an application. Method defaults to GET.
type UIRouteSpec struct {
	// Path is the page's, below the application's.
	Path string `json:"path"`
	// Method is GET when it is empty.
	Method string `json:"method,omitempty"`
	// Handler is the function that Call receives.
	Handler string `json:"handler"`
}

// UITicketViewSpec says how an application appears inside a ticket.
type UITicketViewSpec struct {
	// Path is the page that is shown.
	Path string `json:"path"`
	// Param is the parameter that the ticket's id goes into.
	Param string `json:"param"`
	// Label is what people read.
	Label string `json:"label,omitempty"`
}

// UINavSpec is the navigation of an application. Position is bottom, top or side.
type UINavSpec struct {
	// Position is bottom, top or side.
	Position string `json:"position"`
	// Items are the entries.
	Items []UINavItem `json:"items"`
}

// UINavItem is an entry of a navigation. Badge names a function that answers {"count": n}.
type UINavItem struct {
	// Label is what people read.
	Label string `json:"label"`
	// Icon is a FontAwesome class or inline SVG.
	Icon string `json:"icon"`
	// Path is where the entry leads.
	Path string `json:"path"`
	// Badge names a function that answers {"count": n}.
	Badge string `json:"badge,omitempty"`
	// Order sorts entries, the lowest first.
	Order int `json:"order,omitempty"`
}

// UIBrandingSpec is the look of an application.
type UIBrandingSpec struct {
	// AppName is the application's name.
	AppName string `json:"app_name,omitempty"`
	// Logo is the path of an image.
	Logo string `json:"logo,omitempty"`
	// Favicon is the path of an icon.
	Favicon string `json:"favicon,omitempty"`
	// Color is a colour of CSS.
	Color string `json:"color,omitempty"`
}

// UIAuthSpec says who may open an application. Method is session, token or none; all groups are needed.
type UIAuthSpec struct {
	// Method is session, token or none.
	Method string `json:"method,omitempty"`
	// Groups are all needed.
	Groups []string `json:"groups,omitempty"`
}

// UIPWASpec is the web application manifest of an application.
type UIPWASpec struct {
	// Enabled says whether there is a manifest.
	Enabled bool `json:"enabled"`
	// StartURL is where the application begins.
	StartURL string `json:"start_url,omitempty"`
	// Display is the display mode, such as standalone.
	Display string `json:"display,omitempty"`
	// ThemeColor is a colour of CSS.
	ThemeColor string `json:"theme_color,omitempty"`
	// CacheRoutes are paths that are kept for use offline.
	CacheRoutes []string `json:"cache_routes,omitempty"`
}
