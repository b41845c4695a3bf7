// Package greet is the contract of HashiCorp's examples/basic, written anew: cookie, name, and method.
package greet

import (
	"net/rpc"

	"github.com/hashicorp/go-plugin"
)

// Handshake is what both sides must agree on.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "BASIC_PLUGIN",
	MagicCookieValue: "hello",
}

// Greeter is what the plugin does.
type Greeter interface {
	Greet() (string, error)
}

// Plugin is the set's entry "greeter".
type Plugin struct{ Impl Greeter }

// Server makes the plugin's end.
func (p *Plugin) Server(*plugin.MuxBroker) (any, error) { return &server{p.Impl}, nil }

// Client makes the host's end.
func (*Plugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return &client{c}, nil }

type server struct{ impl Greeter }

// Greet takes any argument and looks at none.
func (s *server) Greet(_ any, reply *string) (err error) {
	*reply, err = s.impl.Greet()
	return err
}

type client struct{ rpc *rpc.Client }

// Greet passes a nil interface.
func (c *client) Greet() (reply string, err error) {
	err = c.rpc.Call("Plugin.Greet", new(any), &reply)
	return reply, err
}
