// hello-go is the smallest useful plugin: one route, one widget, one function that answers its arguments.
package main

import (
	"encoding/json"
	"fmt"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

const (
	name    = "hello-go"
	version = "1.0.0"
)

// Hello is the plugin. It keeps no state.
type Hello struct{}

// GKRegister says what the plugin adds to the host.
func (Hello) GKRegister() (*plugin.GKRegistration, error) {
	return &plugin.GKRegistration{
		Name:        name,
		Version:     version,
		Description: "A route, a widget and an echo function, in Go",
		License:     "MIT OR Apache-2.0",
		Routes: []plugin.RouteSpec{{
			Method:      "GET",
			Path:        "/api/plugins/" + name + "/status",
			Handler:     "get_status",
			Middleware:  []string{"auth"},
			Description: "Whether the plugin runs, and which version",
		}},
		Widgets: []plugin.WidgetSpec{{
			ID:       "my-widget",
			Title:    "Hello from Go",
			Handler:  "render_widget",
			Location: "agent_home",
			Size:     "medium",
		}},
	}, nil
}

// Init is called once; what is printed ends up in the plugin's log.
func (Hello) Init(config map[string]string) error {
	fmt.Printf("%s %s on host %s\n", name, version, config["host_version"])
	return nil
}

// Call runs a function for the host.
func (Hello) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	switch fn {
	case "get_status":
		return json.RawMessage(`{"status":"running","version":"` + version + `"}`), nil
	case "render_widget":
		return json.Marshal(map[string]string{"html": "<p>A native Go process says hello.</p>"})
	case "echo":
		return args, nil
	default:
		return nil, fmt.Errorf("unknown function: %s", fn)
	}
}

// Shutdown is called before the process ends.
func (Hello) Shutdown() error {
	fmt.Println(name, "is done")
	return nil
}

func main() {
	grpcutil.ServePlugin(Hello{})
}
