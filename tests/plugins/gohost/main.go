// gohost takes a plugin through its whole life and prints a JSON report: what a host on HashiCorp's go-plugin sees.
//
//	gohost [-config key=value]... [-token T] [-call 'function[:json]']... [-parallel N] PLUGIN
//
// Without -call it calls echo, fail and ask_host. -parallel calls echo N times at once as well. It exits with 1 when
// a step failed that must not; errors of calls are part of the report.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"example.org/goatkit/testplugins/internal/host"
)

type report struct {
	Error        string                `json:"error,omitempty"`
	Ping         bool                  `json:"ping"`
	Registration json.RawMessage       `json:"registration"`
	Form         string                `json:"registration_form"`
	Init         bool                  `json:"init"`
	Calls        []call                `json:"calls"`
	Parallel     int                   `json:"parallel_ok"`
	HostCalls    []host.HostAPIRequest `json:"host_calls"`
	Shutdown     bool                  `json:"shutdown"`
	Exited       bool                  `json:"exited"`
	Stdout       string                `json:"stdout"`
	Stderr       string                `json:"stderr"`
}

type call struct {
	Function string          `json:"function"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

type repeated []string

func (r *repeated) String() string         { return strings.Join(*r, " ") }
func (r *repeated) Set(value string) error { *r = append(*r, value); return nil }

// api is the host API that the plugin finds.
type api struct {
	mu    sync.Mutex
	calls []host.HostAPIRequest
}

func (a *api) Call(request host.HostAPIRequest, reply *host.HostAPIResponse) error {
	if len(request.Args) == 0 {
		request.Args = json.RawMessage("null")
	}
	a.mu.Lock()
	a.calls = append(a.calls, request)
	a.mu.Unlock()
	switch request.Method {
	case "time_now":
		reply.Result, _ = json.Marshal(map[string]string{"now": time.Now().Format(time.RFC3339Nano)})
	case "config_get":
		reply.Result = json.RawMessage(`{"value":"gohost"}`)
	case "log":
		reply.Result = json.RawMessage(`{"ok":true}`)
	case "db_query":
		reply.Result = json.RawMessage(`[{"count":7}]`)
	default:
		reply.Error = "unknown host API method: " + request.Method
	}
	return nil
}

// buffer is a bytes.Buffer that go-plugin's goroutines may write to.
type buffer struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.String()
}

func main() {
	var configs, calls repeated
	flag.Var(&configs, "config", "key=value for Init")
	flag.Var(&calls, "call", "function[:json] to call")
	token := flag.String("token", "0123456789abcdef0123456789abcdef", "call token")
	parallel := flag.Int("parallel", 0, "echo calls to make at once")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: gohost [flags] PLUGIN")
		os.Exit(2)
	}
	if len(calls) == 0 {
		calls = repeated{`echo:{"a":[1,"x",null]}`, "fail", "ask_host"}
	}
	config := map[string]string{"host_version": "0.0.0", "plugin_name": "under-test"}
	for _, pair := range configs {
		key, value, _ := strings.Cut(pair, "=")
		config[key] = value
	}
	var stdout, stderr buffer
	result := report{Calls: []call{}}
	hostAPI := &api{calls: []host.HostAPIRequest{}}
	err := run(flag.Arg(0), &result, hostAPI, config, calls, *token, *parallel, &stdout, &stderr)
	if err != nil {
		result.Error = err.Error()
	}
	result.HostCalls = hostAPI.calls
	result.Stdout, result.Stderr = stdout.String(), stderr.String()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err != nil {
		os.Exit(1)
	}
}

func run(path string, result *report, hostAPI *api, config map[string]string, calls []string, token string, parallel int, stdout, stderr *buffer) error {
	p, err := host.Start(path, stdout, stderr)
	if err != nil {
		return err
	}
	defer func() { result.Exited = p.Kill() }()
	if err := p.Ping(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	result.Ping = true
	if result.Registration, result.Form, err = p.Register(); err != nil {
		return fmt.Errorf("GKRegister: %w", err)
	}
	if err := p.Init(config, hostAPI); err != nil {
		return fmt.Errorf("Init: %w", err)
	}
	result.Init = true
	for _, text := range calls {
		function, args, _ := strings.Cut(text, ":")
		answer, err := p.Call(function, []byte(args), token)
		made := call{Function: function}
		if err != nil {
			made.Error = err.Error()
		} else if json.Valid(answer) {
			made.Result = answer
		} else {
			made.Result, _ = json.Marshal(string(answer))
		}
		result.Calls = append(result.Calls, made)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	for i := range parallel {
		group.Add(1)
		go func() {
			defer group.Done()
			args := fmt.Sprintf(`{"n":%d}`, i)
			if answer, err := p.Call("echo", []byte(args), token); err == nil && string(answer) == args {
				mu.Lock()
				result.Parallel++
				mu.Unlock()
			}
		}()
	}
	group.Wait()
	if err := p.Shutdown(); err != nil {
		return fmt.Errorf("Shutdown: %w", err)
	}
	result.Shutdown = true
	return nil
}
