package plugintest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
	"github.com/goatkit/goatflow/pkg/plugin/plugintest"
)

var background = context.Background()

// start starts the sample plugin.
func start(t testing.TB, opts ...plugintest.Option) (*plugintest.Host, *sample, *plugintest.Plugin) {
	t.Helper()
	h, s := plugintest.NewHost(t), &sample{}
	return h, s, h.Start(s, opts...)
}

// equal compares what was got with what was wanted, as text.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// refusal checks that an error is the host's, with this text.
func refusal(t *testing.T, err error, method, text string) {
	t.Helper()
	var refused *plugin.HostError
	if !errors.As(err, &refused) {
		t.Errorf("%s: got %v, want an error of the host", method, err)
		return
	}
	equal(t, "method", refused.Method, method)
	if !strings.Contains(refused.Text, text) {
		t.Errorf("%s: got %q, want %q in it", method, refused.Text, text)
	}
}

func TestStart(t *testing.T) {
	h, s, p := start(t, plugintest.WithConfig(map[string]string{"colour": "brown", "plugin_dir": "/x"}))
	equal(t, "config", []string{s.config["colour"], s.config["plugin_name"], s.config["plugin_dir"], s.config["host_version"]},
		[]string{"brown", "sample", "/x", plugintest.HostVersion})
	if s.config["work_dir"] == "" || s.plain {
		t.Errorf("no work directory, or Init: %v", s.config)
	}
	equal(t, "log", h.Logs(), "[{info up map[]}]")
	equal(t, "registration", p.Registration().Routes[0].Handler, "echo")
	equal(t, "calls", h.Calls(), `[log {"fields":null,"level":"info","message":"up"}]`)
	if err := errors.Join(p.Shutdown(), p.Shutdown()); err != nil || s.shutdowns != 1 {
		t.Errorf("shutdown: %v, %d times", err, s.shutdowns)
	}
	if _, err := p.Call(background, "echo", nil); err == nil {
		t.Error("a plugin that is shut down is called")
	}
}

func TestAPluginWithoutTheHostAPIIsInitialised(t *testing.T) {
	r := &recorder{TB: t}
	impl := &plain{}
	p := plugintest.NewHost(r).Start(impl)
	result, err := p.Call(background, "f", []byte(nil))
	equal(t, "call", result, `"fnull"`)
	if err != nil || impl.config["plugin_name"] != "plain" {
		t.Errorf("%v, %v", err, impl.config)
	}
	r.finish()
	equal(t, "errors", r.errors, `[plugintest: shutdown of plugin "plain": on the way out]`)
	_, s, _ := start(t, plugintest.WithoutHostAPI())
	if !s.plain || s.host != nil {
		t.Error("InitWithHost was used")
	}
}

func TestWhatDoesNotStart(t *testing.T) {
	_, err := plugintest.NewHost(t).TryStart(&sample{}, plugintest.WithConfig(map[string]string{"fail": "x"}))
	if !errors.Is(err, errSample) {
		t.Errorf("got %v", err)
	}
	said := fatal(t, func(t testing.TB) {
		plugintest.NewHost(t).Start(&sample{}, plugintest.WithConfig(map[string]string{"fail": "x"}))
	})
	equal(t, "said", said, `plugintest: plugin "sample" does not start: no such lamp`)
	_, err = plugintest.NewHost(t).TryStart(&sample{change: func(r *plugin.GKRegistration) { r.Version = "" }})
	equal(t, "without a version", err, "GKRegister: a registration has a Name and a Version")
	h, _, _ := start(t)
	if _, err := h.TryStart(&plain{}); err == nil || !strings.Contains(err.Error(), "NewHost") {
		t.Errorf("two plugins on one host: %v", err)
	}
}

