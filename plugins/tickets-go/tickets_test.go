package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goatkit/goatflow/pkg/plugin"
	"github.com/goatkit/goatflow/pkg/plugin/plugintest"
)

// table answers the plugin's statements out of a list: by their beginning, as what they say is the plugin's own.
type table struct {
	t       *testing.T
	created bool
	tickets []ticket
}

func (tb *table) answer(s plugintest.Statement) (*plugin.DBResult, error) {
	switch {
	case strings.HasPrefix(s.Query, "CREATE TABLE IF NOT EXISTS tickets_go_ticket"):
		tb.created = true
		return &plugin.DBResult{}, nil
	case strings.HasPrefix(s.Query, "INSERT INTO tickets_go_ticket"):
		tb.tickets = append(tb.tickets, ticket{
			ID: s.Args[0].(string), Title: s.Args[1].(string), Priority: s.Args[2].(int64),
			State: s.Args[3].(string), CreatedMS: s.Args[4].(int64), Version: s.Args[5].(int64),
		})
		return &plugin.DBResult{Affected: 1}, nil
	case strings.HasPrefix(s.Query, "UPDATE tickets_go_ticket SET state = 'closed'"):
		at := slices.IndexFunc(tb.tickets, func(row ticket) bool { return row.ID == s.Args[0] && row.State == "open" })
		if at < 0 {
			return &plugin.DBResult{}, nil
		}
		tb.tickets[at].State = "closed"
		tb.tickets[at].Version++
		return &plugin.DBResult{Affected: 1}, nil
	case strings.HasSuffix(s.Query, "WHERE id = ?"):
		rows := slices.DeleteFunc(slices.Clone(tb.tickets), func(row ticket) bool { return row.ID != s.Args[0] })
		return &plugin.DBResult{Rows: plugintest.Rows(rows)}, nil
	case strings.HasPrefix(s.Query, "SELECT state, COUNT(*)"):
		counts := []count{}
		for _, state := range []string{"open", "closed"} {
			rows := slices.DeleteFunc(slices.Clone(tb.tickets), func(row ticket) bool { return row.State != state })
			if len(rows) > 0 {
				counts = append(counts, count{State: state, Tickets: int64(len(rows))})
			}
		}
		return &plugin.DBResult{Rows: plugintest.Rows(counts)}, nil
	}
	tb.t.Errorf("the table does not know %s", s.Query)
	return nil, nil
}

func start(t *testing.T, opts ...plugintest.Option) (*plugintest.Host, *table, *plugintest.Plugin) {
	t.Helper()
	h, tb := plugintest.NewHost(t), &table{t: t}
	h.OnStatement(tb.answer)
	return h, tb, h.Start(&Tickets{}, opts...)
}

// route sends a request as an agent and reads the answer.
func route(t *testing.T, p *plugintest.Plugin, method, path string, status int, dest any, opts ...plugintest.RequestOption) {
	t.Helper()
	result, err := p.Route(method, base+path, append(opts, plugintest.AsUser(plugintest.Agent))...)
	if err != nil || result.Status() != status {
		t.Fatalf("%s %s: %s, %v; want status %d", method, path, result, err, status)
	}
	if err := result.Decode(dest); err != nil {
		t.Fatal(err)
	}
}

func TestATicketsLife(t *testing.T) {
	h, tb, p := start(t)
	if !tb.created {
		t.Error("the table is not made")
	}
	var made, shown ticket
	route(t, p, "POST", "/tickets", 201, &made, plugintest.JSON(map[string]any{"title": "  The goat is loose ", "priority": 3}))
	if made.Title != "The goat is loose" || made.State != "open" || made.Version != 1 || made.CreatedMS != h.Now().UnixMilli() || len(made.ID) != 32 {
		t.Errorf("made: %+v", made)
	}
	route(t, p, "GET", "/tickets/"+made.ID, 200, &shown)
	if shown != made {
		t.Errorf("shown: %+v", shown)
	}
	route(t, p, "POST", "/tickets/"+made.ID+"/close", 200, &shown)
	if shown.State != "closed" || shown.Version != 2 {
		t.Errorf("closed: %+v", shown)
	}
	var refused struct{ Error string }
	route(t, p, "POST", "/tickets/"+made.ID+"/close", 409, &refused)
	route(t, p, "GET", "/tickets/none", 404, &refused)
	route(t, p, "POST", "/tickets", 400, &refused, plugintest.JSON(map[string]any{"title": " "}))

	events := h.Events()
	if len(events) != 2 || events[0].Channel != channel || events[0].Type != "ticket.created" || events[1].Type != "ticket.closed" {
		t.Fatalf("events: %+v", events)
	}
	var told ticket
	if err := json.Unmarshal([]byte(events[0].Data), &told); err != nil || told != made {
		t.Errorf("told: %s, %v", events[0].Data, err)
	}
}

func TestFiltersBecomeConditions(t *testing.T) {
	h, _, p := start(t)
	const columns = "SELECT id, title, priority, state, created_ms, version FROM tickets_go_ticket WHERE "
	h.OnQuery(columns+"1 = 1 AND state = ? AND created_ms < ? ORDER BY created_ms DESC, id LIMIT 50",
		[]ticket{{ID: "7", CreatedMS: 9007199254740993}})
	var answer struct{ Tickets []ticket }
	route(t, p, "GET", "/tickets?state=open", 200, &answer, plugintest.Query("before", "9007199254740995"))
	if len(answer.Tickets) != 1 || answer.Tickets[0].CreatedMS != 9007199254740993 {
		t.Errorf("got %+v", answer)
	}
	calls := h.CallsTo("db_query")
	var sent struct{ Args json.RawMessage }
	if err := calls[len(calls)-1].Decode(&sent); err != nil || string(sent.Args) != `["open",9007199254740995]` {
		t.Errorf("sent %s, %v", sent.Args, err)
	}
	route(t, p, "GET", "/tickets?before=yesterday", 400, &struct{}{})
}

