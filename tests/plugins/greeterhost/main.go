// Command greeterhost is the host of HashiCorp's examples/basic: it starts the plugin it is given and
// prints its greeting.
//
//	greeterhost [-automtls | -tls CERT.pem] PLUGIN
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/greet"
)

// trusting is what a host expects of a plugin that has this certificate.
func trusting(cert string) (*tls.Config, error) {
	pem, err := os.ReadFile(cert)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", cert)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil
}

func run(program string, autoMTLS bool, cert string) error {
	var config *tls.Config
	if cert != "" {
		var err error
		if config, err = trusting(cert); err != nil {
			return err
		}
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: greet.Handshake,
		Plugins:         plugin.PluginSet{"greeter": &greet.Plugin{}},
		Cmd:             exec.Command(program),
		AutoMTLS:        autoMTLS,
		TLSConfig:       config,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	})
	defer client.Kill()
	connection, err := client.Client()
	if err != nil {
		return err
	}
	if err := connection.Ping(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	raw, err := connection.Dispense("greeter")
	if err != nil {
		return err
	}
	greeter, ok := raw.(greet.Greeter)
	if !ok {
		return errors.New("the plugin's client does not greet")
	}
	greeting, err := greeter.Greet()
	if err != nil {
		return err
	}
	fmt.Println(greeting)
	client.Kill()
	if !client.Exited() {
		return errors.New("the plugin did not exit")
	}
	return nil
}

func main() {
	autoMTLS := flag.Bool("automtls", false, "encrypt the connection")
	cert := flag.String("tls", "", "the plugin has the certificate in this file")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: greeterhost [-automtls | -tls CERT.pem] PLUGIN")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *autoMTLS, *cert); err != nil {
		fmt.Fprintln(os.Stderr, "greeterhost:", err)
		os.Exit(1)
	}
}
