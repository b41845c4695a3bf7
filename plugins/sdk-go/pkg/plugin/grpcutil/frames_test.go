package grpcutil

import (
	"runtime/debug"
	"strings"
	"testing"
)

func bleat() { panic("meh") }

func TestFramesBeginWhereThePanicWas(t *testing.T) {
	var found []string
	func() {
		defer func() {
			_ = recover()
			found = frames(string(debug.Stack()))
		}()
		bleat()
	}()
	if len(found) == 0 || !strings.HasPrefix(found[0], "github.com/goatkit/goatflow/pkg/plugin/grpcutil.bleat (") || !strings.Contains(found[0], "frames_test.go:") {
		t.Errorf("%q", found)
	}
	for _, frame := range found {
		if strings.Contains(frame, "+0x") || strings.ContainsAny(frame, "\n\t") {
			t.Errorf("%q", frame)
		}
	}
}