func TestCall(t *testing.T) {
	_, s, p := start(t)
	for _, test := range []struct {
		args any
		want string
	}{
		{nil, ""},
		{json.RawMessage(`{"a" : 1}`), `{"a" : 1}`},
		{map[string]any{"a": int64(1) << 60}, `{"a":1152921504606846976}`},
	} {
		result, err := p.Call(background, "echo", test.args)
		if err != nil || result.String() != test.want {
			t.Errorf("%v: got %s, %v", test.args, result, err)
		}
	}
	if _, err := p.Call(background, "fail", nil); !errors.Is(err, errSample) {
		t.Errorf("the function's error: %v", err)
	}
	if _, err := p.Call(background, "echo", func() {}); err == nil {
		t.Error("arguments that are no JSON are accepted")
	}
	// The context is the test's, and ends with the plugin.
	type key struct{}
	entered := make(chan any, 1)
	s.functions = map[string]func(context.Context, json.RawMessage) (any, error){
		"wait": func(ctx context.Context, _ json.RawMessage) (any, error) {
			entered <- ctx.Value(key{})
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	ended := make(chan error, 1)
	// The deadline only ends a test that fails.
	ctx, cancel := context.WithTimeout(context.WithValue(background, key{}, "v"), time.Minute)
	defer cancel()
	go func() {
		_, err := p.Call(ctx, "wait", nil)
		ended <- err
	}()
	equal(t, "value", <-entered, "v")
	if err := p.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The plugin meets the SDK's own client: what JSON does to values happens here, too.
func TestValuesAreAsWithARealHost(t *testing.T) {
	const query = "SELECT  id,\n n FROM t WHERE b = ?"
	h := plugintest.NewHost(t)
	h.OnQuery("SELECT id, n FROM t  WHERE b = ?", []map[string]any{{"id": int64(9007199254740993), "n": 7, "b": []byte{0, 255}}})
	s := &sample{}
	h.Start(s)
	rows, err := s.host.DBQuery(background, query, []byte("hi"), 1.5, nil, int64(9007199254740993))
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{"id": int64(9007199254740993), "n": float64(7), "b": "AP8="}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got %#v", rows)
	}
	equal(t, "args", h.CallsTo("db_query")[0], `db_query {"args":["aGk=",1.5,null,9007199254740993],"query":"SELECT  id,\n n FROM t WHERE b = ?"}`)
	s = &sample{}
	h.Start(s, plugintest.WithServeOptions(grpcutil.WithInt64()))
	rows, err = s.host.DBQuery(background, query)
	if err != nil || rows[0]["n"] != int64(7) {
		t.Errorf("with WithInt64: %#v, %v", rows, err)
	}
}

func TestDatabaseAnswers(t *testing.T) {
	h := plugintest.NewHost(t)
	api := h.API()
	_, err := api.DBQuery(background, "SELECT 1")
	refusal(t, err, "db_query", `no answer to db_query "SELECT 1"; set one up with Host.OnQuery, Host.OnStatement or Host.UseDB`)
	h.OnQuery("SELECT 1", nil)
	rows, err := api.DBQuery(background, "SELECT 1")
	if err != nil || len(rows) != 0 || rows == nil {
		t.Errorf("no rows: %#v, %v", rows, err)
	}
	_, err = api.DBExec(background, "SELECT 1")
	refusal(t, err, "db_exec", "there is one of Host.OnQuery, which is for another method")
	id := int64(7)
	h.OnExec("INSERT", plugin.DBResult{Affected: 1, LastInsertID: &id, Rows: plugintest.Rows([]map[string]any{{"id": 7}})})
	result, err := api.DBWrite(background, "INSERT", 1)
	if err != nil || result.Affected != 1 || *result.LastInsertID != 7 || string(result.Rows) != `[{"id":7}]` {
		t.Errorf("got %+v, %v", result, err)
	}
	_, err = api.DBQuery(background, "INSERT")
	refusal(t, err, "db_query", "there is one of Host.OnExec, which is for another method")
	var seen []plugintest.Statement
	h.OnStatement(func(statement plugintest.Statement) (*plugin.DBResult, error) {
		seen = append(seen, statement)
		if statement.Query == "UPDATE" {
			return nil, errors.New("UNIQUE constraint failed")
		}
		return nil, nil
	})
	h.OnStatement(func(statement plugintest.Statement) (*plugin.DBResult, error) {
		return &plugin.DBResult{Affected: int64(len(statement.Args))}, nil
	})
	affected, err := api.DBExec(background, "DELETE", true, "x", map[string]any{"base64": "AP8="})
	if err != nil || affected != 3 || !reflect.DeepEqual(seen[0].Args, []any{true, "x", []byte{0, 255}}) {
		t.Errorf("got %d, %v, %#v", affected, err, seen)
	}
	results, err := api.DBBatch(background, plugin.DBStatement{Query: "INSERT"}, plugin.DBStatement{Query: "SELECT 1"}, plugin.DBStatement{Query: "DELETE", Args: []any{1}})
	if err != nil || len(results) != 3 || results[0].Affected != 1 || string(results[1].Rows) != "[]" || results[2].Affected != 1 {
		t.Errorf("got %+v, %v", results, err)
	}
	_, err = api.DBBatch(background, plugin.DBStatement{Query: "INSERT"}, plugin.DBStatement{Query: "UPDATE"})
	refusal(t, err, "db_batch", "statement 2: UNIQUE constraint failed")
	equal(t, "said", fatal(t, func(t testing.TB) { plugintest.NewHost(t).OnQuery("q", 7) }),
		`plugintest: OnQuery("q"): the rows are no list of objects: json: cannot unmarshal number into Go value of type []map[string]json.RawMessage`)
}

func TestCacheEndsByTheClock(t *testing.T) {
	h := plugintest.NewHost(t)
	api := h.API()
	get := func() string {
		t.Helper()
		value, found, err := api.CacheGet(background, "k")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %v", value, found)
	}
	equal(t, "nothing", get(), " false")
	if err := api.CacheSet(background, "k", []byte("v"), 60); err != nil {
		t.Fatal(err)
	}
	h.Advance(60*time.Second - 1)
	equal(t, "within", get(), "v true")
	h.Advance(1)
	equal(t, "after", get(), " false")
	h.SetCached("k", nil)
	h.Advance(time.Hour - 1)
	equal(t, "empty, and there", get(), " true")
	h.Advance(1)
	equal(t, "after the usual hour", get(), " false")
	if err := api.CacheSet(background, "k", []byte("v"), 1<<40); err != nil {
		t.Fatal(err)
	}
	h.Advance(30 * 24 * time.Hour)
	equal(t, "after the longest time", get(), " false")
	if err := errors.Join(api.CacheSet(background, "k", []byte("v"), 0), api.CacheDelete(background, "k"), api.CacheDelete(background, "k")); err != nil {
		t.Error(err)
	}
	equal(t, "deleted", get(), " false")
	refusal(t, api.CacheSet(background, "", nil, 0), "cache_set", "the key is empty")
	now, err := api.TimeNow(background)
	if err != nil || !now.Equal(h.Now()) {
		t.Errorf("time: %v, %v", now, err)
	}
}

func TestStores(t *testing.T) {
	h := plugintest.NewHost(t)
	api := h.API()
	for i := range 150 {
		h.SetKV(fmt.Sprintf("k%03d", i), []byte{1})
	}
	keys, next, err := api.KVList(background, "k", "", 0)
	if err != nil || len(keys) != 100 || next != "k099" {
		t.Errorf("page: %d, %s, %v", len(keys), next, err)
	}
	keys, next, err = api.KVList(background, "k", next, 0)
	if err != nil || len(keys) != 50 || next != "" {
		t.Errorf("last page: %d, %s, %v", len(keys), next, err)
	}
	keys, next, err = api.KVList(background, "k", "k049", 100)
	if err != nil || len(keys) != 100 || next != "" {
		t.Errorf("a page that is full and the last: %d, %s, %v", len(keys), next, err)
	}
	if err := errors.Join(api.KVSet(background, "empty", nil), api.KVDelete(background, "k000"), api.KVDelete(background, "none")); err != nil {
		t.Error(err)
	}
	first, err := api.KVSetIf(background, "counted", []byte("1"), 0)
	again, errAgain := api.KVSetIf(background, "counted", []byte("x"), 0)
	value, version, errGet := api.KVGetVersion(background, "counted")
	counted, errNext := api.KVSetIf(background, "counted", []byte("2"), version)
	late, errLate := api.KVSetIf(background, "counted", []byte("x"), version)
	if err := errors.Join(err, errAgain, errGet, errNext, errLate); err != nil {
		t.Fatal(err)
	}
	if !first || again || string(value) != "1" || !counted || late {
		t.Errorf("versions: %v %v %q %v %v", first, again, value, counted, late)
	}
	if _, version, err := api.KVGetVersion(background, "none"); err != nil || version != 0 {
		t.Errorf("no value has version %d, %v", version, err)
	}
	if err := api.KVDelete(background, "counted"); err != nil {
		t.Fatal(err)
	}
	_, found, err := api.KVGet(background, "empty")
	equal(t, "empty", fmt.Sprint(found, err), "true <nil>")
	_, found = h.KV("k000")
	equal(t, "deleted", found, false)

	_, err = api.SecureConfigGet(background, "key")
	refusal(t, err, "secure_config_get", `secure config key "key" not found`)
	if err := api.SecureConfigSet(background, "key", "hush"); err != nil {
		t.Error(err)
	}
	secret, err := api.SecureConfigGet(background, "key")
	equal(t, "secret", fmt.Sprint(secret, err), "hush<nil>")

	_, err = api.ConfigGet(background, "app.name")
	refusal(t, err, "config_get", "unknown config key: app.name")
	h.SetSetting("app.name", "Test")
	name, err := api.ConfigGet(background, "app.name")
	equal(t, "setting", fmt.Sprint(name, err), "Test<nil>")

	_, _, err = api.GetFile(background, "a/b")
	refusal(t, err, "get_file", `file "a/b" not found`)
	refusal(t, api.StoreFile(background, "../b", nil, nil), "store_file", "a part begins with a dot")
	h.SetFile("a/a", []byte("x"), nil)
	if err := api.StoreFile(background, "a/b", []byte{0, 255}, map[string]string{"content-type": "a/b"}); err != nil {
		t.Error(err)
	}
	data, metadata, err := api.GetFile(background, "a/b")
	equal(t, "file", fmt.Sprint(data, metadata, err), "[0 255] map[content-type:a/b] <nil>")
	files, err := api.ListFiles(background, "a/")
	if err != nil || len(files) != 2 || files[0].ContentType != "application/octet-stream" || files[1].Size != 2 || !files[1].ModifiedAt.Equal(h.Now()) {
		t.Errorf("files: %+v, %v", files, err)
	}
	if err := api.DeleteFile(background, "a/b"); err != nil {
		t.Error(err)
	}
	_, _, found = h.File("a/b")
	equal(t, "deleted file", found, false)

	h.SetCustomFields("Ticket", 7, map[string]any{"a": int64(9007199254740993)})
	if err := api.CustomFieldsSet(background, "Ticket", 7, map[string]any{"b": "x"}); err != nil {
		t.Error(err)
	}
	values, err := api.CustomFieldsGet(background, "Ticket", 7, nil)
	equal(t, "fields", fmt.Sprint(values, err), "map[a:9007199254740993 b:x] <nil>")
	values, err = api.CustomFieldsGet(background, "Ticket", 7, []string{"b"})
	equal(t, "some fields", fmt.Sprint(values, err), "map[b:x] <nil>")
	err = api.CustomFieldsSet(background, "Ticket", 7, map[string]any{"a": plugin.FieldOp{Op: "increment", Value: 1}})
	refusal(t, err, "custom_fields_set", `Host.OnMethod("custom_fields_set", …)`)
}

func TestWhatThePluginSends(t *testing.T) {
	h := plugintest.NewHost(t)
	api := h.API()
	if err := errors.Join(
		api.SendEmail(background, "a@example.com", "s", "b", true),
		api.PublishEvent(background, "c", "e", `{"a":1}`),
	); err != nil {
		t.Fatal(err)
	}
	api.Log(background, "WARNING", "slow", map[string]any{"ms": 1200})
	api.Log(background, "loud", "m", nil)
	equal(t, "mails", h.Mails(), []plugintest.Mail{{To: "a@example.com", Subject: "s", Body: "b", HTML: true}})
	equal(t, "events", h.Events(), []plugintest.Event{{Channel: "c", Type: "e", Data: `{"a":1}`}})
	equal(t, "logs", h.Logs(), `[{warn slow map[ms:1200]} {info m map[]}]`)
	var first struct{ To string }
	if err := h.Calls()[0].Decode(&first); err != nil || first.To != "a@example.com" {
		t.Errorf("%+v, %v", first, err)
	}
	h.ForgetCalls()
	equal(t, "forgotten", len(h.Calls())+len(h.Mails())+len(h.Events())+len(h.Logs()), 0)
}

func TestHTTP(t *testing.T) {
	h := plugintest.NewHost(t)
	api := h.API()
	_, _, err := api.HTTPRequest(background, "GET", "https://api.example.com/v1", nil, nil)
	refusal(t, err, "http_request", "Host.OnHTTP or Host.HTTPHandler")
	h.OnHTTP("", "https://api.example.com/v1", plugin.HTTPResponse{Body: []byte("canned"), Headers: map[string][]string{"X-A": {"1"}}})
	response, err := api.HTTPDo(background, plugin.HTTPRequest{URL: "https://api.example.com/v1"})
	if err != nil || response.Status != 200 || string(response.Body) != "canned" || response.Header("x-a") != "1" {
		t.Errorf("%+v, %v", response, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST api.example.com/items", func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		w.Header().Add("X-Seen", r.Header.Get("X-Sent"))
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s %s", r.Host, body.String())
	})
	mux.HandleFunc("GET /old", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://other.example.com/new", http.StatusFound)
	})
	mux.HandleFunc("GET other.example.com/new", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("new")) })
	h.HTTPHandler(mux)
	response, err = api.HTTPDo(background, plugin.HTTPRequest{
		Method: "POST", URL: "https://api.example.com/items", Headers: map[string]string{"x-sent": "s"}, Body: []byte("hi"),
	})
	if err != nil || response.Status != 201 || string(response.Body) != "api.example.com hi" || response.Header("X-Seen") != "s" {
		t.Errorf("%+v, %v", response, err)
	}
	status, body, err := api.HTTPRequest(background, "GET", "http://api.example.com/old", nil, nil)
	equal(t, "redirected", fmt.Sprint(status, string(body), err), "200new<nil>")
	status, _, err = api.HTTPRequest(background, "GET", "http://api.example.com/none", nil, nil)
	equal(t, "not there", fmt.Sprint(status, err), "404 <nil>")
	for _, url := range []string{"api.example.com", "ftp://x/", "https://user@x/"} {
		_, _, err = api.HTTPRequest(background, "GET", url, nil, nil)
		refusal(t, err, "http_request", "invalid URL")
	}
}

