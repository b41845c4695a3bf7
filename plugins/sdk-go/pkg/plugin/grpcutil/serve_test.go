package grpcutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/goatkit/goatflow/pkg/plugin"
)

const deadline = 2 * time.Minute

// sample implements every interface of the package.
type sample struct {
	host     plugin.HostAPI
	config   map[string]string
	plain    bool
	entered  chan struct{}
	finished chan error
}

func (s *sample) GKRegister() (*plugin.GKRegistration, error) {
	return &plugin.GKRegistration{
		Name:    "sample",
		Version: "1.0.0",
		Routes:  []plugin.RouteSpec{{Method: "GET", Path: "/x/:id", Handler: "h", Middleware: []string{"auth"}}},
		Jobs: []plugin.JobSpec{{
			ID: "j", Handler: "h", Schedule: "@hourly", TimeZone: "Europe/Berlin", Concurrency: "replace",
			StartingDeadline: "10m", Jitter: "1s", Retries: 2, Backoff: "3s",
		}},
	}, nil
}

func (s *sample) Init(config map[string]string) error {
	s.plain, s.config = true, config
	return nil
}

func (s *sample) InitWithHost(config map[string]string, host plugin.HostAPI) error {
	s.host, s.config = host, config
	return nil
}

func (s *sample) Call(string, json.RawMessage) (json.RawMessage, error) {
	return nil, errors.New("Call was used although there is CallWithContext")
}

func (s *sample) CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error) {
	switch fn {
	case "echo":
		return args, nil
	case "fail":
		return nil, errors.New("no such ticket")
	case "fail_silently":
		return nil, errors.New("")
	case "panic":
		var nothing map[string]int
		nothing["x"] = 1
	case "token":
		return json.Marshal(CallTokenFromContext(ctx))
	case "config_get":
		value, err := s.host.ConfigGet(ctx, "app.name")
		if err != nil {
			return nil, err
		}
		return json.Marshal(value)
	case "wait":
		close(s.entered)
		<-ctx.Done()
		s.finished <- ctx.Err()
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("unknown function: %s", fn)
}

func (s *sample) Shutdown() error { return nil }

// minimal implements no optional interface.
type minimal struct {
	config map[string]string
}

func (m *minimal) GKRegister() (*plugin.GKRegistration, error) { return nil, nil }
func (m *minimal) Init(config map[string]string) error         { m.config = config; return nil }
func (m *minimal) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(fn), nil
}
func (m *minimal) Shutdown() error { panic("on the way out") }

// fakeHost answers host calls with what the test says.
type fakeHost struct {
	mu      sync.Mutex
	answers map[string]string
	seen    []HostAPIRPCRequest
	block   chan struct{}
	// entered, if there is one, is told of each request.
	entered chan struct{}
}

func (h *fakeHost) Call(request HostAPIRPCRequest, reply *HostAPIRPCResponse) error {
	h.mu.Lock()
	h.seen = append(h.seen, request)
	answer, known := h.answers[request.Method]
	h.mu.Unlock()
	if h.entered != nil {
		h.entered <- struct{}{}
	}
	if h.block != nil {
		<-h.block
	}
	if !known {
		reply.Error = "unknown host API method: " + request.Method
		return nil
	}
	reply.Result = json.RawMessage(answer)
	return nil
}

func (h *fakeHost) last(t *testing.T) HostAPIRPCRequest {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen) == 0 {
		t.Fatal("the host was not called")
	}
	return h.seen[len(h.seen)-1]
}

