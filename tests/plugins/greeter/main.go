// Command greeter is the plugin of HashiCorp's examples/basic, for hosts in other languages. With
// GREETER_TLS=CERT.pem:KEY.pem it serves under that certificate, which its host must expect.
package main

import (
	"crypto/tls"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/greet"
)

type hello struct{}

func (hello) Greet() (string, error) { return "Hello!", nil }

// provider is what serves under the certificate, if there is one.
func provider() func() (*tls.Config, error) {
	cert, key, found := strings.Cut(os.Getenv("GREETER_TLS"), ":")
	if !found {
		return nil
	}
	return func() (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
	}
}

func main() {
	plugin.Serve(&plugin.ServeConfig{
		TLSProvider:     provider(),
		HandshakeConfig: greet.Handshake,
		Plugins:         plugin.PluginSet{"greeter": &greet.Plugin{Impl: hello{}}},
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr, JSONFormat: true}),
	})
}