func TestOtherPluginsAndMethods(t *testing.T) {
	h, s, p := start(t)
	_, err := s.host.CallPlugin(background, "other", "sum", nil)
	refusal(t, err, "plugin_call", "Host.OnPluginCall")
	h.OnPluginCall("other", "sum", func(args json.RawMessage) (any, error) { return args, nil })
	h.OnPluginCall("other", "fail", func(json.RawMessage) (any, error) { return nil, errSample })
	s.functions = map[string]func(context.Context, json.RawMessage) (any, error){
		"ask": func(ctx context.Context, _ json.RawMessage) (any, error) {
			return s.host.CallPlugin(ctx, "other", "sum", json.RawMessage(`{"a":1,"_user_id":99}`))
		},
	}
	result, err := p.Call(background, "ask", nil)
	equal(t, "without a user", fmt.Sprint(result, err), `{"_is_admin":false,"a":1} <nil>`)
	answer, err := s.host.CallPlugin(background, "other", "sum", json.RawMessage(`[1]`))
	equal(t, "a list", fmt.Sprint(string(answer), err), "[1]<nil>")
	_, err = s.host.CallPlugin(background, "other", "fail", nil)
	refusal(t, err, "plugin_call", "no such lamp")

	_, err = s.host.CreateArticle(background, 1, 2, "s", "b", true)
	refusal(t, err, "create_article", `method "create_article" is not provided by this host; in a test, Host.OnMethod("create_article", …) provides it`)
	h.OnMethod("create_article", func(json.RawMessage) (any, error) { return map[string]int{"id": 7}, nil })
	id, err := s.host.CreateArticle(background, 1, 2, "s", "b", true)
	equal(t, "article", fmt.Sprint(id, err), "7 <nil>")
	equal(t, "no organisation", s.host.OrgID(background), 0)
	h.OnMethod("org_id", func(json.RawMessage) (any, error) { return 5, nil })
	equal(t, "organisation", s.host.OrgID(background), 5)
	client := s.host.(*grpcutil.HostAPIClient)
	_, err = client.Request(background, "new_method", map[string]any{})
	refusal(t, err, "new_method", "unknown host API method: new_method")
}