// serve runs impl behind go-plugin's own server and returns go-plugin's own client to it.
func serve(t *testing.T, impl GKPluginInterface, opts ...Option) *GKPluginRPCClient {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reattach := make(chan *goplugin.ReattachConfig, 1)
	closed := make(chan struct{})
	go goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: Handshake,
		Plugins:         PluginSet(impl, opts...),
		Logger:          hclog.NewNullLogger(),
		Test:            &goplugin.ServeTestConfig{Context: ctx, ReattachConfigCh: reattach, CloseCh: closed},
	})
	t.Cleanup(func() {
		cancel()
		select {
		case <-closed:
		case <-time.After(deadline):
			t.Error("the plugin server did not end")
		}
	})
	var config *goplugin.ReattachConfig
	select {
	case config = <-reattach:
	case <-time.After(deadline):
		t.Fatal("the plugin server did not start")
	}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: Handshake,
		Plugins:         goplugin.PluginSet{PluginKey: &GKPluginPlugin{}},
		Reattach:        config,
		Logger:          hclog.NewNullLogger(),
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	dispensed, err := protocol.Dispense(PluginKey)
	if err != nil {
		t.Fatal(err)
	}
	return dispensed.(*GKPluginRPCClient)
}

// connect initialises the plugin with a host API on the broker.
func connect(t *testing.T, client *GKPluginRPCClient, host *fakeHost) {
	t.Helper()
	id := client.Broker().NextId()
	go client.Broker().AcceptAndServe(id, host)
	if err := client.InitWithHostAPI(map[string]string{"plugin_name": "sample"}, id); err != nil {
		t.Fatal(err)
	}
}

func TestRegistrationTravelsAsJSON(t *testing.T) {
	client := serve(t, &sample{})
	registration, err := client.GKRegister()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := (&sample{}).GKRegister()
	if !reflect.DeepEqual(registration, want) {
		t.Fatalf("got %+v, want %+v", registration, want)
	}
	var raw []byte
	if err := client.client.Call("Plugin.GKRegister", new(interface{}), &raw); err != nil {
		t.Fatal("the reply is not bytes:", err)
	}
	if !json.Valid(raw) {
		t.Fatalf("not JSON: %s", raw)
	}
}

func TestCalls(t *testing.T) {
	client := serve(t, &sample{})
	large := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	for _, args := range []json.RawMessage{nil, json.RawMessage(`{"a":[1,null]}`), large} {
		result, err := client.Call("echo", args)
		if err != nil || string(result) != string(args) {
			t.Fatalf("echo of %d bytes: %d bytes, %v", len(args), len(result), err)
		}
	}
	for fn, want := range map[string]string{
		"fail":          "no such ticket",
		"fail_silently": `function "fail_silently" failed without a message`,
		"nope":          "unknown function: nope",
	} {
		if _, err := client.Call(fn, nil); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", fn, err, want)
		}
	}
}

func TestPanicFailsTheCallOnly(t *testing.T) {
	client := serve(t, &sample{})
	_, err := client.Call("panic", nil)
	if err == nil || !strings.Contains(err.Error(), `function "panic" panicked`) || strings.Contains(err.Error(), "nil map") {
		t.Fatalf("got %v", err)
	}
	if result, err := client.Call("echo", json.RawMessage("1")); err != nil || string(result) != "1" {
		t.Fatalf("the plugin did not survive: %s, %v", result, err)
	}
}

func TestOptionalInterfacesAreOptional(t *testing.T) {
	impl := &minimal{}
	client := serve(t, impl)
	if _, err := client.GKRegister(); err == nil || !strings.Contains(err.Error(), "no registration") {
		t.Fatalf("a nil registration: %v", err)
	}
	if err := client.InitWithHostAPI(map[string]string{"a": "b"}, 77); err != nil || impl.config["a"] != "b" {
		t.Fatalf("Init: %v, %v", err, impl.config)
	}
	if result, err := client.Call("7", nil); err != nil || string(result) != "7" {
		t.Fatalf("Call: %s, %v", result, err)
	}
	if err := client.Shutdown(); err == nil || !strings.Contains(err.Error(), "Shutdown panicked") {
		t.Fatalf("Shutdown: %v", err)
	}
}

