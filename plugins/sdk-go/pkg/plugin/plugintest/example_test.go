package plugintest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/plugintest"
)

// Lamps is a plugin that sells lamps.
type Lamps struct{ host plugin.HostAPI }

func (l *Lamps) GKRegister() (*plugin.GKRegistration, error) {
	return &plugin.GKRegistration{
		Name: "lamps", Version: "1.0.0",
		Routes: []plugin.RouteSpec{
			{Method: "POST", Path: "/api/plugins/lamps/lamps/:id/order", Handler: "order", Middleware: []string{"auth"}},
		},
	}, nil
}

func (l *Lamps) Init(map[string]string) error { return errors.New("lamps needs a host API") }

func (l *Lamps) InitWithHost(_ map[string]string, host plugin.HostAPI) error {
	l.host = host
	return nil
}

func (l *Lamps) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	return l.CallWithContext(context.Background(), fn, args)
}

func (l *Lamps) CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error) {
	switch fn {
	case "order":
		var wanted struct {
			ID    int64 `json:"id"`
			Count int64 `json:"count"`
		}
		if err := plugin.DecodeArgs(args, &wanted); err != nil {
			return json.Marshal(map[string]any{"error": err.Error(), "status": 400})
		}
		changed, err := l.host.DBExec(ctx, "UPDATE lamps_stock SET n = n - ? WHERE id = ? AND n >= ?", wanted.Count, wanted.ID, wanted.Count)
		if err != nil {
			return nil, err
		}
		if changed == 0 {
			return json.RawMessage(`{"error":"sold out","status":409}`), nil
		}
		if err := l.host.PublishEvent(ctx, "orders", "lamp.ordered", fmt.Sprint(wanted.ID)); err != nil {
			return nil, err
		}
		return json.RawMessage(`{"_status":201,"ordered":true}`), nil
	case "rate":
		status, body, err := l.host.HTTPRequest(ctx, "GET", "https://rates.example.com/eur", nil, nil)
		if err != nil || status != 200 {
			return nil, fmt.Errorf("rates: %d, %w", status, err)
		}
		return body, nil
	}
	return nil, fmt.Errorf("unknown function: %s", fn)
}

func (l *Lamps) Shutdown() error { return nil }

// t is the parameter of a test; examples have none.
var t testing.TB = exampleT{}

type exampleT struct{ testing.TB }

func (exampleT) Helper()                           {}
func (exampleT) Cleanup(func())                    {}
func (exampleT) Logf(string, ...any)               {}
func (exampleT) TempDir() string                   { return os.TempDir() }
func (exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func Example() {
	h := plugintest.NewHost(t)
	h.OnExec("UPDATE lamps_stock SET n = n - ? WHERE id = ? AND n >= ?", plugin.DBResult{Affected: 1})
	p := h.Start(&Lamps{})

	result, err := p.Route("POST", "/api/plugins/lamps/lamps/7/order",
		plugintest.JSON(map[string]int{"count": 2}), plugintest.AsUser(plugintest.Agent))
	fmt.Println(result.Status(), result, err)
	fmt.Println(h.Events())
	fmt.Println(h.CallsTo("db_exec"))
	// Output:
	// 201 {"_status":201,"ordered":true} <nil>
	// [{orders lamp.ordered 7}]
	// [db_exec {"args":[2,7,2],"query":"UPDATE lamps_stock SET n = n - ? WHERE id = ? AND n \u003e= ?"}]
}

func ExampleHost_Deny() {
	h := plugintest.NewHost(t)
	p := h.Start(&Lamps{})
	h.Deny("db_exec")

	_, err := p.Call(context.Background(), "order", map[string]int{"id": 7, "count": 1})
	var refused *plugin.HostError
	fmt.Println(errors.As(err, &refused), err)
	// Output: true host: plugin "lamps": database write access not granted
}

func ExampleHost_HTTPHandler() {
	h := plugintest.NewHost(t)
	h.HTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"asked": %q}`, r.Host+r.URL.Path)
	}))
	p := h.Start(&Lamps{})

	result, err := p.Call(context.Background(), "rate", nil)
	fmt.Println(result, err)
	// Output: {"asked": "rates.example.com/eur"} <nil>
}

func ExampleHost_OnStatement() {
	stock := map[int64]int64{7: 1}
	h := plugintest.NewHost(t)
	h.OnStatement(func(s plugintest.Statement) (*plugin.DBResult, error) {
		count, id := s.Args[0].(int64), s.Args[1].(int64)
		if stock[id] < count {
			return &plugin.DBResult{}, nil
		}
		stock[id] -= count
		return &plugin.DBResult{Affected: 1}, nil
	})
	p := h.Start(&Lamps{})
	for range 2 {
		result, err := p.Call(context.Background(), "order", map[string]int{"id": 7, "count": 1})
		fmt.Println(result.Status(), err)
	}
	// Output:
	// 201 <nil>
	// 409 <nil>
}
