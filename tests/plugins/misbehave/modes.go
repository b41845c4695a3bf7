package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

var modes map[string]mode

func init() {
	modes = map[string]mode{
		// Before the handshake.
		"banner":             {"prints a banner before the handshake", func() { fmt.Println("Welcome to my plugin!"); serve(plain{}) }},
		"blank-line":         {"prints an empty line before the handshake", func() { fmt.Println(); serve(plain{}) }},
		"wrong-cookie":       {"finds the magic cookie wrong, as go-plugin does: text on stderr, exit 1", wrongCookie},
		"wrong-app-version":  {"handshake with protocol version 2", func() { handshake("1|2|unix|%s|netrpc|") }},
		"wrong-core-version": {"handshake with core protocol version 2", func() { handshake("2|1|unix|%s|netrpc|") }},
		"grpc-handshake":     {"handshake for real gRPC", func() { handshake("1|1|unix|%s|grpc|") }},
		"unknown-protocol":   {"handshake for a protocol that does not exist", func() { handshake("1|1|unix|%s|carrier-pigeon|") }},
		"unasked-cert":       {"handshake with a certificate nobody asked for", func() { handshake("1|1|unix|%s|netrpc|" + string(bytes.Repeat([]byte("QUJD"), 100))) }},
		"short-handshake":    {"handshake with three fields", func() { say("1|1|unix\n"); hang() }},
		"half-line":          {"handshake without the end of the line", func() { say("1|1|unix|/tmp/x"); hang() }},
		"dotdot-path":        {"handshake whose socket path climbs with ..", func() { say("1|1|unix|" + os.TempDir() + "/../../../run/other.sock|netrpc|\n"); hang() }},
		"other-path":         {"handshake with an absolute path outside the socket directory", func() { say("1|1|unix|/run/other.sock|netrpc|\n"); hang() }},
		"relative-path":      {"handshake with a relative path", func() { say("1|1|unix|plugin.sock|netrpc|\n"); hang() }},
		"tcp":                {"handshake with a TCP address", tcp},
		"socket-link":        {"handshake with a link in the socket directory to a socket elsewhere, on which it listens", func() { socketLink(socketDir()) }},
		"temp-link":          {"handshake with a link in the temporary directory to a socket elsewhere, on which it listens", func() { socketLink(os.TempDir()) }},
		"socket-file":        {"handshake with a file where the socket should be", socketFile},
		"no-socket":          {"handshake with a socket that is not there", func() { say("1|1|unix|" + filepath.Join(socketDir(), "absent.sock") + "|netrpc|\n"); hang() }},
		"close-at-once":      {"closes the connection at once and stays", closeAtOnce},
		"exit-1":             {"exits with 1 and a text on stderr, without a handshake", exitOne},
		"exit-0":             {"exits with 0, silently, without a handshake", func() {}},
		"hang-start":         {"never prints a handshake", hang},
		"handshake-flood":    {"prints 10 MB without a newline instead of a handshake", func() { flood(os.Stdout); hang() }},

		// In a method.
		"crash-register":   {"exits with 3 in GKRegister", func() { serve(plain{register: crash}) }},
		"hang-register":    {"never answers GKRegister", func() { serve(plain{register: hangs}) }},
		"fail-register":    {"answers GKRegister with an error", func() { serve(plain{register: fails}) }},
		"crash-init":       {"exits with 3 in Init", func() { serve(plain{init: crash}) }},
		"hang-init":        {"never answers Init", func() { serve(plain{init: hangs}) }},
		"fail-init":        {"answers Init with an error", func() { serve(plain{init: fails}) }},
		"panic-init":       {"panics in Init", func() { serve(plain{init: panics}) }},
		"crash-call":       {"exits with 3 in every call", func() { serve(plain{call: crash}) }},
		"hang-call":        {"never answers a call", func() { serve(plain{call: hangs}) }},
		"panic-call":       {"panics in every call", func() { serve(plain{call: panics}) }},
		"exit-during-call": {"exits with 0 while a call runs", func() { serve(plain{call: exitsSoon}) }},
		"hang-shutdown":    {"never answers Shutdown, ignores SIGTERM, SIGINT and Quit", stubborn},
		"crash-shutdown":   {"exits with 3 in Shutdown", func() { serve(plain{shutdown: crash}) }},
		"crash-after-init": {"exits with 3 half a second after Init", func() { serve(plain{init: crashesSoon}) }},

		// In what it registers.
		"name-mismatch":      {"registers another name than its own", func() { serve(plain{registration: map[string]any{"name": "somebody-else"}}) }},
		"invalid-name":       {"registers a name that climbs", func() { serve(plain{registration: map[string]any{"name": "../evil"}}) }},
		"invalid-json":       {"answers GKRegister with bytes that are not JSON", func() { serve(plain{rawRegistration: "{\"name\": "}) }},
		"invalid-route":      {"registers a route without a slash", func() { serve(withRoute("status", "auth")) }},
		"unknown-middleware": {"registers a route with a middleware that does not exist", func() { serve(withRoute("/api/plugins/unknown-middleware/x", "frobnicate")) }},
		"reserved-route":     {"registers a route of the host's own", func() { serve(withRoute("/api/v1/plugins", "auth")) }},
		"shared-route":       {"registers a route outside every namespace, as another plugin may, too", func() { serve(withRoute("/shared/status", "auth")) }},
		"foreign-route":      {"registers the status route of hello-go", func() { serve(withRoute("/api/plugins/hello-go/status", "auth")) }},

		// On the wire.
		"huge-gob":             {"answers Dispense with a gob length of 1 GiB", func() { fake("Dispenser.Dispense", hugeGob) }},
		"huge-gob-register":    {"answers GKRegister with a gob length of 1 GiB", func() { fake("Plugin.GKRegister", hugeGob) }},
		"huge-gob-call":        {"answers a call with a gob length of 1 GiB", func() { fake("Plugin.Call", hugeGob) }},
		"garbage-gob":          {"answers Dispense with garbage", func() { fake("Dispenser.Dispense", garbage) }},
		"garbage-gob-register": {"answers GKRegister with garbage", func() { fake("Plugin.GKRegister", garbage) }},
		"garbage-gob-call":     {"answers a call with garbage", func() { fake("Plugin.Call", garbage) }},
		"double-answer":        {"answers every call twice", func() { fakeAnswers("Plugin.Call", 0, 0) }},
		"wrong-seq":            {"answers every call with the number of another", func() { fakeAnswers("Plugin.Call", 1000) }},
		"huge-frame":           {"sends a yamux frame of 4 GiB", func() { fakeRaw([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}) }},
		"bad-yamux-version":    {"sends a yamux header of version 9", func() { fakeRaw([]byte{9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}) }},

		// With its output and its processes.
		"stdout-flood": {"writes 10 MB without a newline to file descriptor 1 during Init", func() { out := os.Stdout; serve(plain{init: func() error { flood(out); return nil }}) }},
		"stderr-flood": {"writes 10 MB without a newline to file descriptor 2 during Init", func() { out := os.Stderr; serve(plain{init: func() error { flood(out); return nil }}) }},
		"stream-flood": {"writes 10 MB without a newline to its stdout stream during Init", func() { serve(plain{init: func() error { flood(os.Stdout); return nil }}) }},
		"bad-hclog":    {"writes JSON lines that only look like hclog during Init", func() { out := os.Stderr; serve(plain{init: func() error { badHclog(out); return nil }}) }},
		"grandchild":   {"starts a process that holds its stdout and stderr; every call answers the process id", func() { serve(plain{grandchild: true}) }},
	}
}

