package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	hclog "github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

func TestFunctions(t *testing.T) {
	for _, test := range []struct{ fn, args, want string }{
		{"get_status", ``, `{"status":"running","version":"1.0.0"}`},
		{"render_widget", `{}`, `{"html":"\u003cp\u003eA native Go process says hello.\u003c/p\u003e"}`},
		{"echo", `{"a": 1}`, `{"a": 1}`},
	} {
		result, err := Hello{}.Call(test.fn, []byte(test.args))
		if err != nil || string(result) != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.fn, result, err, test.want)
		}
	}
	if _, err := (Hello{}).Call("nope", nil); err == nil {
		t.Error("an unknown function is no error")
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