func TestTheStatisticIsCachedUntilATicketChanges(t *testing.T) {
	h, tb, p := start(t)
	tb.tickets = []ticket{{ID: "1", State: "open"}, {ID: "2", State: "open"}, {ID: "3", State: "closed"}}
	statistic := func() (answer struct {
		Counts []count
		Cached bool
	}) {
		t.Helper()
		route(t, p, "GET", "/statistics", 200, &answer)
		return answer
	}
	if first := statistic(); first.Cached || !slices.Equal(first.Counts, []count{{"open", 2}, {"closed", 1}}) {
		t.Errorf("first: %+v", first)
	}
	if second := statistic(); !second.Cached || len(second.Counts) != 2 {
		t.Errorf("second: %+v", second)
	}
	route(t, p, "POST", "/tickets/1/close", 200, &struct{}{})
	if third := statistic(); third.Cached || !slices.Equal(third.Counts, []count{{"open", 1}, {"closed", 2}}) {
		t.Errorf("third: %+v", third)
	}
	h.Advance(statisticsSeconds * time.Second)
	if fourth := statistic(); fourth.Cached {
		t.Errorf("it outlives its time: %+v", fourth)
	}
	h.Deny("cache_get")
	h.Deny("cache_set")
	if fifth := statistic(); fifth.Cached || len(fifth.Counts) != 2 {
		t.Errorf("without a cache: %+v", fifth)
	}
}

func TestTheChartSpeaksTheLanguageOfWhoeverLooks(t *testing.T) {
	_, _, p := start(t)
	widget, err := p.Widget("by-state", plugintest.Language("de-AT"))
	if err != nil || widget.HTML() != "<p>Noch keine Vorgänge</p>" {
		t.Errorf("empty: %s, %v", widget, err)
	}
	// A host of its own: the empty statistic is cached in that one.
	h, tb, p := start(t)
	tb.tickets = []ticket{{ID: "1", State: "open"}, {ID: "3", State: "closed"}}
	for language, words := range map[string][]string{"de": {"2 Vorgänge", "Offen", "Erledigt"}, "fr": {"2 tickets", "Open", "Closed"}} {
		widget, err := p.Widget("by-state", plugintest.Language(language))
		for _, word := range words {
			if err != nil || !strings.Contains(widget.HTML(), ">"+word+"<") {
				t.Errorf("%s: no %q in %s, %v", language, word, widget.HTML(), err)
			}
		}
	}
	if calls := h.CallsTo("translate"); len(calls) != 6 || calls[0].Function != "chart" {
		t.Errorf("translated: %v", calls)
	}
}

func TestTheWebhookIsToldAndDoesNoHarm(t *testing.T) {
	h, _, p := start(t, plugintest.WithConfig(map[string]string{"webhook_url": "https://hooks.example.com/x"}))
	status := http.StatusNoContent
	var seen []string
	h.HTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.Host+r.URL.Path+" "+r.Header.Get("X-Event"))
		w.WriteHeader(status)
	}))
	var made ticket
	route(t, p, "POST", "/tickets", 201, &made, plugintest.JSON(map[string]any{"title": "t"}))
	if len(h.Logs()) != 0 {
		t.Errorf("logged: %v", h.Logs())
	}
	status = http.StatusTeapot
	h.Fail("publish_event", "no room")
	route(t, p, "POST", "/tickets/"+made.ID+"/close", 200, &struct{}{})
	if want := []string{"POST hooks.example.com/x ticket.created", "POST hooks.example.com/x ticket.closed"}; !slices.Equal(seen, want) {
		t.Errorf("seen: %v", seen)
	}
	logs := h.Logs()
	if len(logs) != 2 || logs[0].Level != "warn" || logs[0].Message != "publishing failed" || logs[0].Fields["error"] != "host: no room" ||
		logs[1].Message != "the webhook failed" || logs[1].Fields["error"] != "status 418" {
		t.Errorf("logged: %v", logs)
	}
}

func TestItNeedsADatabase(t *testing.T) {
	h := plugintest.NewHost(t)
	h.Deny("db_exec")
	_, err := h.TryStart(&Tickets{})
	var refused *plugin.HostError
	if !errors.As(err, &refused) || refused.Text != `plugin "tickets-go": database write access not granted` {
		t.Errorf("denied: %v", err)
	}
	if _, err := plugintest.NewHost(t).TryStart(&Tickets{}, plugintest.WithoutHostAPI()); err == nil {
		t.Error("it starts without a host API")
	}
	if _, err := (&Tickets{}).Call("nope", nil); err == nil || err.Error() != "unknown function: nope" {
		t.Errorf("an unknown function: %v", err)
	}
	h, _, p := start(t)
	h.Fail("db_query", "the database is gone")
	if _, err := p.Call(context.Background(), "list", nil); err == nil || err.Error() != "host: the database is gone" {
		t.Errorf("a query that fails: %v", err)
	}
}
