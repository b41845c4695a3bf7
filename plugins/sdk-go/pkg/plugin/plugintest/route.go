package plugintest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// RouteError is why a host does not call the plugin for a request.
type RouteError struct {
	// Status is what a host answers.
	Status int
	// Text says why.
	Text string
}

// Error is the text and the status.
func (e *RouteError) Error() string { return fmt.Sprintf("%s (status %d)", e.Text, e.Status) }

// Route sends a request to a route of the plugin: it finds the route in the registration, checks its middleware, builds
// the arguments as a host does, and calls the function. The path may have a query.
//
// The error is a [*RouteError] where a host would not call the plugin: 404 for a path without a route, or one that a host
// refuses to serve, 405 for another method, 401 without a user and 403 for one who may not, 400 for a body that cannot be
// read. Any other error is the function's own, which a host answers with 500.
//
// [Result.Status] of the result is what a host makes of it.
func (p *Plugin) Route(method, path string, opts ...RequestOption) (Result, error) {
	request := newRequest(opts)
	target, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, &RouteError{404, fmt.Sprintf("%q is no path", path)}
	}
	for name, values := range target.Query() {
		request.query[name] = append(values, request.query[name]...)
	}
	if err := request.encode(); err != nil {
		return nil, err
	}
	route, params, err := p.find(method, target.EscapedPath())
	if err != nil {
		return nil, err
	}
	if err := p.served(route); err != nil {
		return nil, err
	}
	if err := mayCall(route.Middleware, request.user); err != nil {
		return nil, err
	}
	args, err := request.arguments(method, target.EscapedPath(), params, p.registration.SkipOrgInjection)
	if err != nil {
		return nil, err
	}
	return p.call(request.ctx, request.running(route.Handler), args)
}

// Widget shows a widget by its id, to an [Agent] unless another user asks. [Result.HTML] of the result is what is shown.
//
// The error is a [*RouteError] where there is no such widget or the user is a customer; any other one is the function's.
func (p *Plugin) Widget(id string, opts ...RequestOption) (Result, error) {
	request := newRequest(append([]RequestOption{AsUser(Agent)}, opts...))
	at := slices.IndexFunc(p.registration.Widgets, func(w plugin.WidgetSpec) bool { return w.ID == id })
	if at < 0 {
		return nil, &RouteError{404, fmt.Sprintf("plugin %q has no widget %q", p.registration.Name, id)}
	}
	if err := mayCall([]string{"agent"}, request.user); err != nil {
		return nil, err
	}
	request.body, request.form, request.uploads = nil, nil, nil
	path := "/api/v1/plugins/" + p.registration.Name + "/widgets/" + url.PathEscape(id)
	request.query = url.Values{}
	args, err := request.arguments("GET", path, nil, false)
	if err != nil {
		return nil, err
	}
	return p.call(request.ctx, request.running(p.registration.Widgets[at].Handler), args)
}

func (r *request) running(fn string) running {
	return running{function: fn, language: r.language, requestID: r.requestID, user: r.user,
		traceParent: r.traceParent, traceState: r.traceState}
}

// find returns the route of a request and the parameters of its path.
func (p *Plugin) find(method, path string) (*plugin.RouteSpec, map[string]string, error) {
	wanted := strings.ToUpper(method)
	if wanted == "HEAD" {
		wanted = "GET"
	}
	var best *plugin.RouteSpec
	var bestParams map[string]string
	var others []string
	for i := range p.registration.Routes {
		route := &p.registration.Routes[i]
		params, ok := match(route.Path, path)
		switch {
		case !ok:
		case !strings.EqualFold(route.Method, wanted):
			others = append(others, strings.ToUpper(route.Method))
		case best == nil || isNarrower(route.Path, best.Path):
			best, bestParams = route, params
		}
	}
	if best == nil && len(others) > 0 {
		slices.Sort(others)
		return nil, nil, &RouteError{405, fmt.Sprintf("%s %s: method not allowed; there is %s", method, path, strings.Join(slices.Compact(others), ", "))}
	}
	if best == nil || !arePlain(best.Path, bestParams) {
		return nil, nil, &RouteError{404, fmt.Sprintf("%s %s: plugin %q has no such route", method, path, p.registration.Name)}
	}
	return best, bestParams, nil
}

