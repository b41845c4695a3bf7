package calltoken

import (
	"context"
	"testing"
)

const example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestWhatIsToldIsReadBack(t *testing.T) {
	for _, test := range []struct{ token, parent, state string }{
		{Traced("id", example, ""), example, ""},
		{Traced("id", example, "a=b;c,d=e"), example, "a=b;c,d=e"},
		{"id;traceparent=" + example + ";other=x", example, ""},
		{"", "", ""},
		{"id", "", ""},
		{"id;", "", ""},
		{"id;other=x;traceparent=" + example, "", ""},
	} {
		parent, state := Trace(test.token)
		if parent != test.parent || state != test.state {
			t.Errorf("%q: %q, %q", test.token, parent, state)
		}
	}
}

func TestATokenIsKeptAsItIs(t *testing.T) {
	token := Traced("id", example, "a=b")
	if got := From(With(context.Background(), token)); got != token {
		t.Error(got)
	}
	if got := From(context.Background()); got != "" {
		t.Error(got)
	}
}
