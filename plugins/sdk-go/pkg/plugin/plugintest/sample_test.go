package plugintest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// sample is a plugin whose functions are what a test gives it.
type sample struct {
	host      plugin.ExtendedHostAPI
	config    map[string]string
	plain     bool
	shutdowns int
	functions map[string]func(context.Context, json.RawMessage) (any, error)
	change    func(*plugin.GKRegistration)
}

var errSample = errors.New("no such lamp")

func (s *sample) GKRegister() (*plugin.GKRegistration, error) {
	registration := &plugin.GKRegistration{
		Name: "sample", Version: "1.0.0",
		Routes: []plugin.RouteSpec{
			{Method: "GET", Path: "/api/plugins/sample/items/:id", Handler: "echo", Middleware: []string{"auth"}},
			{Method: "GET", Path: "/api/plugins/sample/items/new", Handler: "fixed"},
			{Method: "GET", Path: "/api/plugins/sample/files/*path", Handler: "echo"},
			{Method: "POST", Path: "/api/plugins/sample/items", Handler: "echo", Middleware: []string{"agent"}},
			{Method: "GET", Path: "/ui/sample_page/x", Handler: "echo"},
			{Method: "POST", Path: "/webhook/x", Handler: "echo"},
			{Method: "GET", Path: "/traced", Handler: "traced"},
			{Method: "GET", Path: "/api/plugins/sample/odd", Handler: "echo", Middleware: []string{"group:x"}},
		},
		Widgets: []plugin.WidgetSpec{{ID: "w", Title: "W", Handler: "widget"}},
		I18n: &plugin.I18nSpec{Translations: map[string]map[string]string{
			"en": {"hello": "Hello, {0}", "percent": "%d of %s: 100%%", "only": "English"},
			"de": {"hello": "Hallo, {0}"},
		}},
	}
	if s.change != nil {
		s.change(registration)
	}
	return registration, nil
}

func (s *sample) Init(config map[string]string) error {
	s.plain, s.config = true, config
	return nil
}

func (s *sample) InitWithHost(config map[string]string, host plugin.HostAPI) error {
	s.config = config
	s.host, _ = plugin.Extended(host)
	if config["fail"] != "" {
		return errSample
	}
	s.host.Log(context.Background(), "info", "up", nil)
	return nil
}

func (s *sample) Call(string, json.RawMessage) (json.RawMessage, error) {
	return nil, errors.New("Call was used although there is CallWithContext")
}

func (s *sample) CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error) {
	switch fn {
	case "echo":
		return args, nil
	case "fixed":
		return json.RawMessage(`{"fixed":true}`), nil
	case "widget":
		return json.Marshal(map[string]string{"html": "<p>" + s.host.Translate(ctx, "hello", "Ann") + "</p>"})
	case "fail":
		return nil, errSample
	}
	function, ok := s.functions[fn]
	if !ok {
		return nil, fmt.Errorf("unknown function: %s", fn)
	}
	result, err := function(ctx, args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

func (s *sample) Shutdown() error {
	s.shutdowns++
	return nil
}

// plain is a plugin without the host API and without contexts.
type plain struct{ config map[string]string }

func (p *plain) GKRegister() (*plugin.GKRegistration, error) {
	return &plugin.GKRegistration{Name: "plain", Version: "1.0.0"}, nil
}
func (p *plain) Init(config map[string]string) error { p.config = config; return nil }
func (p *plain) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`"` + fn + string(args) + `"`), nil
}
func (p *plain) Shutdown() error { return errors.New("on the way out") }

// recorder is a testing.TB that keeps what a test would say, so that failures can be tested.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Cleanup(f func())    { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// Fatalf panics, as it must not return.
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// finish does what the end of a test does.
func (r *recorder) finish() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

// fatal runs what must end a test, and returns what it said.
func fatal(t *testing.T, run func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	defer r.finish()
	func() {
		defer func() {
			if cause := recover(); cause != nil && cause != any(r) {
				panic(cause)
			}
		}()
		run(r)
	}()
	if len(r.errors) == 0 {
		t.Error("the test was not ended")
		return ""
	}
	return r.errors[0]
}
