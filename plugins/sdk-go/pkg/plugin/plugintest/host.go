package plugintest

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/rpc"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

// Host is a host API in memory, for one plugin. Make it with [NewHost].
//
// What a test sets up may be set up before and after the plugin's start. A plugin that is started again on the same Host
// finds what it has stored.
type Host struct {
	t testing.TB

	mu     sync.Mutex
	closed bool
	plugin string
	now    time.Time
	calls  []HostCall
	// running is what is known of the calls into the plugin that run, by token.
	running map[string]running
	tokens  int

	refusals map[string]refusal
	methods  map[string]func(json.RawMessage) (any, error)

	settings  map[string]string
	secrets   map[string]string
	cache     map[string]cached
	kv        map[string]versioned
	kvVersion uint64
	files     map[string]file
	fields    map[fieldsKey]map[string]json.RawMessage
	events    []Event
	mails     []Mail
	logs      []LogRecord
	texts     map[string]translations
	own       string

	queries    map[string]json.RawMessage
	execs      map[string]plugin.DBResult
	statements []func(Statement) (*plugin.DBResult, error)
	db         *sql.DB

	responses map[string]plugin.HTTPResponse
	handler   http.Handler
	others    map[string]func(json.RawMessage) (any, error)
}

// HostCall is a request that the plugin made of its host.
type HostCall struct {
	// Method is the wire name, as db_query; docs/hostapi.md of the project lists them.
	Method string
	// Args is what was sent, a JSON object.
	Args json.RawMessage
	// Function is the plugin's function that was running with the context that the request was made with. It is empty
	// for a request of InitWithHost, and for one whose context does not come from CallWithContext.
	Function string
}

// Decode reads the arguments into dest, a pointer, by the rules of encoding/json.
func (c HostCall) Decode(dest any) error { return json.Unmarshal(c.Args, dest) }

// String is the method and the arguments, for messages of tests.
func (c HostCall) String() string { return c.Method + " " + string(c.Args) }

// refusal is why a method is not served.
type refusal struct {
	text string
	// named puts the plugin's name before the text, as the host's guard does.
	named bool
}

// running is a call into the plugin that runs.
type running struct {
	function  string
	language  string
	requestID string
	// traceParent and traceState are the place of the call in a trace, if it has one.
	traceParent, traceState string
	user                    *User
}

// NewHost returns a host API for the tests of t. Its clock stands at the beginning of 2026, UTC.
func NewHost(t testing.TB) *Host {
	h := &Host{
		t:         t,
		now:       time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC),
		running:   map[string]running{},
		refusals:  map[string]refusal{},
		methods:   map[string]func(json.RawMessage) (any, error){},
		settings:  map[string]string{},
		secrets:   map[string]string{},
		cache:     map[string]cached{},
		kv:        map[string]versioned{},
		files:     map[string]file{},
		fields:    map[fieldsKey]map[string]json.RawMessage{},
		texts:     map[string]translations{},
		queries:   map[string]json.RawMessage{},
		execs:     map[string]plugin.DBResult{},
		responses: map[string]plugin.HTTPResponse{},
		others:    map[string]func(json.RawMessage) (any, error){},
	}
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.closed = true
	})
	return h
}

// Calls returns the requests that the plugin has made, in the order in which they arrived.
func (h *Host) Calls() []HostCall {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// CallsTo returns those of [Host.Calls] that have one of these methods.
func (h *Host) CallsTo(methods ...string) []HostCall {
	return slices.DeleteFunc(h.Calls(), func(c HostCall) bool { return !slices.Contains(methods, c.Method) })
}

// ForgetCalls empties what Calls, Events, Mails and Logs return. What the plugin has stored stays.
func (h *Host) ForgetCalls() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls, h.events, h.mails, h.logs = nil, nil, nil, nil
}

// Deny refuses a method, as a host does whose policy does not grant the method's permission: `plugin "p": database read
// access not granted`. A method without a permission is refused as a host refuses a blocked plugin. [Host.Allow] undoes it.
//
// A name that is no method of the host API ends the test.
func (h *Host) Deny(method string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, added := h.methods[method]; !added && !known(method) {
		h.t.Fatalf("plugintest: Deny(%q): the host API has no such method", method)
	}
	text := permissions[method]
	if text == "" {
		text = "it is blocked by its policy"
	}
	h.refusals[method] = refusal{text: text, named: true}
}

// Fail makes a method answer with this error, as a service that does not work: the plugin gets a [plugin.HostError]
// with the text. [Host.Allow] undoes it.
//
// A name that is no method of the host API, and an empty text, end the test.
func (h *Host) Fail(method, text string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, added := h.methods[method]; !added && !known(method) {
		h.t.Fatalf("plugintest: Fail(%q): the host API has no such method", method)
	}
	if text == "" {
		h.t.Fatalf("plugintest: Fail(%q): an error has a text", method)
	}
	h.refusals[method] = refusal{text: text}
}

// Allow undoes [Host.Deny] and [Host.Fail].
func (h *Host) Allow(method string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.refusals, method)
}

