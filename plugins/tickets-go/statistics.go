package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"strings"
)

// count is how many tickets there are in a state.
type count struct {
	State   string `json:"state"`
	Tickets int64  `json:"tickets"`
}

// counts come from the cache, or else from the database.
func (t *Tickets) counts(ctx context.Context) (counts []count, cached bool, err error) {
	if text, found, err := t.host.CacheGet(ctx, statisticsKey); err == nil && found {
		if json.Unmarshal(text, &counts) == nil {
			return counts, true, nil
		}
	}
	counts = []count{}
	const query = "SELECT state, COUNT(*) AS tickets FROM tickets_go_ticket GROUP BY state ORDER BY state DESC"
	if err := t.host.DBQueryInto(ctx, &counts, query); err != nil {
		return nil, false, err
	}
	if text, err := json.Marshal(counts); err == nil {
		// Without a cache it is counted anew each time.
		_ = t.host.CacheSet(ctx, statisticsKey, text, statisticsSeconds)
	}
	return counts, false, nil
}

func (t *Tickets) statistics(ctx context.Context, _ json.RawMessage) (any, error) {
	counts, cached, err := t.counts(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]any{"counts": counts, "cached": cached}, nil
}

// chart is the widget: a bar for each state.
func (t *Tickets) chart(ctx context.Context, _ json.RawMessage) (any, error) {
	counts, _, err := t.counts(ctx)
	if err != nil {
		return nil, err
	}
	var all, most int64
	for _, count := range counts {
		all += count.Tickets
		most = max(most, count.Tickets)
	}
	if all == 0 {
		text := t.host.Translate(ctx, name+".none")
		return map[string]any{"html": "<p>" + html.EscapeString(text) + "</p>"}, nil
	}
	const width, bar, gap, label = 320, 24, 8, 90
	var svg strings.Builder
	title := t.host.Translate(ctx, name+".title", all)
	height := len(counts)*(bar+gap) + gap
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="13">`, width, height, width, height)
	fmt.Fprintf(&svg, `<title>%s</title>`, html.EscapeString(title))
	colours := map[string]string{"open": "#c2410c", "closed": "#15803d"}
	for place, count := range counts {
		top := gap + place*(bar+gap)
		length := max(2, count.Tickets*(width-label-50)/most)
		colour, known := colours[count.State]
		if !known {
			colour = "#57534e"
		}
		text := t.host.Translate(ctx, name+"."+count.State)
		fmt.Fprintf(&svg, `<text x="0" y="%d">%s</text>`, top+17, html.EscapeString(text))
		fmt.Fprintf(&svg, `<rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="%s"/>`, label, top, length, bar, colour)
		fmt.Fprintf(&svg, `<text x="%d" y="%d">%d</text>`, int64(label)+length+6, top+17, count.Tickets)
	}
	svg.WriteString(`</svg>`)
	return map[string]any{"html": svg.String()}, nil
}
