package grpcutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"runtime/debug"
	"strings"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

// hostDialTimeout bounds how long Init waits for the host to take the host API connection.
const hostDialTimeout = 10 * time.Second

// logger writes structured lines to the process's own stderr, where the host reads them. It is made before go-plugin
// replaces os.Stderr.
var logger = hclog.New(&hclog.LoggerOptions{
	Name:       "sdk",
	Level:      hclog.Trace,
	Output:     os.Stderr,
	JSONFormat: true,
})

// GKPluginPlugin makes a plugin known to go-plugin: the server half in the plugin, the client half in the host.
type GKPluginPlugin struct {
	goplugin.Plugin
	// Impl is the plugin that is served; nil in a host.
	Impl    GKPluginInterface
	options options
}

// Server is called by go-plugin in the plugin's process.
func (p *GKPluginPlugin) Server(broker *goplugin.MuxBroker) (interface{}, error) {
	if p.Impl == nil {
		return nil, errors.New("grpcutil: no plugin to serve: Impl is nil")
	}
	s := &GKPluginRPCServer{Impl: p.Impl, broker: broker, options: p.options}
	s.running, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Client is called by go-plugin in the host's process.
func (p *GKPluginPlugin) Client(broker *goplugin.MuxBroker, client *rpc.Client) (interface{}, error) {
	return &GKPluginRPCClient{client: client, broker: broker}, nil
}

// GKPluginRPCServer answers the host. net/rpc calls its methods, each call in a goroutine of its own.
type GKPluginRPCServer struct {
	// Impl is the plugin that is served.
	Impl    GKPluginInterface
	broker  *goplugin.MuxBroker
	options options
	running context.Context
	stop    context.CancelFunc
}

// GKRegister answers with the registration as JSON, the form of all hosts but the first generation.
func (s *GKPluginRPCServer) GKRegister(_ interface{}, reply *[]byte) (err error) {
	defer contain("GKRegister", "", &err)
	registration, err := s.Impl.GKRegister()
	if err != nil {
		return err
	}
	if registration == nil {
		return errors.New("GKRegister returned no registration")
	}
	*reply, err = json.Marshal(registration)
	return err
}

// Init prepares the plugin, with the host API if the plugin wants it and the host serves it.
func (s *GKPluginRPCServer) Init(request InitRequest, _ *interface{}) (err error) {
	defer contain("Init", "", &err)
	withHost, wanted := s.Impl.(GKPluginWithHost)
	if !wanted || s.broker == nil || request.HostAPIID == 0 {
		return s.Impl.Init(request.Config)
	}
	client, err := s.dialHost(request.HostAPIID)
	if err != nil {
		logger.Error("host API unavailable: falling back to Init", "error", err.Error())
		return s.Impl.Init(request.Config)
	}
	host := NewHostAPIClient(client, request.Config["plugin_name"])
	host.int64s = s.options.int64s
	return withHost.InitWithHost(request.Config, host)
}

func (s *GKPluginRPCServer) dialHost(id uint32) (*rpc.Client, error) {
	type dialled struct {
		client *rpc.Client
		err    error
	}
	done := make(chan dialled, 1)
	go func() {
		conn, err := s.broker.Dial(id)
		if err != nil {
			done <- dialled{err: err}
			return
		}
		done <- dialled{client: rpc.NewClient(conn)}
	}()
	timer := time.NewTimer(hostDialTimeout)
	defer timer.Stop()
	select {
	case d := <-done:
		return d.client, d.err
	case <-timer.C:
		return nil, fmt.Errorf("the host did not take the connection within %s", hostDialTimeout)
	}
}

// Call runs a function of the plugin. Its error, or its panic, travels in the reply: the RPC itself succeeds.
func (s *GKPluginRPCServer) Call(request CallRequest, reply *CallResponse) error {
	result, err := s.run(request)
	if err != nil {
		reply.Error = err.Error()
		if reply.Error == "" {
			// An empty text would read as success.
			reply.Error = fmt.Sprintf("function %q failed without a message", request.Function)
		}
		return nil
	}
	reply.Result = result
	return nil
}

func (s *GKPluginRPCServer) run(request CallRequest) (result json.RawMessage, err error) {
	defer contain("function", request.Function, &err)
	if withContext, ok := s.Impl.(GKPluginWithContext); ok {
		ctx := s.running
		if ctx == nil {
			ctx = context.Background()
		}
		return withContext.CallWithContext(ContextWithCallToken(ctx, request.CallToken), request.Function, request.Args)
	}
	return s.Impl.Call(request.Function, request.Args)
}

// Shutdown cancels the contexts of running calls and lets the plugin clean up.
func (s *GKPluginRPCServer) Shutdown(_ interface{}, _ *interface{}) (err error) {
	defer contain("Shutdown", "", &err)
	if s.stop != nil {
		s.stop()
	}
	return s.Impl.Shutdown()
}

// contain turns a panic of a handler into its error. net/rpc itself would let the process die. It formats nothing
// unless there is one: fmt's deep stack costs every goroutine that runs a call a copy of its own.
func contain(what, function string, err *error) {
	if cause := recover(); cause != nil {
		if function != "" {
			what += fmt.Sprintf(" %q", function)
		}
		logger.Error("panic in "+what, "panic", fmt.Sprint(cause))
		// A line each: what a field holds is shown as one, and cut.
		for _, frame := range frames(string(debug.Stack())) {
			logger.Error("    at " + frame)
		}
		// The cause may hold what is nobody's business; it is for the log.
		*err = fmt.Errorf("%s panicked; the plugin's log says why", what)
	}
}

// framesMax is how many frames of a panic are logged.
const framesMax = 16

// frames takes the frames of a stack that are above the panic and not of the SDK or the runtime, each with its place.
func frames(stack string) []string {
	lines := strings.Split(stack, "\n")
	var found []string
	// Behind the goroutine's title come pairs: a function, and a tab and its place.
	for at := 1; at+1 < len(lines) && len(found) < framesMax; at++ {
		if strings.HasPrefix(lines[at], "\t") || !strings.HasPrefix(lines[at+1], "\t") {
			continue
		}
		name := lines[at]
		if strings.HasPrefix(name, "panic(") {
			// What came before was about the panic itself.
			found = nil
			continue
		}
		inner := false
		for _, prefix := range []string{"runtime", "net/rpc.", "reflect.", "created by ", "github.com/goatkit/goatflow/pkg/plugin/grpcutil.(*GKPluginRPCServer)"} {
			inner = inner || strings.HasPrefix(name, prefix)
		}
		if inner {
			continue
		}
		if open := strings.LastIndexByte(name, '('); open > 0 {
			name = name[:open]
		}
		place, _, _ := strings.Cut(strings.TrimSpace(lines[at+1]), " +0x")
		found = append(found, name+" ("+place+")")
	}
	return found
}
