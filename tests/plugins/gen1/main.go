// gen1 is a plugin of the first generation: GKRegister answers a gob struct, and there is no host API.
package main

import (
	"net/rpc"

	plugin "github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/behave"
	"example.org/goatkit/testplugins/internal/contract"
)

// The types have the fields of the first contract only, in its order.
type (
	GKRegistration struct {
		Name           string
		Version        string
		Description    string
		Author         string
		License        string
		Homepage       string
		Routes         []RouteSpec
		MenuItems      []MenuItemSpec
		Widgets        []WidgetSpec
		Jobs           []JobSpec
		Templates      []TemplateSpec
		I18n           *I18nSpec
		ErrorCodes     []ErrorCodeSpec
		MinHostVersion string
		Permissions    []string
		Resources      *ResourceRequest
	}
	RouteSpec struct {
		Method, Path, Handler string
		Middleware            []string
		Description           string
	}
	MenuItemSpec struct {
		ID, Label, Icon, Path, Location, Parent string
		Order                                   int
		Children                                []MenuItemSpec
	}
	WidgetSpec struct {
		ID, Title, Description, Handler, Location, Size string
		Order                                           int
		Refreshable                                     bool
		RefreshSec                                      int
	}
	JobSpec struct {
		ID, Handler, Schedule, Description string
		Enabled                            bool
		Timeout                            string
	}
	TemplateSpec struct {
		Name, Path string
		Override   bool
	}
	I18nSpec struct {
		Namespace    string
		Languages    []string
		Translations map[string]map[string]string
	}
	ErrorCodeSpec struct {
		Code, Message string
		HTTPStatus    int
	}
	ResourceRequest struct {
		MemoryMB                                  int
		CallTimeout, InitTimeout, ShutdownTimeout string
		Permissions                               []Permission
	}
	Permission struct {
		Type, Access string
		Scope        []string
	}
	InitRequest struct {
		Config    map[string]string
		HostAPIID uint32
	}
	CallRequest struct {
		Function string
		Args     []byte
	}
	CallResponse struct {
		Result []byte
		Error  string
	}
)

type server struct {
	config map[string]string
}

func (s *server) GKRegister(_ interface{}, reply *GKRegistration) error {
	name := contract.Name()
	*reply = GKRegistration{
		Name:        name,
		Version:     "1.0.0",
		Description: "Reference plugin of the first generation",
		Routes: []RouteSpec{{
			Method: "GET", Path: "/api/plugins/" + name + "/status", Handler: "get_status",
			Middleware: []string{"auth"}, Description: "Get plugin status",
		}},
		MenuItems: []MenuItemSpec{{
			ID: "menu", Label: "Menu", Path: "/m", Location: "agent", Order: 2,
			Children: []MenuItemSpec{{ID: "child", Label: "Child", Path: "/m/c", Location: "agent"}},
		}},
		Widgets: []WidgetSpec{{
			ID: "my-widget", Title: "My Widget", Handler: "render_widget", Location: "agent_home", Size: "medium",
			Refreshable: true, RefreshSec: 30,
		}},
		Jobs:       []JobSpec{{ID: "job", Handler: "echo", Schedule: "@hourly", Timeout: "5m"}},
		I18n:       &I18nSpec{Languages: []string{"de"}, Translations: map[string]map[string]string{"de": {"hello": "Hallo"}}},
		ErrorCodes: []ErrorCodeSpec{{Code: "teapot", Message: "I am a teapot", HTTPStatus: 418}},
		Resources: &ResourceRequest{
			MemoryMB: 64, CallTimeout: "30s",
			Permissions: []Permission{{Type: "db", Access: "read", Scope: []string{"tickets"}}},
		},
	}
	return nil
}

func (s *server) Init(request InitRequest, _ *interface{}) error {
	s.config = request.Config
	return nil
}

func (s *server) Call(request CallRequest, reply *CallResponse) error {
	result, err := behave.Call(request.Function, request.Args, s.config)
	if err != nil {
		reply.Error = err.Error()
		return nil
	}
	reply.Result = result
	return nil
}

func (s *server) Shutdown(_ interface{}, _ *interface{}) error { return nil }

type served struct{}

func (served) Server(*plugin.MuxBroker) (interface{}, error)              { return &server{}, nil }
func (served) Client(*plugin.MuxBroker, *rpc.Client) (interface{}, error) { return nil, nil }

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: contract.Handshake,
		Plugins:         plugin.PluginSet{contract.Key: served{}},
	})
}
