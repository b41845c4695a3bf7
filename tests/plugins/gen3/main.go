// gen3 is a plugin of generation 3: as gen2, and the token of a call goes back with host requests.
package main

import (
	"encoding/json"
	"fmt"
	"net/rpc"
	"os"
	"path/filepath"
	"sync"
	"time"

	plugin "github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/behave"
	"example.org/goatkit/testplugins/internal/contract"
)

type (
	InitRequest struct {
		Config    map[string]string
		HostAPIID uint32
	}
	CallRequest struct {
		Function  string
		Args      json.RawMessage
		CallToken string
	}
	CallResponse struct {
		Result json.RawMessage
		Error  string
	}
	HostAPIRPCRequest struct {
		Method       string
		Args         json.RawMessage
		CallerPlugin string
		CallToken    string
	}
	HostAPIRPCResponse struct {
		Result json.RawMessage
		Error  string
	}
)

type server struct {
	broker *plugin.MuxBroker
	config map[string]string
	hostID uint32
	mu     sync.Mutex
	host   *rpc.Client
}

func (s *server) GKRegister(_ interface{}, reply *[]byte) error {
	name := contract.Name()
	registration, err := json.Marshal(map[string]any{
		"name":        name,
		"version":     "1.0.0",
		"description": "Reference plugin of generation 3",
		"author":      "",
		"license":     "",
		"homepage":    "",
		"routes": []map[string]any{{
			"method": "GET", "path": "/api/plugins/" + name + "/status", "handler": "get_status",
			"middleware": []string{"auth"}, "description": "Get plugin status",
		}, {
			"method": "POST", "path": "/api/plugins/" + name + "/echo/:id", "handler": "echo",
			"middleware": []string{"auth"}, "description": "Answers what the host made of the request",
		}, {
			"method": "GET", "path": "/api/plugins/" + name + "/public", "handler": "echo",
			"description": "The same, for everybody",
		}, {
			"method": "POST", "path": "/api/plugins/" + name + "/form", "handler": "echo",
			"description": "The same, of a body",
		}, {
			"method": "GET", "path": "/api/plugins/" + name + "/large", "handler": "large",
			"description": "As many mebibytes as ?mb= says",
		}, {
			"method": "POST", "path": "/api/plugins/" + name + "/once", "handler": "die_once",
			"description": "Ends the process when it is asked for the first time",
		}, {
			"method": "POST", "path": "/api/plugins/" + name + "/twice", "handler": "die_once", "idempotent": true,
			"description": "The same, and may be asked twice",
		}, {
			"method": "GET", "path": "/api/plugins/" + name + "/read", "handler": "die_once",
			"description": "The same, and changes nothing",
		}},
		"widgets": []map[string]any{{
			"id": "my-widget", "title": "My Widget", "handler": "render_widget", "location": "agent_home", "size": "medium",
		}},
		// Enabled by the test that wants it.
		"jobs": []map[string]any{{
			"id": "note", "handler": "note", "schedule": "@hourly", "description": "Notes down that it ran",
			"jitter": "0s", "timeout": "100s",
		}},
	})
	*reply = registration
	return err
}

func (s *server) Init(request InitRequest, _ *interface{}) error {
	s.config, s.hostID = request.Config, request.HostAPIID
	if text := s.config["init_delay"]; text != "" {
		delay, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		time.Sleep(delay)
	}
	if s.config["dial"] == "late" {
		return nil
	}
	return s.dial()
}

// note appends the arguments of a job to the file jobs.log of the work directory. It waits while there is a file jobs.hold, and
// fails where there is a file jobs.fail.
func (s *server) note(request CallRequest) ([]byte, error) {
	inside := func(name string) string { return filepath.Join(s.config["work_dir"], name) }
	file, err := os.OpenFile(inside("jobs.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := fmt.Fprintf(file, "%s\n", request.Args); err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(inside("jobs.hold")); err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := os.Stat(inside("jobs.fail")); err == nil {
		return nil, fmt.Errorf("there is no disk")
	}
	return json.Marshal(map[string]any{"pid": os.Getpid()})
}

// dial connects to the host API: in Init, or with the configuration dial=late when it is first needed.
func (s *server) dial() error {
	conn, err := s.broker.Dial(s.hostID)
	if err != nil {
		return fmt.Errorf("host API %d: %w", s.hostID, err)
	}
	s.host = rpc.NewClient(conn)
	return nil
}

func (s *server) Call(request CallRequest, reply *CallResponse) error {
	result, err := s.run(request)
	if err != nil {
		reply.Error = err.Error()
		return nil
	}
	reply.Result = result
	return nil
}

func (s *server) run(request CallRequest) ([]byte, error) {
	switch request.Function {
	case "ask_host":
		return s.ask(request)
	case "announce":
		return s.announce(request)
	case "token":
		return json.Marshal(request.CallToken)
	case "note":
		return s.note(request)
	case "die_once":
		mark := filepath.Join(s.config["work_dir"], "died")
		if _, err := os.Stat(mark); err != nil {
			if err := os.WriteFile(mark, nil, 0o600); err != nil {
				return nil, err
			}
			os.Exit(3)
		}
		return []byte(`{"asked":"again"}`), os.Remove(mark)
	}
	return behave.Call(request.Function, request.Args, s.config)
}

// announce tells the listeners of the channel "versions" which version this is, and answers it.
func (s *server) announce(request CallRequest) ([]byte, error) {
	version, err := json.Marshal(behave.Version)
	if err != nil {
		return nil, err
	}
	event, err := json.Marshal(map[string]any{
		"channel": "versions", "event_type": "version", "data": map[string]string{"version": behave.Version},
	})
	if err != nil {
		return nil, err
	}
	question, err := json.Marshal(map[string]any{
		"method": "publish_event", "args": json.RawMessage(event), "call_token": request.CallToken,
	})
	if err != nil {
		return nil, err
	}
	request.Args = question
	if _, err := s.ask(request); err != nil {
		return nil, err
	}
	return version, nil
}

// ask asks the host, and answers what that does.
func (s *server) ask(request CallRequest) ([]byte, error) {
	// {"method": "…", "args": …, "call_token": "…"}; by default the time, with the call's own token.
	question := struct {
		Method    string          `json:"method"`
		Args      json.RawMessage `json:"args"`
		CallToken string          `json:"call_token"`
	}{Method: "time_now", Args: json.RawMessage("{}"), CallToken: request.CallToken}
	if len(request.Args) > 0 {
		if err := json.Unmarshal(request.Args, &question); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	if s.host == nil {
		if err := s.dial(); err != nil {
			s.mu.Unlock()
			return nil, err
		}
	}
	s.mu.Unlock()
	var answer HostAPIRPCResponse
	ask := HostAPIRPCRequest{Method: question.Method, Args: question.Args, CallerPlugin: contract.Name(), CallToken: question.CallToken}
	if err := s.host.Call("Plugin.Call", ask, &answer); err != nil {
		return nil, fmt.Errorf("host rpc: %w", err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("host: %s", answer.Error)
	}
	return answer.Result, nil
}

func (s *server) Shutdown(_ interface{}, _ *interface{}) error { return nil }

type served struct{}

func (served) Server(broker *plugin.MuxBroker) (interface{}, error) {
	return &server{broker: broker}, nil
}
func (served) Client(*plugin.MuxBroker, *rpc.Client) (interface{}, error) { return nil, nil }

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: contract.Handshake,
		Plugins:         plugin.PluginSet{contract.Key: served{}},
	})
}
