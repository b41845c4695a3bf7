package grpcutil

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
)

func TestEveryExtension(t *testing.T) {
	ctx := ContextWithCallToken(context.Background(), "token")
	host := &fakeHost{answers: map[string]string{}}
	extended, ok := plugin.Extended(hostAPI(t, host))
	if !ok {
		t.Fatal("the client does not offer the extensions")
	}
	type user struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
		Any  any    `json:"any"`
	}
	for _, test := range []struct {
		method, args, answer string
		want                 any
		call                 func() (any, error)
	}{
		{"kv_get", `{"key":"k"}`, `{"value":"AP8=","found":true}`, "00ff true", func() (any, error) {
			value, found, err := extended.KVGet(ctx, "k")
			return fmt.Sprintf("%x %v", value, found), err
		}},
		{"kv_get", `{"key":"k"}`, `{"value":null,"found":false}`, " false", func() (any, error) {
			value, found, err := extended.KVGet(ctx, "k")
			return fmt.Sprintf("%x %v", value, found), err
		}},
		{"kv_set", `{"key":"k","value":"AP8="}`, `{"ok":true}`, nil, func() (any, error) {
			return nil, extended.KVSet(ctx, "k", []byte{0, 255})
		}},
		{"kv_set", `{"key":"k","value":""}`, `{"ok":true}`, nil, func() (any, error) {
			return nil, extended.KVSet(ctx, "k", nil)
		}},
		{"kv_delete", `{"key":"k"}`, `{"ok":true}`, nil, func() (any, error) {
			return nil, extended.KVDelete(ctx, "k")
		}},
		{"kv_list", `{"prefix":"p","after":"a","limit":2}`, `{"keys":["p1","p2"],"next":"p2"}`, "[p1 p2] p2", func() (any, error) {
			keys, next, err := extended.KVList(ctx, "p", "a", 2)
			return fmt.Sprint(keys, " ", next), err
		}},
		{"kv_list", `{"prefix":"","after":"","limit":0}`, `{"keys":[],"next":null}`, "[] ", func() (any, error) {
			keys, next, err := extended.KVList(ctx, "", "", 0)
			return fmt.Sprint(keys, " ", next), err
		}},
		{"http_request", `{"method":"POST","url":"u","headers":{"a":"b"},"body":"aGk="}`,
			`{"status":201,"headers":{"x-a":["1","2"]},"body":"aGk="}`, "201 1  hi", func() (any, error) {
				request := plugin.HTTPRequest{Method: "POST", URL: "u", Headers: map[string]string{"a": "b"}, Body: []byte("hi")}
				response, err := extended.HTTPDo(ctx, request)
				if err != nil {
					return nil, err
				}
				return fmt.Sprintf("%d %s %s %s", response.Status, response.Header("X-A"), response.Header("x-b"), response.Body), nil
			}},
		{"time_now", `{}`, `{"now":"2026-01-02T03:04:05.000000006Z"}`, int64(6), func() (any, error) {
			now, err := extended.TimeNow(ctx)
			return int64(now.Nanosecond()), err
		}},
		{"db_query", `{"query":"q","args":[1]}`, `[{"id":9007199254740993,"name":"n","any":9007199254740993}]`,
			[]user{{9007199254740993, "n", json.Number("9007199254740993")}}, func() (any, error) {
				var users []user
				err := extended.DBQueryInto(ctx, &users, "q", 1)
				return users, err
			}},
		{"db_exec", `{"query":"q","args":[1]}`, `{"affected":1,"last_insert_id":7,"rows":[{"id":7,"name":"n"}]}`,
			"1 7 [{7 n <nil>}]", func() (any, error) {
				result, err := extended.DBWrite(ctx, "q", 1)
				if err != nil {
					return nil, err
				}
				var users []user
				err = result.Into(&users)
				return fmt.Sprint(result.Affected, " ", *result.LastInsertID, " ", users), err
			}},
		{"db_exec", `{"query":"q","args":[]}`, `{"affected":2,"last_insert_id":null}`, "2 true []", func() (any, error) {
			result, err := extended.DBWrite(ctx, "q")
			if err != nil {
				return nil, err
			}
			var users []user
			err = result.Into(&users)
			return fmt.Sprint(result.Affected, " ", result.LastInsertID == nil, " ", users), err
		}},
		{"db_batch", `{"statements":[{"query":"a","args":[1]},{"query":"b","args":[]}]}`,
			`[{"affected":2,"last_insert_id":null},{"affected":0,"last_insert_id":null,"rows":[]}]`, "2 2 []", func() (any, error) {
				results, err := extended.DBBatch(ctx, plugin.DBStatement{Query: "a", Args: []any{1}}, plugin.DBStatement{Query: "b"})
				if err != nil {
					return nil, err
				}
				return fmt.Sprint(len(results), " ", results[0].Affected, " ", string(results[1].Rows)), nil
			}},
		{"db_query", `{"query":"q","args":[]}`, `null`, []user(nil), func() (any, error) {
			var users []user
			err := extended.DBQueryInto(ctx, &users, "q")
			return users, err
		}},
	} {
		host.mu.Lock()
		host.answers[test.method] = test.answer
		host.mu.Unlock()
		got, err := test.call()
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %#v, %v, want %#v", test.method, got, err, test.want)
		}
		request := host.last(t)
		if request.Method != test.method || !sameJSON(string(request.Args), test.args) || request.CallToken != "token" {
			t.Errorf("sent %s %s %s, want %s %s", request.Method, request.Args, request.CallToken, test.method, test.args)
		}
	}
}

