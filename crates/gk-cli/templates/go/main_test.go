package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestFunctions(t *testing.T) {
	p := &MyPlugin{}
	if err := p.Init(map[string]string{"host_version": "test"}); err != nil {
		t.Fatal(err)
	}
	for fn, want := range map[string]string{"get_status": `"status":"running"`, "render_widget": `"html":`} {
		result, err := p.Call(fn, json.RawMessage(`{}`))
		if err != nil || !strings.Contains(string(result), want) {
			t.Errorf("%s: got %s, %v; want %s", fn, result, err, want)
		}
	}
	if _, err := p.Call("nothing", nil); err == nil {
		t.Error("an unknown function is no error")
	}
	if err := p.Shutdown(); err != nil {
		t.Error(err)
	}
}

// The host refuses a plugin whose plugin.yaml says something else than its registration.
func TestManifestAgreesWithRegistration(t *testing.T) {
	manifest, err := os.ReadFile("plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	registration, err := (&MyPlugin{}).GKRegister()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"name: " + registration.Name, `version: "` + registration.Version + `"`} {
		if !strings.Contains("\n"+string(manifest), "\n"+line+"\n") {
			t.Errorf("plugin.yaml has no line %s", line)
		}
	}
}
