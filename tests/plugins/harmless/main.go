// harmless is a plugin that does all that a plugin may do, and says of each whether it works: a sandbox that is too
// strict shows here. "harmless -checks" does so outside of a host.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"example.org/goatkit/testplugins/internal/serve"
)

// result is what came of a check.
type result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// check is something that a plugin may do; it answers a detail.
type check struct {
	name string
	run  func(*given) (string, error)
}

// given is what the host told this plugin, and what the caller of checks says.
type given struct {
	config map[string]string
	call   *serve.Call
	// URL is fetched through the host, unless it is empty.
	URL string `json:"url"`
	// Database says whether the host has one that this plugin may write.
	Database bool `json:"database"`
}

// errAbsent is for a check that this run has no use for.
var errAbsent = errors.New("not asked for")

func main() {
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case "-checks":
			encoder := json.NewEncoder(os.Stdout)
			encoder.SetIndent("", " ")
			_ = encoder.Encode(all(&given{}))
			return
		case childArgument:
			child()
			return
		}
	}
	serve.Functions(map[string]serve.Function{
		"checks": func(call *serve.Call) (any, error) {
			g := given{}
			if len(call.Args) > 0 {
				if err := json.Unmarshal(call.Args, &g); err != nil {
					return nil, err
				}
			}
			g.config, g.call = call.Config, call
			return all(&g), nil
		},
		"echo": func(call *serve.Call) (any, error) { return call.Args, nil },
	})
}

func all(g *given) []result {
	results := make([]result, 0, len(checks))
	for _, c := range checks {
		detail, err := within(c, g)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			detail = err.Error()
		}
		results = append(results, result{c.name, err == nil, detail})
	}
	return results
}

// within gives up on a check that hangs; the others go on.
func within(c check, g *given) (string, error) {
	type answer struct {
		detail string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() {
			if panicked := recover(); panicked != nil {
				answers <- answer{"", fmt.Errorf("panic: %v", panicked)}
			}
		}()
		detail, err := c.run(g)
		answers <- answer{detail, err}
	}()
	select {
	case a := <-answers:
		return a.detail, a.err
	case <-time.After(time.Minute):
		return "", errors.New("took longer than a minute")
	}
}
