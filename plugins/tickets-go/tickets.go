package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goatkit/goatflow/pkg/plugin"
)

const (
	titleRunesMax = 200
	pageRows      = 50
	// The cached statistic is stale for at most so long if a change of it is lost.
	statisticsSeconds = 30
	statisticsKey     = "statistics"
	channel           = "tickets"
)

// ticket is a row of tickets_go_ticket.
type ticket struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Priority int64  `json:"priority"`
	State    string `json:"state"`
	// CreatedMS is when it was made, in milliseconds since 1970.
	CreatedMS int64 `json:"created_ms"`
	// Version goes up by one with each change.
	Version int64 `json:"version"`
}

// refusal is an answer to whoever asked for something that cannot be.
func refusal(status int, format string, args ...any) map[string]any {
	return map[string]any{"_status": status, "error": fmt.Sprintf(format, args...)}
}

// migrate makes what is missing; SQLite, PostgreSQL and MySQL all understand it.
func (t *Tickets) migrate(ctx context.Context) error {
	_, err := t.host.DBExec(ctx, `CREATE TABLE IF NOT EXISTS tickets_go_ticket (
		id VARCHAR(32) PRIMARY KEY,
		title VARCHAR(800) NOT NULL,
		priority BIGINT NOT NULL,
		state VARCHAR(16) NOT NULL,
		created_ms BIGINT NOT NULL,
		version BIGINT NOT NULL
	)`)
	if err != nil {
		return fmt.Errorf("the table tickets_go_ticket: %w", err)
	}
	return nil
}

func (t *Tickets) list(ctx context.Context, args json.RawMessage) (any, error) {
	var filter struct {
		State  string `json:"state"`
		Before string `json:"before"`
	}
	if err := json.Unmarshal(args, &filter); err != nil {
		return refusal(400, "%v", err), nil
	}
	where, values := []string{"1 = 1"}, []any{}
	if filter.State != "" {
		where, values = append(where, "state = ?"), append(values, filter.State)
	}
	if filter.Before != "" {
		where = append(where, "created_ms < ?")
		values = append(values, json.Number(filter.Before))
		if _, err := json.Number(filter.Before).Int64(); err != nil {
			return refusal(400, "before is a time in milliseconds, not %q", filter.Before), nil
		}
	}
	tickets := []ticket{}
	query := "SELECT id, title, priority, state, created_ms, version FROM tickets_go_ticket WHERE " +
		strings.Join(where, " AND ") + " ORDER BY created_ms DESC, id LIMIT " + fmt.Sprint(pageRows)
	if err := t.host.DBQueryInto(ctx, &tickets, query, values...); err != nil {
		return nil, err
	}
	return map[string]any{"tickets": tickets}, nil
}

func (t *Tickets) find(ctx context.Context, id string) (*ticket, error) {
	var found []ticket
	const query = "SELECT id, title, priority, state, created_ms, version FROM tickets_go_ticket WHERE id = ?"
	if err := t.host.DBQueryInto(ctx, &found, query, id); err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (t *Tickets) show(ctx context.Context, args json.RawMessage) (any, error) {
	var wanted struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(args, &wanted); err != nil {
		return refusal(400, "%v", err), nil
	}
	found, err := t.find(ctx, wanted.ID)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return refusal(404, "there is no ticket %q", wanted.ID), nil
	}
	return found, nil
}

func (t *Tickets) create(ctx context.Context, args json.RawMessage) (any, error) {
	var wanted struct {
		Title    string `json:"title"`
		Priority int64  `json:"priority"`
	}
	if err := json.Unmarshal(args, &wanted); err != nil {
		return refusal(400, "%v", err), nil
	}
	wanted.Title = strings.TrimSpace(wanted.Title)
	if runes := utf8.RuneCountInString(wanted.Title); runes == 0 || runes > titleRunesMax {
		return refusal(400, "a title has 1 to %d characters", titleRunesMax), nil
	}
	now, err := t.host.TimeNow(ctx)
	if err != nil {
		return nil, err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	made := ticket{
		ID: hex.EncodeToString(random), Title: wanted.Title, Priority: wanted.Priority,
		State: "open", CreatedMS: now.UnixMilli(), Version: 1,
	}
	const statement = "INSERT INTO tickets_go_ticket (id, title, priority, state, created_ms, version) VALUES (?, ?, ?, ?, ?, ?)"
	_, err = t.host.DBExec(ctx, statement, made.ID, made.Title, made.Priority, made.State, made.CreatedMS, made.Version)
	if err != nil {
		return nil, err
	}
	t.changed(ctx, "ticket.created", &made)
	return struct {
		ticket
		Status int `json:"_status"`
	}{made, 201}, nil
}

func (t *Tickets) close(ctx context.Context, args json.RawMessage) (any, error) {
	var wanted struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(args, &wanted); err != nil {
		return refusal(400, "%v", err), nil
	}
	const statement = "UPDATE tickets_go_ticket SET state = 'closed', version = version + 1 WHERE id = ? AND state = 'open'"
	changed, err := t.host.DBExec(ctx, statement, wanted.ID)
	if err != nil {
		return nil, err
	}
	found, err := t.find(ctx, wanted.ID)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return refusal(404, "there is no ticket %q", wanted.ID), nil
	}
	if changed == 0 {
		return refusal(409, "ticket %q is closed already", wanted.ID), nil
	}
	t.changed(ctx, "ticket.closed", found)
	return found, nil
}

// changed says everywhere that a ticket is not what it was. The ticket is stored: what fails here is logged.
func (t *Tickets) changed(ctx context.Context, event string, changed *ticket) {
	text, err := json.Marshal(changed)
	if err != nil {
		text = []byte("{}")
	}
	failed := func(what string, err error) {
		if err != nil {
			t.host.Log(ctx, "warn", what+" failed", map[string]any{"error": err.Error(), "ticket": changed.ID})
		}
	}
	failed("forgetting the statistic", t.host.CacheDelete(ctx, statisticsKey))
	failed("publishing", t.host.PublishEvent(ctx, channel, event, string(text)))
	if t.webhook != "" {
		response, err := t.host.HTTPDo(ctx, plugin.HTTPRequest{
			Method: "POST", URL: t.webhook, Body: text,
			Headers: map[string]string{"Content-Type": "application/json", "X-Event": event},
		})
		if err == nil && response.Status >= 300 {
			err = fmt.Errorf("status %d", response.Status)
		}
		failed("the webhook", err)
	}
}
