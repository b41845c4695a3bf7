// {{name}} is a GoatKit plugin: a program that the host starts and calls.
package main

import (
	"encoding/json"
	"fmt"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

// Both stand in plugin.yaml, too; main_test.go compares them.
const (
	pluginName    = "{{name}}"
	pluginVersion = "1.0.0"
)

// MyPlugin is the plugin. The host calls its methods from many goroutines at the same time.
type MyPlugin struct {
	config map[string]string
}

// GKRegister says what the plugin adds to the host: routes, widgets, and more.
func (p *MyPlugin) GKRegister() (*plugin.GKRegistration, error) {
	return &plugin.GKRegistration{
		Name:        pluginName,
		Version:     pluginVersion,
		Description: "A route and a widget",
		License:     "Apache-2.0",
		Routes: []plugin.RouteSpec{{
			Method:      "GET",
			Path:        "/api/plugins/" + pluginName + "/status",
			Handler:     "get_status",
			Middleware:  []string{"auth"},
			Description: "Whether the plugin runs, and which version",
		}},
		Widgets: []plugin.WidgetSpec{{
			ID:       "my-widget",
			Title:    "{{title}}",
			Handler:  "render_widget",
			Location: "agent_home",
			Size:     "medium",
		}},
	}, nil
}

// Init is called once, before any function. For the host's database, cache and other services, implement
// InitWithHost as well: see sdk/README.md.
func (p *MyPlugin) Init(config map[string]string) error {
	p.config = config
	fmt.Println(pluginName, "is ready")
	return nil
}

// Call runs one function. Its name is a Handler of GKRegister, its arguments are JSON, and so is its result.
func (p *MyPlugin) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	switch fn {
	case "get_status":
		return json.Marshal(map[string]string{"status": "running", "version": pluginVersion})
	case "render_widget":
		return json.Marshal(map[string]string{
			"html": `<div class="text-center p-4"><h3>{{title}}</h3><p>A native Go process renders this.</p></div>`,
		})
	default:
		return nil, fmt.Errorf("unknown function: %s", fn)
	}
}

// Shutdown is called before the process ends.
func (p *MyPlugin) Shutdown() error {
	fmt.Println(pluginName, "ends")
	return nil
}

func main() {
	grpcutil.ServePlugin(&MyPlugin{})
}
