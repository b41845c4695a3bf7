// traced-go is a plugin on this repository's SDK that says to which trace a call belongs, and asks the host during it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

// traced is the plugin.
type traced struct{ host *grpcutil.HostAPIClient }

// GKRegister says that the plugin has the name of its program, one route and one job.
func (*traced) GKRegister() (*plugin.GKRegistration, error) {
	name := filepath.Base(os.Args[0])
	return &plugin.GKRegistration{
		Name: name, Version: "1.0.0",
		Routes: []plugin.RouteSpec{{Method: "GET", Path: "/api/plugins/" + name + "/trace", Handler: "trace"}},
		Jobs:   []plugin.JobSpec{{ID: "trace", Handler: "trace", Schedule: "@yearly", Timeout: "100s"}},
	}, nil
}

// Init is for hosts without a host API.
func (*traced) Init(map[string]string) error { return errors.New("traced-go needs a host API") }

// InitWithHost keeps the host API.
func (t *traced) InitWithHost(_ map[string]string, host plugin.HostAPI) error {
	client, ok := host.(*grpcutil.HostAPIClient)
	if !ok {
		return fmt.Errorf("a host API of another kind: %T", host)
	}
	t.host = client
	return nil
}

// Call is for hosts that give no context.
func (t *traced) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	return t.CallWithContext(context.Background(), fn, args)
}

// CallWithContext has two functions: trace says where in a trace the call is, ask_host makes the host call that its
// arguments {"method": "…", "args": …} say.
func (t *traced) CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error) {
	switch fn {
	case "trace":
		return json.Marshal(map[string]string{
			"traceparent": plugin.TraceParent(ctx), "tracestate": plugin.TraceState(ctx),
		})
	case "ask_host":
		var question struct {
			Method string          `json:"method"`
			Args   json.RawMessage `json:"args"`
		}
		if err := json.Unmarshal(args, &question); err != nil {
			return nil, err
		}
		return t.host.Request(ctx, question.Method, question.Args)
	}
	return nil, fmt.Errorf("unknown function: %s", fn)
}

// Shutdown has nothing to put in order.
func (*traced) Shutdown() error { return nil }

func main() { grpcutil.ServePlugin(&traced{}) }