// say writes to stdout as it is.
func say(text string) {
	_, _ = os.Stdout.WriteString(text)
}

func wrongCookie() {
	fmt.Fprintln(os.Stderr, "This binary is a plugin. These are not meant to be executed directly.")
	os.Exit(1)
}

func exitOne() {
	fmt.Fprintln(os.Stderr, "cannot load the licence file: no such file or directory")
	os.Exit(1)
}

func socketDir() string {
	if dir := os.Getenv("PLUGIN_UNIX_SOCKET_DIR"); dir != "" {
		return dir
	}
	return os.TempDir()
}

// listen opens a socket where a plugin should have it.
func listen() net.Listener {
	listener, err := net.Listen("unix", filepath.Join(socketDir(), fmt.Sprintf("misbehave-%d.sock", os.Getpid())))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return listener
}

// handshake listens as it should and prints a handshake line that is wrong.
func handshake(format string) {
	listener := listen()
	say(fmt.Sprintf(format, listener.Addr()) + "\n")
	hang()
}

// elsewhere is a directory of this user's own that is not the socket directory.
func elsewhere() string {
	dir, err := os.MkdirTemp("", "elsewhere-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return dir
}

func socketLink(directory string) {
	target, link := filepath.Join(elsewhere(), "real.sock"), filepath.Join(directory, fmt.Sprintf("link-%d.sock", os.Getpid()))
	listener, err := net.Listen("unix", target)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := os.Symlink(target, link); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	say("1|1|unix|" + link + "|netrpc|\n")
	hang()
	// A listener that is collected is closed.
	_ = listener.Close()
}

func socketFile() {
	path := filepath.Join(socketDir(), fmt.Sprintf("file-%d.sock", os.Getpid()))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	say("1|1|unix|" + path + "|netrpc|\n")
	hang()
}

// tcp names a port without listening there: in a sandbox it could not, and no host may ask.
func tcp() {
	say("1|1|tcp|127.0.0.1:9|netrpc|\n")
	hang()
}

func closeAtOnce() {
	listener := listen()
	say("1|1|unix|" + listener.Addr().String() + "|netrpc|\n")
	for {
		conn, err := listener.Accept()
		if err != nil {
			hang()
		}
		_ = conn.Close()
	}
}

// flood writes 10 MB without a newline.
func flood(out *os.File) {
	block := bytes.Repeat([]byte("flood "), 1<<14)
	for written := 0; written < 10<<20; written += len(block) {
		if _, err := out.Write(block); err != nil {
			return
		}
	}
}

func badHclog(out *os.File) {
	for _, line := range []string{
		`{"@message":1}`, `{"@level":["x"],"@message":null}`, `{"@level":"loud","@message":"m"}`, `{`, `[]`, `null`, `{"@message":"` + "\xff" + `"}`,
		`{"@level":"info","@message":"a good line","@timestamp":"yesterday"}`,
	} {
		fmt.Fprintln(out, line)
	}
}

func crash() error {
	fmt.Fprintln(os.Stderr, "about to crash")
	os.Exit(3)
	return nil
}

func hangs() error { hang(); return nil }

func panics() error { panic("a handler panicked") }

func fails() error { return fmt.Errorf("the licence has expired") }

func exitsSoon() error {
	time.Sleep(100 * time.Millisecond)
	os.Exit(0)
	return nil
}

func crashesSoon() error {
	time.AfterFunc(500*time.Millisecond, func() { os.Exit(3) })
	return nil
}
