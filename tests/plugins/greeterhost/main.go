// Command greeterhost is the host of HashiCorp's examples/basic: it starts the plugin it is given and
// prints its greeting.
//
//	greeterhost [-automtls] PLUGIN
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"example.org/goatkit/testplugins/internal/greet"
)

func run(program string, autoMTLS bool) error {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: greet.Handshake,
		Plugins:         plugin.PluginSet{"greeter": &greet.Plugin{}},
		Cmd:             exec.Command(program),
		AutoMTLS:        autoMTLS,
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
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: greeterhost [-automtls] PLUGIN")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *autoMTLS); err != nil {
		fmt.Fprintln(os.Stderr, "greeterhost:", err)
		os.Exit(1)
	}
}