func TestErrorsOfTheHostAreTyped(t *testing.T) {
	api := hostAPI(t, &fakeHost{})
	_, _, err := api.KVGet(context.Background(), "k")
	var refused *plugin.HostError
	if !errors.As(err, &refused) || refused.Method != "kv_get" || refused.Text != "unknown host API method: kv_get" {
		t.Fatalf("got %#v", err)
	}
	if err.Error() != "host: unknown host API method: kv_get" {
		t.Fatalf("the text changed: %v", err)
	}
	// A result of another shape, and one that is cut off, are errors and no zero values.
	for _, answer := range []string{`{"keys":7}`, `{"keys":["a"`, ``} {
		api := hostAPI(t, &fakeHost{answers: map[string]string{"kv_list": answer}})
		if _, _, err := api.KVList(context.Background(), "", "", 0); err == nil {
			t.Errorf("%q is accepted", answer)
		}
	}
	if err := api.DBQueryInto(context.Background(), new([]struct{}), "q", func() {}); err == nil {
		t.Error("an argument that is no JSON is accepted")
	}
}

// patient waits for the host for as long as its context lets it.
type patient struct {
	minimal
	host   plugin.ExtendedHostAPI
	ended  chan error
	within time.Duration
}

func (p *patient) InitWithHost(_ map[string]string, host plugin.HostAPI) error {
	p.host, _ = plugin.Extended(host)
	return nil
}

func (p *patient) CallWithContext(ctx context.Context, fn string, _ json.RawMessage) (json.RawMessage, error) {
	if p.within > 0 {
		limited, cancel := context.WithTimeout(ctx, p.within)
		defer cancel()
		ctx = limited
	}
	value, _, err := p.host.KVGet(ctx, fn)
	p.ended <- err
	return value, err
}

func (p *patient) Shutdown() error { return nil }

// Over HashiCorp's own library: a host that hangs holds up one request and nothing else, and the request ends by its
// deadline or by the plugin's shutdown.
func TestHostCallsOfARealSessionCanBeCancelled(t *testing.T) {
	impl := &patient{ended: make(chan error, 1), within: time.Second}
	host := &fakeHost{answers: map[string]string{"kv_get": `{"value":"Imxhd2Ui","found":true}`}, block: make(chan struct{}), entered: make(chan struct{}, 8)}
	client := serve(t, impl)
	connect(t, client, host)
	_, err := client.CallWithContext(context.Background(), "k", nil)
	if err == nil || !errors.Is(<-impl.ended, context.DeadlineExceeded) {
		t.Fatalf("by the deadline: %v", err)
	}
	await(t, host.entered)
	impl.within = 0
	done := make(chan error, 1)
	go func() {
		_, err := client.CallWithContext(context.Background(), "k", nil)
		done <- err
	}()
	await(t, host.entered)
	if err := client.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := <-impl.ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("by the shutdown: %v", err)
	}
	<-done
	// The connection is as good as before.
	close(host.block)
	api, ok := impl.host.(*HostAPIClient)
	if !ok {
		t.Fatal("not our client")
	}
	if value, found, err := api.KVGet(context.Background(), "k"); err != nil || !found || string(value) != `"lawe"` {
		t.Fatalf("afterwards: %s, %v, %v", value, found, err)
	}
}
