// escape is a plugin that tries to get out of its sandbox, in every way that the sandbox's attack list names.
//
// It is a test of this repository's own sandbox, and it is careful: what would harm a machine stops one step short of
// it (a reboot with a wrong magic number, a write of what is there already), and bombs have sizes. Each attack says
// what it achieved, verified where that can be seen from inside; see the type result.
//
//	escape -list              prints the attacks
//	escape -run 9a,13|all     tries these or all, outside of a host, against a victim that it starts itself
//	escape -outside           plays the victim: prints the parameters of attacks on it, and when its stdin closes,
//	                          what happened to it
//
// As a plugin it has the functions attacks (the list) and attack ({"ids": […], "params": {…}}).
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"example.org/goatkit/testplugins/internal/serve"
)

func main() {
	if len(os.Args) > 1 {
		command(os.Args[1], os.Args[2:])
		return
	}
	serve.Functions(map[string]serve.Function{
		"attacks": func(*serve.Call) (any, error) { return listed(), nil },
		"attack": func(call *serve.Call) (any, error) {
			var request struct {
				IDs    []string `json:"ids"`
				Params params   `json:"params"`
			}
			if len(call.Args) > 0 {
				if err := json.Unmarshal(call.Args, &request); err != nil {
					return nil, err
				}
			}
			p := request.Params
			p.PluginDir, p.WorkDir, p.call = call.Config["plugin_dir"], call.Config["work_dir"], call
			return try(request.IDs, &p)
		},
		"echo": func(call *serve.Call) (any, error) { return call.Args, nil },
	})
}

func command(name string, arguments []string) {
	switch name {
	case "-list":
		for _, a := range attacks {
			fmt.Printf("%-5s %s\n", a.id, a.name)
		}
	case "-run":
		ids := []string{"all"}
		if len(arguments) > 0 {
			ids = strings.Split(arguments[0], ",")
		}
		outside, err := startOutside()
		if err != nil {
			fail(err)
		}
		defer outside.end()
		results, err := try(ids, outside.params)
		endDaemon(os.TempDir())
		if err != nil {
			outside.end()
			fail(err)
		}
		printJSON(results)
	case "-outside":
		playOutside()
	case "-attack":
		alone(arguments)
	case "-daemon":
		daemon(arguments)
	default:
		fail(fmt.Errorf("%q is not known; the flags are -list, -run and -outside", name))
	}
}

func printJSON(value any) {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(value); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "escape:", err)
	os.Exit(2)
}