func TestInitWithoutHostAPI(t *testing.T) {
	impl := &sample{}
	client := serve(t, impl)
	if err := client.Init(map[string]string{"plugin_name": "sample"}); err != nil {
		t.Fatal(err)
	}
	if !impl.plain || impl.host != nil || impl.config["plugin_name"] != "sample" {
		t.Fatalf("%+v", impl)
	}
}

func TestHostCallsCarryNameAndToken(t *testing.T) {
	impl, host := &sample{}, &fakeHost{answers: map[string]string{"config_get": `{"value":"GoatKit"}`}}
	client := serve(t, impl)
	connect(t, client, host)
	if impl.plain {
		t.Fatal("Init was used although there is InitWithHost")
	}
	ctx := ContextWithCallToken(context.Background(), "token-of-the-call")
	if result, err := client.CallWithContext(ctx, "token", nil); err != nil || string(result) != `"token-of-the-call"` {
		t.Fatalf("%s, %v", result, err)
	}
	if result, err := client.CallWithContext(ctx, "config_get", nil); err != nil || string(result) != `"GoatKit"` {
		t.Fatalf("%s, %v", result, err)
	}
	request := host.last(t)
	if request.CallToken != "token-of-the-call" || request.CallerPlugin != "sample" {
		t.Fatalf("%+v", request)
	}
}

func TestShutdownCancelsRunningCalls(t *testing.T) {
	impl := &sample{entered: make(chan struct{}), finished: make(chan error, 1)}
	client := serve(t, impl)
	go func() { _, _ = client.Call("wait", nil) }()
	await(t, impl.entered)
	if err := client.Shutdown(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-impl.finished:
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	case <-time.After(deadline):
		t.Fatal("the handler was not cancelled")
	}
}