// OnMethod answers a method by its wire name: one of an application, such as create_article, one that this SDK does not
// know, or one of the stub's own, which it replaces. The result is sent as JSON, a json.RawMessage as it is. The text of
// an error is what the plugin gets as [plugin.HostError].
func (h *Host) OnMethod(method string, answer func(args json.RawMessage) (any, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.methods[method] = answer
}

// SetSetting sets what ConfigGet answers for a key, such as app.name. A key that is not set is an error, as with a real
// host. What InitWithHost gets is another thing; see [WithConfig].
func (h *Host) SetSetting(key, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settings[key] = value
}

// Now is the time of the clock, which TimeNow answers and by which entries of the cache end. It moves with
// [Host.Advance] and [Host.SetNow] alone.
func (h *Host) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// SetNow sets the clock.
func (h *Host) SetNow(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

// Advance moves the clock on.
func (h *Host) Advance(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(by)
}

// API returns a host API of its own on this host, for code that wants a [plugin.HostAPI] and no plugin around it. It
// ends with the test.
func (h *Host) API(opts ...grpcutil.Option) *grpcutil.HostAPIClient {
	near, far := net.Pipe()
	server := rpc.NewServer()
	// It fails only for a type that cannot be a service.
	if err := server.RegisterName("Plugin", &service{h}); err != nil {
		h.t.Fatalf("plugintest: %v", err)
	}
	go server.ServeConn(far)
	client := rpc.NewClient(near)
	h.t.Cleanup(func() { _ = client.Close() })
	h.mu.Lock()
	defer h.mu.Unlock()
	return grpcutil.NewHostAPIClient(client, h.plugin, opts...)
}

// service is the host's end of the connection.
type service struct{ host *Host }

// Call answers a request. net/rpc calls it in a goroutine of its own.
func (s *service) Call(request grpcutil.HostAPIRPCRequest, reply *grpcutil.HostAPIRPCResponse) error {
	result, err := s.host.answer(request)
	if err != nil {
		reply.Error = err.Error()
		if reply.Error == "" {
			reply.Error = "the host's answer to " + request.Method + " has an empty error"
		}
		return nil
	}
	reply.Result = result
	return nil
}

// answer records a request and answers it.
func (h *Host) answer(request grpcutil.HostAPIRPCRequest) (json.RawMessage, error) {
	h.mu.Lock()
	call, isRunning := h.running[request.CallToken]
	h.calls = append(h.calls, HostCall{Method: request.Method, Args: bytes.Clone(request.Args), Function: call.function})
	refusal, refused := h.refusals[request.Method]
	added := h.methods[request.Method]
	name := h.plugin
	h.mu.Unlock()
	if request.CallToken != "" && !isRunning {
		return nil, errors.New("unknown or finished call context")
	}
	if refused && refusal.named {
		return nil, fmt.Errorf("plugin %q: %s", name, refusal.text)
	}
	if refused {
		return nil, errors.New(refusal.text)
	}
	var result any
	var err error
	if added != nil {
		result, err = added(request.Args)
	} else if serve, ok := builtins[request.Method]; ok {
		result, err = serve(h, call, request.Args)
	} else if slices.Contains(notProvided, request.Method) {
		return nil, fmt.Errorf("method %q is not provided by this host; in a test, Host.OnMethod(%q, …) provides it", request.Method, request.Method)
	} else {
		return nil, fmt.Errorf("unknown host API method: %s", request.Method)
	}
	if err != nil {
		return nil, err
	}
	return marshal(result)
}

// marshal writes a result; one that is JSON already stays as it is.
func marshal(result any) (json.RawMessage, error) {
	switch result := result.(type) {
	case json.RawMessage:
		return result, nil
	case Result:
		return json.RawMessage(result), nil
	}
	encoded, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("the result cannot be written: %w", err)
	}
	return encoded, nil
}

// read reads arguments, numbers digit by digit.
func read[T any](args json.RawMessage) (T, error) {
	var values T
	decoder := json.NewDecoder(bytes.NewReader(args))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return values, fmt.Errorf("arguments: %w", err)
	}
	return values, nil
}

// Event is what the plugin published.
type Event struct {
	// Channel is one of the plugin's; "" is one of them.
	Channel string
	// Type is the event's type, as ticket.created.
	Type string
	// Data is the text that PublishEvent was given.
	Data string
}

// Mail is what the plugin sent.
type Mail struct {
	// To is the recipient.
	To string `json:"to"`
	// Subject is the subject.
	Subject string `json:"subject"`
	// Body is text, or HTML where HTML says so.
	Body string `json:"body"`
	// HTML says whether Body is HTML.
	HTML bool `json:"html"`
}

// LogRecord is what the plugin logged through the host API.
type LogRecord struct {
	// Level is debug, info, warn or error; another one was taken for info.
	Level string
	// Message is the text without the fields.
	Message string
	// Fields are as JSON has them: whole numbers are json.Number.
	Fields map[string]any
}

// Events returns what the plugin has published.
func (h *Host) Events() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// Mails returns what the plugin has sent.
func (h *Host) Mails() []Mail {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.mails)
}

// Logs returns what the plugin has logged through the host API. The test's own log has it, too, and shows it if the
// test fails.
func (h *Host) Logs() []LogRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	logs := slices.Clone(h.logs)
	for i := range logs {
		logs[i].Fields = maps.Clone(logs[i].Fields)
	}
	return logs
}
