// tickets-go keeps tickets in tables of its own and uses most of what a host offers: database, cache, events,
// translations, outgoing requests, the log.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/grpcutil"
)

const (
	name    = "tickets-go"
	version = "1.0.0"
	base    = "/api/plugins/" + name
)

// Tickets is the plugin.
type Tickets struct {
	host plugin.ExtendedHostAPI
	// webhook is told of new tickets; empty for nobody.
	webhook string
}

// GKRegister says what the plugin adds to the host.
func (*Tickets) GKRegister() (*plugin.GKRegistration, error) {
	route := func(method, path, handler, description string) plugin.RouteSpec {
		return plugin.RouteSpec{
			Method: method, Path: base + path, Handler: handler,
			Middleware: []string{"agent"}, Description: description,
		}
	}
	return &plugin.GKRegistration{
		Name:        name,
		Version:     version,
		Description: "Tickets on tables of its own",
		License:     "MIT OR Apache-2.0",
		Routes: []plugin.RouteSpec{
			route("GET", "/tickets", "list", "Tickets, the newest first; ?state= and ?before= narrow them"),
			route("POST", "/tickets", "create", "Makes a ticket of title and priority"),
			route("GET", "/tickets/:id", "show", "One ticket"),
			route("POST", "/tickets/:id/close", "close", "Closes a ticket"),
			route("GET", "/statistics", "statistics", "How many tickets there are, by state"),
		},
		Widgets: []plugin.WidgetSpec{{
			ID: "by-state", Title: "Tickets", Handler: "chart", Location: "agent_home", Size: "medium", Refreshable: true,
		}},
		I18n: &plugin.I18nSpec{
			Namespace: name,
			Languages: []string{"en", "de"},
			Translations: map[string]map[string]string{
				"en": {"open": "Open", "closed": "Closed", "title": "{0} tickets", "none": "No tickets yet"},
				"de": {"open": "Offen", "closed": "Erledigt", "title": "{0} Vorgänge", "none": "Noch keine Vorgänge"},
			},
		},
	}, nil
}

// Init runs where there is no host API, without which there is nothing to keep tickets in.
func (*Tickets) Init(map[string]string) error {
	return errors.New("tickets-go needs a host API")
}

// InitWithHost makes the tables.
func (t *Tickets) InitWithHost(config map[string]string, host plugin.HostAPI) error {
	extended, ok := plugin.Extended(host)
	if !ok {
		return errors.New("the SDK's host has no extensions")
	}
	t.host, t.webhook = extended, config["webhook_url"]
	return t.migrate(context.Background())
}

// Call runs a function outside of any call's context.
func (t *Tickets) Call(fn string, args json.RawMessage) (json.RawMessage, error) {
	return t.CallWithContext(context.Background(), fn, args)
}

// CallWithContext runs a function for the host.
func (t *Tickets) CallWithContext(ctx context.Context, fn string, args json.RawMessage) (json.RawMessage, error) {
	handlers := map[string]func(context.Context, json.RawMessage) (any, error){
		"list":       t.list,
		"create":     t.create,
		"show":       t.show,
		"close":      t.close,
		"statistics": t.statistics,
		"chart":      t.chart,
	}
	handler, ok := handlers[fn]
	if !ok {
		return nil, fmt.Errorf("unknown function: %s", fn)
	}
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	result, err := handler(ctx, args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// Shutdown has nothing to do: what counts is in the database.
func (*Tickets) Shutdown() error { return nil }

func main() {
	grpcutil.ServePlugin(&Tickets{})
}
