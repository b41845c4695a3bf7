// Package host is a host on HashiCorp's go-plugin alone.
package host

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os/exec"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/contract"
)

// The messages of the newest generation; gob drops what older ones do not have.
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
	HostAPIRequest struct {
		Method       string          `json:"method"`
		Args         json.RawMessage `json:"args"`
		CallerPlugin string          `json:"caller_plugin"`
		CallToken    string          `json:"call_token"`
	}
	HostAPIResponse struct {
		Result json.RawMessage
		Error  string
	}
)

// firstGeneration is the part of a gob registration that is reported.
type firstGeneration struct {
	Name, Version, Description string
	Routes                     []struct {
		Method, Path, Handler string
		Middleware            []string
	}
	Widgets []struct {
		ID, Title, Handler, Location, Size string
	}
}

// Plugin is a running plugin.
type Plugin struct {
	process *plugin.Client
	client  *rpc.Client
	broker  *plugin.MuxBroker
}

// Start launches the program, shakes hands and dispenses the plugin. Logging is silenced, as a host that cares for
// its speed would do.
func Start(path string, stdout, stderr io.Writer) (*Plugin, error) {
	return StartChecked(path, nil, stdout, stderr)
}

// StartChecked is Start of a program that must have this SHA-256, if one is given.
func StartChecked(path string, sum []byte, stdout, stderr io.Writer) (*Plugin, error) {
	var secure *plugin.SecureConfig
	if sum != nil {
		secure = &plugin.SecureConfig{Checksum: sum, Hash: sha256.New()}
	}
	process := plugin.NewClient(&plugin.ClientConfig{
		SecureConfig:     secure,
		HandshakeConfig:  contract.Handshake,
		Plugins:          plugin.PluginSet{contract.Key: dispensed{}},
		Cmd:              exec.Command(path),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolNetRPC},
		Logger:           hclog.NewNullLogger(),
		StartTimeout:     2 * time.Minute,
		SyncStdout:       stdout,
		SyncStderr:       stdout,
		Stderr:           stderr,
	})
	protocol, err := process.Client()
	if err != nil {
		process.Kill()
		return nil, fmt.Errorf("start: %w", err)
	}
	raw, err := protocol.Dispense(contract.Key)
	if err != nil {
		process.Kill()
		return nil, fmt.Errorf("dispense: %w", err)
	}
	p := raw.(*Plugin)
	p.process = process
	return p, nil
}

type dispensed struct{}

func (dispensed) Server(*plugin.MuxBroker) (interface{}, error) { return nil, errors.New("a host") }
func (dispensed) Client(broker *plugin.MuxBroker, client *rpc.Client) (interface{}, error) {
	return &Plugin{broker: broker, client: client}, nil
}

// Register asks for the registration. form is "json" or "gob".
func (p *Plugin) Register() (registration json.RawMessage, form string, err error) {
	var raw []byte
	err = p.client.Call("Plugin.GKRegister", new(interface{}), &raw)
	if err == nil {
		return raw, "json", nil
	}
	var remote rpc.ServerError
	if errors.As(err, &remote) || errors.Is(err, rpc.ErrShutdown) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, "", err
	}
	// The reply was no bytes, which ended this client. A plugin of the first generation answers the struct itself;
	// it is asked again on a stream of its own.
	protocol, err := p.process.Client()
	if err != nil {
		return nil, "", err
	}
	again, err := protocol.Dispense(contract.Key)
	if err != nil {
		return nil, "", fmt.Errorf("dispense: %w", err)
	}
	p.client = again.(*Plugin).client
	var decoded firstGeneration
	if err := p.client.Call("Plugin.GKRegister", new(interface{}), &decoded); err != nil {
		return nil, "", err
	}
	registration, err = json.Marshal(decoded)
	return registration, "gob", err
}

// Init initialises the plugin and serves api to it, if not nil.
func (p *Plugin) Init(config map[string]string, api any) error {
	request := InitRequest{Config: config}
	if api != nil {
		request.HostAPIID = p.broker.NextId()
		go p.broker.AcceptAndServe(request.HostAPIID, api)
	}
	var reply interface{}
	return p.client.Call("Plugin.Init", request, &reply)
}

// Call runs a function of the plugin.
func (p *Plugin) Call(function string, args []byte, token string) ([]byte, error) {
	var reply CallResponse
	request := CallRequest{Function: function, Args: args, CallToken: token}
	if err := p.client.Call("Plugin.Call", request, &reply); err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	if reply.Error != "" {
		return nil, errors.New(reply.Error)
	}
	return reply.Result, nil
}

// Shutdown lets the plugin clean up.
func (p *Plugin) Shutdown() error {
	var reply interface{}
	return p.client.Call("Plugin.Shutdown", new(interface{}), &reply)
}

// Ping asks whether the plugin is there.
func (p *Plugin) Ping() error {
	protocol, err := p.process.Client()
	if err != nil {
		return err
	}
	return protocol.Ping()
}

// Kill ends the process, gently first. Whether it has exited.
func (p *Plugin) Kill() bool {
	p.process.Kill()
	return p.process.Exited()
}