func TestHostCallsEndWithTheContext(t *testing.T) {
	host := &fakeHost{answers: map[string]string{"config_get": `{"value":"late"}`}, block: make(chan struct{})}
	defer close(host.block)
	api := hostAPI(t, host)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := api.ConfigGet(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "host rpc: ") {
		t.Fatalf("got %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := api.DBExec(cancelled, "x"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// hostAPI connects a host API client straight to a fake host.
func hostAPI(t *testing.T, host *fakeHost) *HostAPIClient {
	t.Helper()
	near, far := pipe()
	server := rpc.NewServer()
	if err := server.RegisterName("Plugin", host); err != nil {
		t.Fatal(err)
	}
	go server.ServeConn(far)
	client := rpc.NewClient(near)
	t.Cleanup(func() { _ = client.Close() })
	return NewHostAPIClient(client, "sample")
}

type duplex struct {
	io.Reader
	io.WriteCloser
}

func pipe() (io.ReadWriteCloser, io.ReadWriteCloser) {
	nearRead, farWrite := io.Pipe()
	farRead, nearWrite := io.Pipe()
	return duplex{nearRead, nearWrite}, duplex{farRead, farWrite}
}

func await(t *testing.T, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(deadline):
		t.Fatal("nothing happened")
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	const answer = `[{"small":42,"big":9007199254740993,"min":-9223372036854775808,"huge":18446744073709551615,"float":1.5,"exp":1e3,"text":"7","none":null,"list":[9007199254740993]}]`
	host := &fakeHost{answers: map[string]string{"db_query": answer}}
	api := hostAPI(t, host)
	rows, err := api.DBQuery(context.Background(), "SELECT")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"small": float64(42), "big": int64(9007199254740993), "min": int64(-9223372036854775808),
		"huge": json.Number("18446744073709551615"), "float": 1.5, "exp": float64(1000), "text": "7", "none": nil,
		"list": []any{int64(9007199254740993)},
	}
	if !reflect.DeepEqual(rows, []map[string]any{want}) {
		t.Fatalf("got %#v", rows)
	}
	api.int64s = true
	rows, err = api.DBQuery(context.Background(), "SELECT")
	want["small"] = int64(42)
	if err != nil || !reflect.DeepEqual(rows, []map[string]any{want}) {
		t.Fatalf("got %#v, %v", rows, err)
	}
	host.answers["db_query"] = "null"
	if rows, err := api.DBQuery(context.Background(), "SELECT"); err != nil || len(rows) != 0 {
		t.Fatalf("no rows: %#v, %v", rows, err)
	}
}

func TestBothShapesOfTextResults(t *testing.T) {
	for answer, want := range map[string]string{`{"value":"v"}`: "v", `"v"`: "v", ` "v"`: "v", `{"value":""}`: ""} {
		api := hostAPI(t, &fakeHost{answers: map[string]string{"config_get": answer, "translate": answer}})
		if value, err := api.ConfigGet(context.Background(), "k"); err != nil || value != want {
			t.Errorf("config_get %s: %q, %v", answer, value, err)
		}
		if value := api.Translate(context.Background(), "k"); value != want {
			t.Errorf("translate %s: %q", answer, value)
		}
	}
	api := hostAPI(t, &fakeHost{answers: map[string]string{"config_get": "{}", "translate": "5"}})
	if _, err := api.ConfigGet(context.Background(), "k"); err == nil {
		t.Error("a result without value is accepted")
	}
	if value := api.Translate(context.Background(), "k"); value != "k" {
		t.Errorf("translate: %q", value)
	}
}

func TestEveryMethodOfTheContract(t *testing.T) {
	ctx := context.Background()
	host := &fakeHost{answers: map[string]string{}}
	api := hostAPI(t, host)
	check := func(method, args, answer string, want any, call func() (any, error)) {
		t.Helper()
		host.mu.Lock()
		host.answers[method] = answer
		host.mu.Unlock()
		got, err := call()
		if err != nil {
			t.Errorf("%s: %v", method, err)
			return
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", method, got, want)
		}
		request := host.last(t)
		if request.Method != method || !sameJSON(string(request.Args), args) {
			t.Errorf("%s: sent %s %s, want %s", method, request.Method, request.Args, args)
		}
	}
	none := func(err error) (any, error) { return nil, err }
	ok := `{"status":"ok"}`
	check("db_exec", `{"query":"q","args":[1,"a",null]}`, `{"affected":3}`, int64(3), func() (any, error) { return api.DBExec(ctx, "q", 1, "a", nil) })
	check("db_query", `{"query":"q","args":[]}`, `[]`, []map[string]any{}, func() (any, error) { return api.DBQuery(ctx, "q") })
	check("cache_get", `{"key":"k"}`, `{"value":"aGk=","found":true}`, "hi true", func() (any, error) {
		value, found, err := api.CacheGet(ctx, "k")
		return fmt.Sprintf("%s %v", value, found), err
	})
	check("cache_set", `{"key":"k","value":"aGk=","ttl":5}`, `{"ok":true}`, nil, func() (any, error) { return none(api.CacheSet(ctx, "k", []byte("hi"), 5)) })
	check("cache_delete", `{"key":"k"}`, `{"ok":true}`, nil, func() (any, error) { return none(api.CacheDelete(ctx, "k")) })
	check("http_request", `{"method":"GET","url":"u","headers":{"a":"b"},"body":null}`, `{"status":204,"body":"aGk="}`, "204 hi", func() (any, error) {
		status, body, err := api.HTTPRequest(ctx, "GET", "u", map[string]string{"a": "b"}, nil)
		return fmt.Sprintf("%d %s", status, body), err
	})
	check("send_email", `{"to":"t","subject":"s","body":"b","html":true}`, `{"ok":true}`, nil, func() (any, error) { return none(api.SendEmail(ctx, "t", "s", "b", true)) })
	check("log", `{"level":"info","message":"m","fields":{"a":1}}`, `{"ok":true}`, nil, func() (any, error) {
		api.Log(ctx, "info", "m", map[string]any{"a": 1})
		return nil, nil
	})
	check("config_get", `{"key":"k"}`, `{"value":"v"}`, "v", func() (any, error) { return api.ConfigGet(ctx, "k") })
	check("translate", `{"key":"k","args":[1]}`, `{"value":"v"}`, "v", func() (any, error) { return api.Translate(ctx, "k", 1), nil })
	check("plugin_call", `{"plugin":"p","function":"f","args":null}`, `[1]`, json.RawMessage(`[1]`), func() (any, error) { return api.CallPlugin(ctx, "p", "f", nil) })
	check("publish_event", `{"channel":"c","event_type":"e","data":"d"}`, ok, nil, func() (any, error) { return none(api.PublishEvent(ctx, "c", "e", "d")) })
	check("entity_soft_delete", `{"entity_type":"t","entity_id":1,"reason":"r"}`, ok, nil, func() (any, error) { return none(api.EntitySoftDelete(ctx, "t", 1, "r")) })
	check("entity_restore", `{"entity_type":"t","entity_id":1}`, ok, nil, func() (any, error) { return none(api.EntityRestore(ctx, "t", 1)) })
	check("entity_hard_delete", `{"entity_type":"t","entity_id":1,"reason":"r"}`, ok, nil, func() (any, error) { return none(api.EntityHardDelete(ctx, "t", 1, "r")) })
	check("recycle_bin_list", `{"entity_type":"t"}`, `[{"id":1}]`, json.RawMessage(`[{"id":1}]`), func() (any, error) { return api.RecycleBinList(ctx, "t") })
	check("secure_config_get", `{"key":"k"}`, `{"value":"v"}`, "v", func() (any, error) { return api.SecureConfigGet(ctx, "k") })
	check("secure_config_set", `{"key":"k","value":"v"}`, ok, nil, func() (any, error) { return none(api.SecureConfigSet(ctx, "k", "v")) })
	check("org_id", `{}`, `7`, int64(7), func() (any, error) { return api.OrgID(ctx), nil })
	check("custom_fields_get", `{"entity_type":"t","object_id":1,"fields":null}`, `{"a":9007199254740993}`, map[string]any{"a": int64(9007199254740993)}, func() (any, error) { return api.CustomFieldsGet(ctx, "t", 1, nil) })
	check("custom_fields_set", `{"entity_type":"t","object_id":1,"values":{"a":{"op":"toggle"}}}`, ok, nil, func() (any, error) {
		return none(api.CustomFieldsSet(ctx, "t", 1, map[string]any{"a": plugin.FieldOp{Op: "toggle"}}))
	})
	check("custom_fields_query", `{"entity_type":"t","filters":[{"field":"f","operator":"eq","value":1}]}`, `[4]`, []int64{4}, func() (any, error) {
		return api.CustomFieldsQuery(ctx, "t", []plugin.CustomFieldFilter{{Field: "f", Operator: "eq", Value: 1}})
	})
	check("store_file", `{"key":"k","data":"aGk=","metadata":{"a":"b"}}`, ok, nil, func() (any, error) { return none(api.StoreFile(ctx, "k", []byte("hi"), map[string]string{"a": "b"})) })
	check("get_file", `{"key":"k"}`, `{"data":"aGk=","metadata":{"a":"b"}}`, "hi b", func() (any, error) {
		data, metadata, err := api.GetFile(ctx, "k")
		return fmt.Sprintf("%s %s", data, metadata["a"]), err
	})
	check("delete_file", `{"key":"k"}`, ok, nil, func() (any, error) { return none(api.DeleteFile(ctx, "k")) })
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	check("list_files", `{"prefix":"p"}`, `[{"key":"k","size":1,"content_type":"c","modified_at":"2026-01-02T03:04:05Z"}]`, []plugin.FileInfo{{Key: "k", Size: 1, ContentType: "c", ModifiedAt: modified}}, func() (any, error) { return api.ListFiles(ctx, "p") })
	check("generate_thumbnail", `{"data":"aGk=","content_type":"c","max_width":1,"max_height":2}`, `{"thumb_data":"aGk=","thumb_content_type":"t"}`, "hi t", func() (any, error) {
		data, contentType, err := api.GenerateThumbnail(ctx, []byte("hi"), "c", 1, 2)
		return fmt.Sprintf("%s %s", data, contentType), err
	})
	check("create_article", `{"ticket_id":1,"created_by":2,"subject":"s","body":"b","visible_to_customer":true}`, `{"id":9}`, int64(9), func() (any, error) { return api.CreateArticle(ctx, 1, 2, "s", "b", true) })
	check("create_article_attachment", `{"article_id":1,"created_by":2,"filename":"f","content_type":"c","content":"aGk="}`, `{"id":9}`, int64(9), func() (any, error) { return api.CreateArticleAttachment(ctx, 1, 2, "f", "c", []byte("hi")) })
	check("list_article_attachments", `{"article_id":1}`, `{"attachments":[{"id":2,"url":"u"}]}`, []plugin.ArticleAttachment{{ID: 2, URL: "u"}}, func() (any, error) { return api.ListArticleAttachments(ctx, 1) })
	check("delete_article_attachment", `{"article_id":1,"attachment_id":2}`, ok, nil, func() (any, error) { return none(api.DeleteArticleAttachment(ctx, 1, 2)) })
	check("change_ticket_status", `{"ticket_id":1,"state_id":2,"user_id":3,"until_time":4}`, ok, nil, func() (any, error) { return none(api.ChangeTicketStatus(ctx, 1, 2, 3, 4)) })
	check("list_ticket_states", `{}`, `{"states":[{"id":1,"name":"n","type_name":"t"}]}`, []plugin.TicketStateInfo{{ID: 1, Name: "n", TypeName: "t"}}, func() (any, error) { return api.ListTicketStates(ctx) })
	check("list_ticket_views", `{}`, `{"views":[{"plugin_name":"p","ui_id":"u"}]}`, []plugin.TicketViewInfo{{PluginName: "p", UIID: "u"}}, func() (any, error) { return api.ListTicketViews(ctx) })
	check("render_markdown_to_pdf", `{"markdown":"m","options":{"PageSize":"A4","MarginMM":0,"Title":"","BrandName":"","BrandColor":"","BrandLogoURL":""}}`, `{"pdf":"aGk="}`, []byte("hi"), func() (any, error) {
		return api.RenderMarkdownToPdf(ctx, "m", plugin.PdfRenderOptions{PageSize: "A4"})
	})
	if methods := reflect.TypeOf((*plugin.HostAPI)(nil)).Elem().NumMethod(); len(host.answers) != methods {
		t.Errorf("%d of %d methods are tested", len(host.answers), methods)
	}
	if _, err := api.SecureConfigGet(ctx, "k"); err != nil {
		t.Error(err)
	}
	delete(host.answers, "cache_delete")
	if err := api.CacheDelete(ctx, "k"); err == nil || err.Error() != "host: unknown host API method: cache_delete" {
		t.Errorf("got %v", err)
	}
	if _, err := api.DBExec(ctx, "q", func() {}); err == nil || !strings.HasPrefix(err.Error(), "marshal args: ") {
		t.Errorf("got %v", err)
	}
}

func sameJSON(a, b string) bool {
	var left, right any
	return json.Unmarshal([]byte(a), &left) == nil && json.Unmarshal([]byte(b), &right) == nil && reflect.DeepEqual(left, right)
}

// Programs written against the older generations must still compile.
var (
	_ GKPluginInterface   = (*minimal)(nil)
	_ GKPluginWithHost    = (*sample)(nil)
	_ GKPluginWithContext = (*sample)(nil)
	_ goplugin.Plugin     = (*GKPluginPlugin)(nil)
	_ GKPluginInterface   = (*GKPluginRPCClient)(nil)
	_                     = GKPluginPlugin{Impl: &minimal{}}
	_                     = GKPluginRPCServer{Impl: &minimal{}}
	_                     = CallRequest{Function: "f", Args: nil}
	_ plugin.PluginManifest
)
