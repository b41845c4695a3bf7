package plugin

import (
	"context"

	"github.com/goatkit/goatflow/pkg/plugin/internal/calltoken"
)

// TraceParent returns the trace that the call of ctx belongs to and its span in it, as the value of a traceparent header of
// W3C Trace Context, or "" if it belongs to none. ctx is the one that CallWithContext received, or one derived from it.
//
// The host sends the like with the requests that it makes for the plugin, and passes the trace on to other plugins. A
// plugin needs it for spans of its own, and for what it asks without the host.
func TraceParent(ctx context.Context) string {
	parent, _ := calltoken.Trace(calltoken.From(ctx))
	return parent
}

// TraceState returns what tracing systems have added to the trace, as the value of a tracestate header: at most 512 bytes,
// and "" where there is nothing.
func TraceState(ctx context.Context) string {
	_, state := calltoken.Trace(calltoken.From(ctx))
	return state
}
