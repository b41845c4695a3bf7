package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	hclog "github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
	"github.com/goatkit/goatflow/pkg/plugin/plugintest"
)

func TestFunctions(t *testing.T) {
	p := plugintest.NewHost(t).Start(Hello{})
	ctx := context.Background()
	for _, test := range []struct{ fn, args, want string }{
		{"get_status", ``, `{"status":"running","version":"1.0.0"}`},
		{"echo", `{"a": 1}`, `{"a": 1}`},
	} {
		result, err := p.Call(ctx, test.fn, json.RawMessage(test.args))
		if err != nil || result.String() != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.fn, result, err, test.want)
		}
	}
	if _, err := p.Call(ctx, "nope", nil); err == nil || err.Error() != "unknown function: nope" {
		t.Errorf("an unknown function: %v", err)
	}
}

func TestRouteAndWidget(t *testing.T) {
	p := plugintest.NewHost(t).Start(Hello{})
	const path = "/api/plugins/hello-go/status"
	result, err := p.Route("GET", path, plugintest.AsUser(plugintest.Customer))
	if err != nil || result.Status() != 200 || result.String() != `{"status":"running","version":"1.0.0"}` {
		t.Errorf("the route: %s, %v", result, err)
	}
	var refused *plugintest.RouteError
	if _, err := p.Route("GET", path); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("the route without a user: %v", err)
	}
	widget, err := p.Widget("my-widget")
	if err != nil || widget.HTML() != "<p>A native Go process says hello.</p>" {
		t.Errorf("the widget: %s, %v", widget, err)
	}
}

func TestManifestAgreesWithRegistration(t *testing.T) {
	manifest, err := os.ReadFile("plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	registration, err := Hello{}.GKRegister()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"name: " + registration.Name, `version: "` + registration.Version + `"`, "runtime: grpc"} {
		if !strings.Contains(string(manifest), line+"\n") {
			t.Errorf("plugin.yaml lacks %s", line)
		}
	}
}

// TestProcess builds the plugin and calls it as a host does.
func TestProcess(t *testing.T) {
	binary := filepath.Join(t.TempDir(), name)
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: grpcutil.Handshake,
		Plugins:         goplugin.PluginSet{grpcutil.PluginKey: &grpcutil.GKPluginPlugin{}},
		Cmd:             exec.Command(binary),
		Logger:          hclog.NewNullLogger(),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	dispensed, err := protocol.Dispense(grpcutil.PluginKey)
	if err != nil {
		t.Fatal(err)
	}
	hello := dispensed.(*grpcutil.GKPluginRPCClient)
	registration, err := hello.GKRegister()
	if err != nil || registration.Name != name {
		t.Fatalf("GKRegister: %+v, %v", registration, err)
	}
	if err := hello.Init(map[string]string{"host_version": "test"}); err != nil {
		t.Fatal(err)
	}
	if result, err := hello.Call("get_status", nil); err != nil || string(result) != `{"status":"running","version":"1.0.0"}` {
		t.Fatalf("get_status: %s, %v", result, err)
	}
	if err := hello.Shutdown(); err != nil {
		t.Fatal(err)
	}
}
