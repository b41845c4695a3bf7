// Command greeter is the plugin of HashiCorp's examples/basic, for hosts in other languages.
package main

import (
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/greet"
)

type hello struct{}

func (hello) Greet() (string, error) { return "Hello!", nil }

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: greet.Handshake,
		Plugins:         plugin.PluginSet{"greeter": &greet.Plugin{Impl: hello{}}},
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr, JSONFormat: true}),
	})
}