func TestDenyAndFail(t *testing.T) {
	h, s, _ := start(t)
	h.Deny("db_query")
	h.Deny("log")
	h.OnQuery("q", nil)
	_, err := s.host.DBQuery(background, "q")
	equal(t, "denied", err, `host: plugin "sample": database read access not granted`)
	refusal(t, err, "db_query", "")
	client := s.host.(*grpcutil.HostAPIClient)
	_, err = client.Request(background, "log", map[string]any{"message": "m"})
	refusal(t, err, "log", `plugin "sample": it is blocked by its policy`)
	h.Fail("db_query", "100% full")
	_, err = s.host.DBQuery(background, "q")
	equal(t, "failed", err, "host: 100% full")
	h.Allow("db_query")
	if _, err := s.host.DBQuery(background, "q"); err != nil {
		t.Error(err)
	}
	equal(t, "recorded all the same", len(h.CallsTo("db_query")), 3)
	for _, run := range []func(h *plugintest.Host){
		func(h *plugintest.Host) { h.Deny("db_qurey") },
		func(h *plugintest.Host) { h.Fail("db_qurey", "x") },
		func(h *plugintest.Host) { h.Fail("db_query", "") },
	} {
		said := fatal(t, func(t testing.TB) { run(plugintest.NewHost(t)) })
		if !strings.HasPrefix(said, "plugintest: ") {
			t.Errorf("said %q", said)
		}
	}
}

