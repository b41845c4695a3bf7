// Package plugins proves that the reference programs do what they promise, under HashiCorp's own host: a program that
// no longer misbehaves would let every test of ours pass.
package plugins

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "reference-programs-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		bin = dir
		build := exec.Command("go", "build", "-o", dir+"/", "./gen1", "./gen2", "./gen3", "./misbehave", "./gohost", "./gobench", "./escape", "./harmless")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			panic("go build: " + err.Error() + "\n" + string(output))
		}
		return m.Run()
	}())
}

type report struct {
	Error string          `json:"error"`
	Form  string          `json:"registration_form"`
	Reg   json.RawMessage `json:"registration"`
	Calls []struct {
		Function, Error string
		Result          json.RawMessage
	}
	Parallel  int `json:"parallel_ok"`
	HostCalls []struct {
		Method string `json:"method"`
		Token  string `json:"call_token"`
	} `json:"host_calls"`
	Shutdown, Exited bool
	Stdout, Stderr   string
}

func host(t *testing.T, args ...string) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// What plugins leave behind goes with it. A short name: a socket's path has at most 107 bytes.
	temp, err := os.MkdirTemp("", "r-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	command := exec.CommandContext(ctx, filepath.Join(bin, "gohost"), args...)
	command.Env = append(os.Environ(), "TMPDIR="+temp)
	// The exit code repeats what the report says.
	output, _ := command.Output()
	var r report
	if err := json.Unmarshal(output, &r); err != nil {
		t.Fatalf("gohost %s: no report: %v\n%s", args, err, output)
	}
	return r
}

func TestGenerations(t *testing.T) {
	for _, test := range []struct{ name, form, token string }{
		{"gen1", "gob", "none"}, {"gen2", "json", ""}, {"gen3", "json", "t0"},
	} {
		r := host(t, "-token", "t0", "-parallel", "20", "-call", `echo:{"a":1}`, "-call", "fail", "-call", `sleep:{"ms":1}`,
			"-call", "print", "-call", "ask_host", filepath.Join(bin, test.name))
		if r.Error != "" || r.Form != test.form || !r.Shutdown || !r.Exited || r.Parallel != 20 {
			t.Errorf("%s: %+v", test.name, r)
			continue
		}
		if !strings.Contains(strings.ToLower(string(r.Reg)), `"`+test.name+`"`) {
			t.Errorf("%s registers %s", test.name, r.Reg)
		}
		if r.Calls[0].Error != "" || r.Calls[1].Error != "this function always fails" || r.Calls[2].Error != "" {
			t.Errorf("%s: calls %+v", test.name, r.Calls)
		}
		if !strings.Contains(r.Stdout, "a line on stdout\n") || !strings.Contains(r.Stderr, `"@message":"a structured line"`) {
			t.Errorf("%s prints %q, %q", test.name, r.Stdout, r.Stderr)
		}
		if test.token == "none" {
			continue
		}
		if r.Calls[4].Error != "" || len(r.HostCalls) != 1 || r.HostCalls[0].Method != "time_now" || r.HostCalls[0].Token != test.token {
			t.Errorf("%s: host calls %+v, %+v", test.name, r.HostCalls, r.Calls[4])
		}
	}
}

// TestMisbehaviour covers every mode that HashiCorp's host survives without waiting for a timeout. It does not survive
// bad-hclog (it panics), nor stdout-flood and stderr-flood (it stops reading, and the plugin waits for ever).
func TestMisbehaviour(t *testing.T) {
	for mode, want := range map[string]string{
		"banner":               "start: Unrecognized remote plugin message: Welcome",
		"blank-line":           "start: Unrecognized remote plugin message",
		"wrong-cookie":         "start: Unrecognized remote plugin message",
		"wrong-app-version":    "start: incompatible API version",
		"wrong-core-version":   "start: incompatible core API version",
		"grpc-handshake":       `start: unsupported plugin protocol "grpc"`,
		"unknown-protocol":     "start: unsupported plugin protocol",
		"unasked-cert":         "start: error parsing server cert",
		"short-handshake":      "start: Unrecognized remote plugin message",
		"dotdot-path":          "start: dial unix",
		"other-path":           "start: dial unix /run/other.sock",
		"relative-path":        "start: dial unix plugin.sock",
		"no-socket":            "start: dial unix",
		"close-at-once":        "dispense: |start: session shutdown|start: write unix",
		"exit-0":               "start: Unrecognized remote plugin message",
		"exit-1":               "start: Unrecognized remote plugin message",
		"crash-register":       "GKRegister: unexpected EOF",
		"fail-register":        "GKRegister: the licence has expired",
		"crash-init":           "Init: unexpected EOF",
		"fail-init":            "Init: the licence has expired",
		"panic-init":           "Init: unexpected EOF",
		"crash-call":           "call: rpc: unexpected EOF",
		"panic-call":           "call: rpc: unexpected EOF",
		"exit-during-call":     "call: rpc: unexpected EOF",
		"crash-shutdown":       "Shutdown: unexpected EOF",
		"garbage-gob":          "dispense: gob: ",
		"garbage-gob-register": "GKRegister: gob: ",
		"garbage-gob-call":     "call: rpc: gob: ",
		"huge-frame":           "dispense: ",
		"bad-yamux-version":    "dispense: ",
		"name-mismatch":        "",
		"invalid-name":         "",
		"invalid-route":        "",
		"unknown-middleware":   "",
		"reserved-route":       "",
		"foreign-route":        "",
		"stream-flood":         "",
		"socket-link":          "dispense: ",
		"socket-file":          "start: dial unix",
		"double-answer":        "",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), mode)
			if err := os.Link(filepath.Join(bin, "misbehave"), path); err != nil {
				t.Fatal(err)
			}
			// What HashiCorp's host says of a plugin that ends depends on which of its own goroutines
			// notices first; that the plugin misbehaves as it should shows in one of a few runs.
			as := func(got string) bool {
				return slices.ContainsFunc(strings.Split(want, "|"), func(one string) bool {
					return one == "" && got == "" || one != "" && strings.HasPrefix(got, one)
				})
			}
			var got string
			for range 5 {
				r := host(t, "-call", "echo:1", path)
				got = r.Error
				if len(r.Calls) > 0 && r.Calls[0].Error != "" {
					got = "call: " + r.Calls[0].Error
				}
				if as(got) {
					return
				}
			}
			t.Errorf("got %q, want %q", got, want)
		})
	}
}

func TestModeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "some-plugin")
	if err := os.Link(filepath.Join(bin, "misbehave"), path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mode"), []byte("fail-init\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := host(t, path); r.Error != "Init: the licence has expired" {
		t.Errorf("got %q", r.Error)
	}
}

func TestBench(t *testing.T) {
	output, err := exec.Command(filepath.Join(bin, "gobench"), "-plugin", filepath.Join(bin, "gen2"), "-calls", "50", "-callers", "1,4").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), output)
	}
	for _, line := range lines {
		var row map[string]float64
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if row["calls"] != 50 || row["p50_us"] <= 0 || row["p99_us"] < row["p50_us"] || row["rss_kb"] <= 0 || row["spawn_ms"] <= 0 {
			t.Errorf("%s", line)
		}
	}
}
