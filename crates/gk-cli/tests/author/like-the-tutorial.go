package main

import (
	"encoding/json"
	"fmt"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

type MyPlugin struct{ settings map[string]string }

func (m *MyPlugin) GKRegister() (*plugin.GKRegistration, error) {
	route := plugin.RouteSpec{Method: "GET", Path: "/api/plugins/my-plugin/status", Handler: "get_status", Middleware: []string{"auth"}, Description: "State"}
	widget := plugin.WidgetSpec{ID: "my-widget", Title: "Mine", Handler: "render_widget", Location: "agent_home", Size: "medium"}
	return &plugin.GKRegistration{
		Name: "my-plugin", Version: "1.0.0", Description: "Mine", Author: "Somebody", License: "Apache-2.0",
		Routes: []plugin.RouteSpec{route}, Widgets: []plugin.WidgetSpec{widget},
	}, nil
}

func (m *MyPlugin) Init(settings map[string]string) error {
	m.settings = settings
	return nil
}

func (m *MyPlugin) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	if fn == "get_status" {
		return json.Marshal(map[string]any{"status": "running"})
	}
	if fn == "render_widget" {
		return json.Marshal(map[string]string{"html": "<p>Mine</p>"})
	}
	return nil, fmt.Errorf("unknown function: %s", fn)
}

func (m *MyPlugin) Shutdown() error { return nil }

func main() { grpcutil.ServePlugin(&MyPlugin{}) }
