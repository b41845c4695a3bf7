// Package plugintest tests a plugin without a host process.
//
// A [Host] is a stub of the host API in memory. It starts a plugin, calls its functions, routes and widgets, and keeps
// what the plugin asked for:
//
//	func TestCreate(t *testing.T) {
//		h := plugintest.NewHost(t)
//		h.OnExec("INSERT INTO items (name) VALUES (?)", plugin.DBResult{Affected: 1})
//		p := h.Start(&MyPlugin{})
//
//		result, err := p.Route("POST", "/api/plugins/my-plugin/items",
//			plugintest.JSON(map[string]any{"name": "lamp"}), plugintest.AsUser(plugintest.Agent))
//		if err != nil || result.Status() != 201 {
//			t.Fatalf("%s, %v", result, err)
//		}
//		if events := h.Events(); len(events) != 1 || events[0].Type != "item.created" {
//			t.Fatalf("events: %v", events)
//		}
//	}
//
// # How true it is
//
// The plugin gets the SDK's own client ([grpcutil.HostAPIClient]) over net/rpc, so values go through gob and JSON as
// they do with a real host: a number is a float64, a whole number beyond 2^53 an int64, a []byte is base64. Errors of
// the stub are [plugin.HostError] with the texts of the real host.
//
// Cache, keys and values, files, secrets, events, mails and the log work without being set up and begin empty. Database,
// HTTP, other plugins and methods of an application have to be set up; until then their requests fail, and the error
// says what to call. Everything is granted; [Host.Deny] takes it away.
//
// What the stub does not do: it parses no SQL, has no limits of size, number and rate, and starts no process. A panic of
// a handler is a panic of the test, with its stack; with a real host it is an error of that call.
//
// A Host and a [Plugin] are safe for concurrent use.
//
// [grpcutil.HostAPIClient]: https://pkg.go.dev/github.com/goatkit/goatflow/pkg/plugin/grpcutil#HostAPIClient
package plugintest
