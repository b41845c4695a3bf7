// Package serve serves functions as a plugin of generation 3, on HashiCorp's go-plugin alone.
package serve

import (
	"encoding/json"
	"fmt"
	"net/rpc"

	plugin "github.com/hashicorp/go-plugin"

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

// Call is what a function gets: its arguments, what Init was given, and the host.
type Call struct {
	Args   json.RawMessage
	Config map[string]string
	token  string
	host   *rpc.Client
}

// Host asks the host API for a method.
func (c *Call) Host(method string, args any) (json.RawMessage, error) {
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	var answer HostAPIRPCResponse
	ask := HostAPIRPCRequest{Method: method, Args: encoded, CallerPlugin: contract.Name(), CallToken: c.token}
	if err := c.host.Call("Plugin.Call", ask, &answer); err != nil {
		return nil, fmt.Errorf("host rpc: %w", err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("host: %s", answer.Error)
	}
	return answer.Result, nil
}

// Function is a function of a plugin; its result is answered as JSON.
type Function func(*Call) (any, error)

type server struct {
	broker    *plugin.MuxBroker
	functions map[string]Function
	config    map[string]string
	host      *rpc.Client
}

func (s *server) GKRegister(_ interface{}, reply *[]byte) error {
	var err error
	*reply, err = json.Marshal(map[string]any{"name": contract.Name(), "version": "1.0.0"})
	return err
}

func (s *server) Init(request InitRequest, _ *interface{}) error {
	s.config = request.Config
	conn, err := s.broker.Dial(request.HostAPIID)
	if err != nil {
		return fmt.Errorf("host API %d: %w", request.HostAPIID, err)
	}
	s.host = rpc.NewClient(conn)
	return nil
}

func (s *server) Call(request CallRequest, reply *CallResponse) error {
	function, known := s.functions[request.Function]
	if !known {
		reply.Error = "unknown function: " + request.Function
		return nil
	}
	result, err := function(&Call{Args: request.Args, Config: s.config, token: request.CallToken, host: s.host})
	if err == nil {
		reply.Result, err = json.Marshal(result)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	return nil
}

func (s *server) Shutdown(_ interface{}, _ *interface{}) error { return nil }

type served map[string]Function

func (s served) Server(broker *plugin.MuxBroker) (interface{}, error) {
	return &server{broker: broker, functions: s}, nil
}
func (served) Client(*plugin.MuxBroker, *rpc.Client) (interface{}, error) { return nil, nil }

// Functions serves them until the host ends this process.
func Functions(functions map[string]Function) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: contract.Handshake,
		Plugins:         plugin.PluginSet{contract.Key: served(functions)},
	})
}
