// Package grpcutil serves a plugin process. Despite its name, which is kept for compatibility, nothing here is gRPC:
// the wire is HashiCorp go-plugin's net/rpc.
//
// A plugin implements [GKPluginInterface] and calls [ServePlugin] from main. It may also implement
// [GKPluginWithHost], to be given the host API, and [GKPluginWithContext], to be given a context per call.
//
// A panic in a handler fails that call only: the host gets an error, the stack goes to the plugin's log. A panic in
// a goroutine that a handler started still ends the process, as always in Go.
package grpcutil

import (
	"context"
	"encoding/json"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/internal/calltoken"
)

// PluginKey is the name under which hosts dispense the plugin.
const PluginKey = "gkplugin"

// Handshake is what host and plugin must agree on before they talk.
var Handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "GOATKIT_PLUGIN",
	MagicCookieValue: "goatkit-v1",
}

// GKPluginInterface is what every plugin implements.
//
// Call runs concurrently with itself.
type GKPluginInterface interface {
	// GKRegister says what the plugin is and adds. It is called once, before Init.
	GKRegister() (*plugin.GKRegistration, error)
	// Init prepares the plugin; config holds host_version, plugin_name, plugin_dir, work_dir and settings.
	Init(config map[string]string) error
	// Call runs a function of the plugin with JSON arguments and returns JSON.
	Call(fn string, args json.RawMessage) (json.RawMessage, error)
	// Shutdown is called before the process is ended.
	Shutdown() error
}

// GKPluginWithHost is implemented by plugins that use the host API. InitWithHost is called instead of Init; Init
// remains the fallback when the host has no host API or cannot be reached.
type GKPluginWithHost interface {
	GKPluginInterface
	// InitWithHost prepares the plugin as Init does. It may keep host for as long as the plugin runs.
	InitWithHost(config map[string]string, host plugin.HostAPI) error
}

// GKPluginWithContext is implemented by plugins that want a context per call. CallWithContext is called instead of
// Call. The context carries the identity of the call (pass it on to the host API) and is cancelled at Shutdown.
type GKPluginWithContext interface {
	GKPluginInterface
	// CallWithContext runs a function of the plugin as Call does.
	CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error)
}

// Option changes how a plugin is served.
type Option func(*options)

type options struct {
	int64s bool
}

// WithInt64 makes whole numbers of DBQuery and CustomFieldsGet arrive as int64.
//
// Without it a number arrives as float64, as encoding/json does it and as plugins expect, except where float64 would
// change it: a whole number beyond ±2^53 arrives as int64, or as json.Number beyond 64 bits.
func WithInt64() Option {
	return func(o *options) { o.int64s = true }
}

// ServePlugin serves impl until the host ends the process. Call it from main.
func ServePlugin(impl GKPluginInterface, opts ...Option) {
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: Handshake,
		Plugins:         PluginSet(impl, opts...),
	})
}

// PluginSet is what ServePlugin serves, for tests that serve it in their own process.
func PluginSet(impl GKPluginInterface, opts ...Option) goplugin.PluginSet {
	p := &GKPluginPlugin{Impl: impl}
	for _, option := range opts {
		option(&p.options)
	}
	return goplugin.PluginSet{PluginKey: p}
}

// InitRequest is the argument of Plugin.Init.
type InitRequest struct {
	// Config is what Init gets.
	Config map[string]string
	// HostAPIID is the broker id under which the host serves its API; 0 for none.
	HostAPIID uint32
}

// CallRequest is the argument of Plugin.Call.
type CallRequest struct {
	// Function is the function's name.
	Function string
	// Args is JSON; often empty.
	Args json.RawMessage
	// CallToken identifies this call in requests to the host.
	CallToken string
}

// CallResponse is the reply of Plugin.Call. An empty Error means success.
type CallResponse struct {
	// Result is what the function returned, JSON.
	Result json.RawMessage
	// Error is the text of the function's error.
	Error string
}

// HostAPIRPCRequest is the argument of the host's Plugin.Call.
type HostAPIRPCRequest struct {
	// Method is the wire name, as db_query.
	Method string `json:"method"`
	// Args is a JSON object.
	Args json.RawMessage `json:"args"`
	// CallerPlugin is informational: the host knows who is at the other end of the connection.
	CallerPlugin string `json:"caller_plugin"`
	// CallToken ties the request to a call; empty outside of one.
	CallToken string `json:"call_token,omitempty"`
}

// HostAPIRPCResponse is the reply of the host's Plugin.Call. An empty Error means success.
type HostAPIRPCResponse struct {
	// Result is JSON.
	Result json.RawMessage `json:"result"`
	// Error is the text of the host's error.
	Error string `json:"error"`
}

// ContextWithCallToken returns a context that ties host API requests to the call with that token. The token goes back to
// the host as it came: what stands in it is the host's.
func ContextWithCallToken(ctx context.Context, token string) context.Context {
	return calltoken.With(ctx, token)
}

// CallTokenFromContext returns the token of the call that ctx belongs to, or "".
func CallTokenFromContext(ctx context.Context) string {
	return calltoken.From(ctx)
}
