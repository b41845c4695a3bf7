// misbehave is a plugin that breaks one rule, chosen by the name of its executable, or by a file "mode" beside it or in
// the directory that it starts in.
//
// "misbehave -list" prints every mode with what it does.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"example.org/goatkit/testplugins/internal/contract"
)

// mode is one way to misbehave.
type mode struct {
	what string
	run  func()
}

// hang waits for ever, for a test's purposes: a program that its test loses must not stay for good.
func hang() {
	time.Sleep(10 * time.Minute)
	os.Exit(99)
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "-list" {
		list()
		return
	}
	if len(os.Args) == 2 && os.Args[1] == holdArgument {
		hang()
	}
	name, err := chosen()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	modes[name].run()
}

func list() {
	names := make([]string, 0, len(modes))
	for name := range modes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("%-24s %s\n", name, modes[name].what)
	}
}

// chosen is the mode of the file beside the executable, or else the executable's name.
func chosen() (string, error) {
	executable, err := os.Executable()
	if err != nil {
		executable = os.Args[0]
	}
	for _, dir := range []string{filepath.Dir(executable), filepath.Dir(os.Args[0]), "."} {
		text, err := os.ReadFile(filepath.Join(dir, "mode"))
		if err != nil {
			continue
		}
		name := strings.TrimSpace(string(text))
		if _, known := modes[name]; !known {
			return "", fmt.Errorf("unknown mode %q in the file mode; misbehave -list prints them", name)
		}
		return name, nil
	}
	if name := contract.Name(); modes[name].run != nil {
		return name, nil
	}
	return "", fmt.Errorf("%q is not a mode and there is no file mode; misbehave -list prints the modes", contract.Name())
}