func TestRoutes(t *testing.T) {
	_, _, p := start(t, plugintest.WithRoutes("/webhook/*"))
	const envelope = `"_client_ip":"192.0.2.1","_is_admin":false,"_lang":"en",`
	const agent = `"_user_email":"agent@example.com","_user_id":2,"_user_login":"agent@example.com","_user_role":"Agent"`
	asAgent := plugintest.AsUser(plugintest.Agent)
	for _, test := range []struct {
		method, path string
		opts         []plugintest.RequestOption
		want         string
	}{
		{"GET", "/api/plugins/sample/items/7?ID=8&tag=a&tag=b&_user_id=1&_x=1&org_id=5", []plugintest.RequestOption{asAgent, plugintest.Query("tag", "c"), plugintest.RequestID("r")},
			`{` + envelope + `"_method":"GET","_path":"/api/plugins/sample/items/7","_request_id":"r",` + agent + `,"id":"7","tag":["a","b","c"]}`},
		{"HEAD", "/api/plugins/sample/items/new", nil, `{"fixed":true}`},
		{"GET", "/api/plugins/sample/files/a/b%20c", []plugintest.RequestOption{plugintest.ClientIP(""), plugintest.Language("de")},
			`{"_is_admin":false,"_lang":"de","_method":"GET","_path":"/api/plugins/sample/files/a/b%20c","_request_id":"plugintest","path":"a/b c"}`},
		{"POST", "/api/plugins/sample/items", []plugintest.RequestOption{asAgent, plugintest.JSON(map[string]any{"n": int64(9007199254740993), "_is_admin": true})},
			`{` + envelope + `"_method":"POST","_path":"/api/plugins/sample/items","_request_id":"plugintest",` + agent + `,"n":9007199254740993}`},
		{"POST", "/webhook/x", []plugintest.RequestOption{plugintest.Form(url.Values{"a": {"1"}, "b": {"1", "2"}})},
			`{` + envelope + `"_method":"POST","_path":"/webhook/x","_request_id":"plugintest","a":"1","b":["1","2"]}`},
		{"POST", "/webhook/x", []plugintest.RequestOption{plugintest.Body("text/plain", []byte("hi"))},
			`{"_body":"hi","_client_ip":"192.0.2.1","_content_type":"text/plain","_is_admin":false,"_lang":"en","_method":"POST","_path":"/webhook/x","_request_id":"plugintest"}`},
		{"POST", "/webhook/x", []plugintest.RequestOption{plugintest.Body("image/png", []byte{255, 0})},
			`{"_body":"/wA=","_body_encoding":"base64","_client_ip":"192.0.2.1","_content_type":"image/png","_is_admin":false,"_lang":"en","_method":"POST","_path":"/webhook/x","_request_id":"plugintest"}`},
		{"POST", "/webhook/x", []plugintest.RequestOption{plugintest.JSON([]int{1})},
			`{"_body":"[1]","_client_ip":"192.0.2.1","_content_type":"application/json","_is_admin":false,"_lang":"en","_method":"POST","_path":"/webhook/x","_request_id":"plugintest"}`},
		{"POST", "/webhook/x", []plugintest.RequestOption{plugintest.Form(url.Values{"a": {"1"}}), plugintest.Upload("f", "a.bin", "x/y", []byte{255, 0})},
			`{"_client_ip":"192.0.2.1","_files":[{"name":"f","filename":"a.bin","content_type":"x/y","size":2,"data":"/wA="}],"_is_admin":false,"_lang":"en","_method":"POST","_path":"/webhook/x","_request_id":"plugintest","a":"1"}`},
		{"GET", "/ui/sample_page/x", []plugintest.RequestOption{plugintest.AsUser(plugintest.Customer)},
			`{` + envelope[:len(envelope)-1] + `,"_method":"GET","_path":"/ui/sample_page/x","_request_id":"plugintest","_customer_login":"customer@example.com","_user_email":"customer@example.com","_user_id":3,"_user_login":"customer@example.com","_user_role":"Customer"}`},
	} {
		result, err := p.Route(test.method, test.path, test.opts...)
		if err != nil || !sameJSON(t, result.String(), test.want) {
			t.Errorf("%s %s: got %s, %v\nwant %s", test.method, test.path, result, err, test.want)
		}
	}
}

