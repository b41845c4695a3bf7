package main

import (
	"encoding/json"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	plugin "github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/behave"
	"example.org/goatkit/testplugins/internal/contract"
)

// holdArgument makes the program the grandchild that only waits.
const holdArgument = "-hold"

// plain is a good plugin of the second generation but for the functions that are set.
type plain struct {
	register, init, call, shutdown func() error
	// registration replaces fields of the registration, rawRegistration all of it.
	registration    map[string]any
	rawRegistration string
	grandchild      bool
}

func withRoute(path, middleware string) plain {
	return plain{registration: map[string]any{"routes": []map[string]any{{
		"method": "GET", "path": path, "handler": "get_status", "middleware": []string{middleware},
	}}}}
}

// serve serves p through go-plugin.
func serve(p plain) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: contract.Handshake,
		Plugins:         plugin.PluginSet{contract.Key: served{p}},
	})
}

// stubborn does not end for anything but SIGKILL.
func stubborn() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	serve(plain{shutdown: hangs})
	hang()
}

type served struct{ plain plain }

func (s served) Server(*plugin.MuxBroker) (interface{}, error)            { return &server{plain: s.plain}, nil }
func (served) Client(*plugin.MuxBroker, *rpc.Client) (interface{}, error) { return nil, nil }

type (
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
	plain  plain
	config map[string]string
	once   sync.Once
	held   int
}

func (s *server) GKRegister(_ interface{}, reply *[]byte) error {
	if s.plain.register != nil {
		if err := s.plain.register(); err != nil {
			return err
		}
	}
	if s.plain.rawRegistration != "" {
		*reply = []byte(s.plain.rawRegistration)
		return nil
	}
	registration := map[string]any{
		"name":    contract.Name(),
		"version": "1.0.0",
		"routes": []map[string]any{{
			"method": "GET", "path": "/api/plugins/" + contract.Name() + "/status", "handler": "get_status", "middleware": []string{"auth"},
		}},
	}
	for key, value := range s.plain.registration {
		registration[key] = value
	}
	var err error
	*reply, err = json.Marshal(registration)
	return err
}

func (s *server) Init(request InitRequest, _ *interface{}) error {
	s.config = request.Config
	if s.plain.init != nil {
		return s.plain.init()
	}
	return nil
}

func (s *server) Call(request CallRequest, reply *CallResponse) error {
	if s.plain.call != nil {
		if err := s.plain.call(); err != nil {
			return err
		}
	}
	if s.plain.grandchild {
		s.once.Do(s.startGrandchild)
		reply.Result = []byte(fmt.Sprint(s.held))
		return nil
	}
	result, err := behave.Call(request.Function, request.Args, s.config)
	if err != nil {
		reply.Error = err.Error()
		return nil
	}
	reply.Result = result
	return nil
}

// startGrandchild starts this program again, with the process's own stdout and stderr.
func (s *server) startGrandchild() {
	child := exec.Command(contract.Executable(), holdArgument)
	child.Stdout = os.NewFile(1, "stdout")
	child.Stderr = os.NewFile(2, "stderr")
	if err := child.Start(); err == nil {
		s.held = child.Process.Pid
	}
}

func (s *server) Shutdown(_ interface{}, _ *interface{}) error {
	if s.plain.shutdown != nil {
		return s.plain.shutdown()
	}
	return nil
}
