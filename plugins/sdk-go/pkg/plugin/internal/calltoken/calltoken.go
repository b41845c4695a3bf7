// Package calltoken keeps the token of a call in a context, and reads what the host tells in it.
//
// A token is an id, and behind a semicolon the place of the call in a trace:
// <id>[;traceparent=<value>[;tracestate=<value>]].
package calltoken

import (
	"context"
	"strings"
)

const (
	parent = ";traceparent="
	state  = ";tracestate="
)

type key struct{}

// With returns a context with the token.
func With(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, key{}, token)
}

// From returns the token in a context, or "".
func From(ctx context.Context) string {
	token, _ := ctx.Value(key{}).(string)
	return token
}

// Traced returns the token of a call with that id that belongs to a trace. Without a state it is "".
func Traced(id, traceParent, traceState string) string {
	token := id + parent + traceParent
	if traceState != "" {
		token += state + traceState
	}
	return token
}

// Trace returns the values of traceparent and tracestate in a token, "" for what it does not have. The state comes last, as
// it may hold semicolons.
func Trace(token string) (traceParent, traceState string) {
	at := strings.IndexByte(token, ';')
	if at < 0 || !strings.HasPrefix(token[at:], parent) {
		return "", ""
	}
	told := token[at+len(parent):]
	end := strings.IndexByte(told, ';')
	if end < 0 {
		return told, ""
	}
	if strings.HasPrefix(told[end:], state) {
		traceState = told[end+len(state):]
	}
	return told[:end], traceState
}