func TestTheTraceOfACall(t *testing.T) {
	_, s, p := start(t, plugintest.WithRoutes("/traced"))
	seen := ""
	s.functions = map[string]func(context.Context, json.RawMessage) (any, error){
		"traced": func(ctx context.Context, _ json.RawMessage) (any, error) {
			seen = plugin.TraceParent(ctx) + " " + plugin.TraceState(ctx)
			// The host knows the call by its token, whatever is told in it.
			return nil, s.host.KVSet(ctx, "called", []byte("1"))
		},
	}
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, test := range []struct {
		opts []plugintest.RequestOption
		want string
	}{
		{nil, " "},
		{[]plugintest.RequestOption{plugintest.Trace(parent, "")}, parent + " "},
		{[]plugintest.RequestOption{plugintest.Trace(parent, "a=b;c")}, parent + " a=b;c"},
	} {
		opts := append(test.opts, plugintest.AsUser(plugintest.Agent))
		if _, err := p.Route("GET", "/traced", opts...); err != nil {
			t.Fatal(err)
		}
		equal(t, "trace", seen, test.want)
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	read := func(text string) (value any) {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		return value
	}
	return reflect.DeepEqual(read(a), read(b))
}

func TestRequestsThatAHostDoesNotPassOn(t *testing.T) {
	h, _, p := start(t)
	h.ForgetCalls()
	agent, customer := plugintest.AsUser(plugintest.Agent), plugintest.AsUser(plugintest.Customer)
	for _, test := range []struct {
		method, path string
		opts         []plugintest.RequestOption
		status       int
	}{
		{"GET", "/api/plugins/sample/none", nil, 404},
		{"GET", "/api/plugins/sample/items/", nil, 404},
		{"GET", "/api/plugins/sample/files/", nil, 404},
		{"GET", "/api/plugins/sample/items/a%2Fb", []plugintest.RequestOption{agent}, 404},
		{"GET", "/api/plugins/sample/files/a/../b", nil, 404},
		{"GET", "no path", nil, 404},
		{"DELETE", "/api/plugins/sample/items/7", nil, 405},
		{"GET", "/api/plugins/sample/items/7", nil, 401},
		{"POST", "/api/plugins/sample/items", []plugintest.RequestOption{customer}, 403},
		{"POST", "/api/plugins/sample/items", []plugintest.RequestOption{agent, plugintest.Body("application/json", []byte("{"))}, 400},
		{"GET", "/api/plugins/sample/odd", []plugintest.RequestOption{agent}, 404},
		{"POST", "/webhook/x", nil, 404},
	} {
		_, err := p.Route(test.method, test.path, test.opts...)
		var refused *plugintest.RouteError
		if !errors.As(err, &refused) || refused.Status != test.status {
			t.Errorf("%s %s: got %v, want status %d", test.method, test.path, err, test.status)
		}
	}
	if _, err := p.Widget("none"); err == nil {
		t.Error("a widget that is not there")
	}
	if _, err := p.Widget("w", customer); err == nil {
		t.Error("a customer sees a widget")
	}
}

func TestTextsAreInTheLanguageOfTheCall(t *testing.T) {
	h, s, p := start(t)
	for _, test := range []struct{ language, want string }{
		{"de-AT", "<p>Hallo, Ann</p>"}, {"fr", "<p>Hello, Ann</p>"}, {"en", "<p>Hello, Ann</p>"},
	} {
		result, err := p.Widget("w", plugintest.Language(test.language))
		equal(t, test.language, fmt.Sprint(result.HTML(), err), test.want+"<nil>")
	}
	h.SetTexts("other", "en", map[string]string{"bye": "Bye"})
	for _, test := range []struct {
		key  string
		args []any
		want string
	}{
		{"sample.hello", []any{1.5}, "Hello, 1.5"},
		{"hello", nil, "Hello, {0}"},
		{"percent", []any{3, "x"}, "3 of x: 100%"},
		{"percent", []any{nil}, " of %s: 100%"},
		{"other.bye", nil, "Bye"},
		{"none.at.all", []any{1}, "none.at.all"},
	} {
		equal(t, test.key, s.host.Translate(background, test.key, test.args...), test.want)
	}
	equal(t, "function", h.CallsTo("translate")[0].Function, "widget")
}

// A handle that outlives its call is refused, as by a real host.
func TestAContextOfACallThatEndedIsRefused(t *testing.T) {
	_, s, p := start(t)
	var kept context.Context
	s.functions = map[string]func(context.Context, json.RawMessage) (any, error){
		"keep": func(ctx context.Context, _ json.RawMessage) (any, error) {
			kept = context.WithoutCancel(ctx)
			return nil, s.host.KVSet(ctx, "k", nil)
		},
	}
	if _, err := p.Call(background, "keep", nil); err != nil {
		t.Fatal(err)
	}
	refusal(t, s.host.KVSet(kept, "k", nil), "kv_set", "unknown or finished call context")
}

func TestWhatAHostMakesOfAResult(t *testing.T) {
	for _, test := range []struct {
		result string
		status int
	}{
		{``, 200},
		{`[1]`, 200},
		{`{"status":"running"}`, 200},
		{`{"error":"no such thing","status":404}`, 404},
		{`{"error":"no such thing","status":200}`, 500},
		{`{"error":"no such thing"}`, 500},
		{`{"error":"","status":404}`, 200},
		{`{"error":null}`, 200},
		{`{"redirect":"/there"}`, 303},
		{`{"redirect":"/there","status":307}`, 307},
		{`{"_status":201,"error":"x"}`, 201},
		{`{"_status":700}`, 502},
	} {
		equal(t, test.result, plugintest.Result(test.result).Status(), test.status)
	}
	var decoded struct{ N int }
	if err := plugintest.Result(`{"n":7}`).Decode(&decoded); err != nil || decoded.N != 7 {
		t.Errorf("%v, %v", decoded, err)
	}
	encoded, err := json.Marshal([]plugintest.Result{nil, plugintest.Result(`{"a":1}`)})
	equal(t, "as JSON", fmt.Sprint(string(encoded), err), `[null,{"a":1}]<nil>`)
}

func TestAStartAfterAnotherFindsWhatWasStored(t *testing.T) {
	h, s, p := start(t)
	if err := errors.Join(s.host.KVSet(background, "k", []byte("v")), p.Shutdown()); err != nil {
		t.Fatal(err)
	}
	again := &sample{change: func(r *plugin.GKRegistration) { r.I18n = nil }}
	h.Start(again)
	value, found, err := again.host.KVGet(background, "k")
	equal(t, "value", fmt.Sprint(string(value), found, err), "vtrue <nil>")
	for _, key := range []string{"hello", "sample.hello"} {
		equal(t, "texts of the version before", again.host.Translate(background, key), key)
	}
}

func TestConcurrentUse(t *testing.T) {
	h, s, p := start(t)
	s.functions = map[string]func(context.Context, json.RawMessage) (any, error){
		"work": func(ctx context.Context, _ json.RawMessage) (any, error) {
			s.host.Log(ctx, "info", "m", map[string]any{"a": 1})
			return nil, errors.Join(
				s.host.CacheSet(ctx, "k", []byte("v"), 1), s.host.KVSet(ctx, "k", nil),
				s.host.PublishEvent(ctx, "c", "e", ""), s.host.StoreFile(ctx, "k", nil, nil),
			)
		},
	}
	var workers sync.WaitGroup
	for range 8 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for range 20 {
				if _, err := p.Call(background, "work", nil); err != nil {
					t.Error(err)
				}
				h.Advance(time.Second)
				h.SetSetting("a", "b")
				_ = append(h.Calls(), h.CallsTo("log")...)
				_, _ = h.Logs(), h.Events()
			}
		}()
	}
	workers.Wait()
	equal(t, "events", len(h.Events()), 160)
	equal(t, "requests", len(h.CallsTo("log", "cache_set", "kv_set", "publish_event", "store_file")), 801)
}