// match returns the parameters of a path that fits a route's.
func match(pattern, path string) (map[string]string, bool) {
	parts, values := strings.Split(pattern, "/"), strings.Split(path, "/")
	params := map[string]string{}
	for i, part := range parts {
		if i >= len(values) {
			return nil, false
		}
		switch {
		case strings.HasPrefix(part, "*"):
			rest := strings.Join(values[i:], "/")
			params[part[1:]] = decode(rest)
			return params, rest != ""
		case strings.HasPrefix(part, ":"):
			if values[i] == "" {
				return nil, false
			}
			params[part[1:]] = decode(values[i])
		case part != values[i]:
			return nil, false
		}
	}
	return params, len(parts) == len(values)
}

func decode(value string) string {
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return value
	}
	return strings.ToValidUTF8(decoded, "\uFFFD")
}

// isNarrower says whether a path that fits two routes belongs to the first: a part that is written out comes before a
// parameter, and that before *rest.
func isNarrower(route, other string) bool {
	kind := func(part string) int {
		switch {
		case strings.HasPrefix(part, "*"):
			return 2
		case strings.HasPrefix(part, ":"):
			return 1
		}
		return 0
	}
	parts, others := strings.Split(route, "/"), strings.Split(other, "/")
	for i := range min(len(parts), len(others)) {
		if a, b := kind(parts[i]), kind(others[i]); a != b {
			return a < b
		}
	}
	return false
}

// arePlain says whether parameters hold no more than their place says, and nothing that a file system takes for another
// place.
func arePlain(pattern string, params map[string]string) bool {
	for name, value := range params {
		parts := []string{value}
		if strings.HasSuffix(pattern, "/*"+name) {
			parts = strings.Split(value, "/")
			if strings.HasPrefix(value, "/") {
				return false
			}
		}
		for _, part := range parts {
			if part == "." || part == ".." || strings.ContainsAny(part, "/\\\x00") {
				return false
			}
		}
	}
	return true
}

// served says whether a host serves a route that the plugin asks for.
func (p *Plugin) served(route *plugin.RouteSpec) error {
	refuse := func(format string, args ...any) error {
		return &RouteError{404, fmt.Sprintf("%s %s: a host refuses this route: ", route.Method, route.Path) + fmt.Sprintf(format, args...)}
	}
	for _, name := range route.Middleware {
		if !slices.Contains([]string{"auth", "admin", "agent", "customer"}, name) {
			return refuse("unknown middleware %q; auth, admin, agent and customer are known", name)
		}
	}
	if route.Handler == "" {
		return refuse("it names no handler")
	}
	name := p.registration.Name
	page, isPage := strings.CutPrefix(route.Path, "/ui/"+name)
	if isBelow(route.Path, "/api/plugins/"+name) || (isPage && (page == "" || page[0] == '/' || page[0] == '_')) {
		return nil
	}
	for _, granted := range p.granted {
		root, all := strings.CutSuffix(granted, "/*")
		if route.Path == granted || (all && isBelow(route.Path, root)) {
			return nil
		}
	}
	return refuse("it is not the plugin's own; use a path below /api/plugins/%s/, or grant it with WithRoutes", name)
}

func isBelow(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}

// mayCall checks middleware as a host does.
func mayCall(middleware []string, user *User) error {
	for _, name := range middleware {
		if user == nil {
			return &RouteError{401, "authentication required; a test asks as a user with AsUser"}
		}
		allowed := true
		switch name {
		case "admin":
			allowed = user.Role == "Admin"
		case "agent":
			allowed = user.Role == "Admin" || user.Role == "Agent"
		case "customer":
			allowed = user.Role == "Customer"
		}
		if !allowed {
			return &RouteError{403, name + " access required"}
		}
	}
	return nil
}
