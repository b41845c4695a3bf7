package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
	"github.com/goatkit/goatflow/pkg/plugin/internal/calltoken"
)

// HostVersion is what the stub says that its version is, as host_version of the configuration.
const HostVersion = "0.1.0"

// Plugin is a plugin that [Host.Start] has started.
type Plugin struct {
	host         *Host
	impl         grpcutil.GKPluginInterface
	registration *plugin.GKRegistration
	granted      []string
	// alive ends with the plugin's shutdown.
	alive  context.Context
	end    context.CancelFunc
	ending sync.Once
	ended  error
}

// Option changes how [Host.Start] starts a plugin.
type Option func(*start)

type start struct {
	config    map[string]string
	serve     []grpcutil.Option
	granted   []string
	noHostAPI bool
}

// WithConfig adds to the configuration that Init or InitWithHost gets: what an operator sets for the plugin. A host adds
// host_version, plugin_name, plugin_dir and work_dir; here plugin_dir is the directory of the test, work_dir an empty
// one, and config may replace all of them.
func WithConfig(config map[string]string) Option {
	return func(s *start) { maps.Copy(s.config, config) }
}

// WithServeOptions starts the plugin with the options that its main gives to [grpcutil.ServePlugin].
func WithServeOptions(opts ...grpcutil.Option) Option {
	return func(s *start) { s.serve = append(s.serve, opts...) }
}

// WithRoutes lets the plugin serve paths beside its own, as "routes" of a policy does: a path, or one that ends in /*.
func WithRoutes(paths ...string) Option {
	return func(s *start) { s.granted = append(s.granted, paths...) }
}

// WithoutHostAPI starts the plugin as a host does that has no host API: with Init, also where there is InitWithHost.
func WithoutHostAPI() Option {
	return func(s *start) { s.noHostAPI = true }
}

// Start starts a plugin: GKRegister, then InitWithHost with this host's API, or Init where there is no InitWithHost. At
// the end of the test it is shut down. What fails ends the test; see [Host.TryStart].
func (h *Host) Start(impl grpcutil.GKPluginInterface, opts ...Option) *Plugin {
	h.t.Helper()
	p, err := h.TryStart(impl, opts...)
	if err != nil {
		h.t.Fatalf("plugintest: %v", err)
	}
	return p
}

// TryStart is [Host.Start] for tests of a plugin that does not start: it returns the error of GKRegister, of Init or
// InitWithHost, or what is wrong with the registration.
func (h *Host) TryStart(impl grpcutil.GKPluginInterface, opts ...Option) (*Plugin, error) {
	h.t.Helper()
	directory, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	registration, err := register(impl)
	if err != nil {
		return nil, err
	}
	if err := h.take(registration); err != nil {
		return nil, err
	}
	chosen := start{config: map[string]string{
		"host_version": HostVersion,
		"plugin_name":  registration.Name,
		"plugin_dir":   directory,
		"work_dir":     h.t.TempDir(),
	}}
	for _, option := range opts {
		option(&chosen)
	}
	p := &Plugin{host: h, impl: impl, registration: registration, granted: chosen.granted}
	p.alive, p.end = context.WithCancel(context.Background())
	withHost, wanted := impl.(grpcutil.GKPluginWithHost)
	if wanted && !chosen.noHostAPI {
		err = withHost.InitWithHost(chosen.config, h.API(chosen.serve...))
	} else {
		err = impl.Init(chosen.config)
	}
	if err != nil {
		p.end()
		return nil, fmt.Errorf("plugin %q does not start: %w", registration.Name, err)
	}
	h.t.Cleanup(func() {
		if err := p.Shutdown(); err != nil {
			h.t.Errorf("plugintest: shutdown of plugin %q: %v", registration.Name, err)
		}
	})
	return p, nil
}

// register asks for the registration as it is after its way over the wire.
func register(impl grpcutil.GKPluginInterface) (*plugin.GKRegistration, error) {
	told, err := impl.GKRegister()
	if err != nil {
		return nil, fmt.Errorf("GKRegister: %w", err)
	}
	if told == nil {
		return nil, errors.New("GKRegister returned no registration")
	}
	encoded, err := json.Marshal(told)
	if err != nil {
		return nil, fmt.Errorf("GKRegister: %w", err)
	}
	registration := &plugin.GKRegistration{}
	if err := json.Unmarshal(encoded, registration); err != nil {
		return nil, fmt.Errorf("GKRegister: %w", err)
	}
	if registration.Name == "" || registration.Version == "" {
		return nil, errors.New("GKRegister: a registration has a Name and a Version")
	}
	return registration, nil
}

// take makes this the host of the plugin with that registration.
func (h *Host) take(registration *plugin.GKRegistration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.plugin != "" && h.plugin != registration.Name {
		return fmt.Errorf("this Host is plugin %q's; make another one with NewHost for plugin %q", h.plugin, registration.Name)
	}
	h.plugin = registration.Name
	h.takeTexts(registration)
	return nil
}

// Registration is what GKRegister returned, after its way through JSON. It is not to be changed.
func (p *Plugin) Registration() *plugin.GKRegistration { return p.registration }

// Call runs a function as a host does: through CallWithContext where the plugin has it, else through Call. A
// json.RawMessage is passed on as it is, nil as no arguments, anything else as JSON. No user is known, and the language
// is English.
//
// The plugin's context is ctx, with the identity of the call, and ends with the plugin's shutdown, too. The error is the
// function's own, for errors.Is; a host tells only its text.
func (p *Plugin) Call(ctx context.Context, fn string, args any) (Result, error) {
	var encoded json.RawMessage
	if args != nil {
		var err error
		if encoded, err = marshal(args); err != nil {
			return nil, fmt.Errorf("plugintest: arguments of %s: %w", fn, err)
		}
	}
	return p.call(ctx, running{function: fn}, encoded)
}

// call runs a function as the call that is described.
func (p *Plugin) call(ctx context.Context, call running, args json.RawMessage) (Result, error) {
	if p.alive.Err() != nil {
		return nil, fmt.Errorf("plugintest: call of %s: plugin %q is shut down", call.function, p.registration.Name)
	}
	withContext, wanted := p.impl.(grpcutil.GKPluginWithContext)
	if !wanted {
		result, err := p.impl.Call(call.function, args)
		return Result(result), err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.alive, cancel)()
	h := p.host
	h.mu.Lock()
	h.tokens++
	token := "plugintest-" + strconv.Itoa(h.tokens)
	if call.traceParent != "" {
		token = calltoken.Traced(token, call.traceParent, call.traceState)
	}
	h.running[token] = call
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.running, token)
	}()
	result, err := withContext.CallWithContext(grpcutil.ContextWithCallToken(ctx, token), call.function, args)
	return Result(result), err
}

// Shutdown ends the contexts of running calls and shuts the plugin down. Further calls of Shutdown return what the first
// one did. The end of the test calls it.
func (p *Plugin) Shutdown() error {
	p.ending.Do(func() {
		p.end()
		p.ended = p.impl.Shutdown()
	})
	return p.ended
}
